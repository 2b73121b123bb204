/** How often the tests that end processes and workers are repeated: races show by repetition. */
import { appendFileSync } from 'node:fs';

/** BATCHED_TEARDOWN_REPEATS=100 is the full run. */
export const REPEATS = Number(process.env['BATCHED_TEARDOWN_REPEATS'] ?? (process.env['CI'] ? 3 : 1));

/** For a test that repeats. */
export const TIMEOUT_MS = 60_000 * Math.ceil(REPEATS / 5);

/** Adds to the report that docs/reliability.md is made from, where BATCHED_TEARDOWN_REPORT names one. */
export function report(group: string, scenario: string, times: number): void {
  const file = process.env['BATCHED_TEARDOWN_REPORT'];
  if (file !== undefined) appendFileSync(file, `${JSON.stringify({ group, scenario, times })}\n`);
}

/** At once: together they take less time, and find more. */
const TOGETHER = 3;

/** Does `once` as often as is asked for. */
export async function repeated(group: string, scenario: string, once: () => Promise<void>): Promise<void> {
  let left = REPEATS;
  const repeat = async (): Promise<void> => {
    while (left-- > 0) await once();
  };
  await Promise.all(Array.from({ length: TOGETHER }, repeat));
  report(group, scenario, REPEATS);
}
