/**
 * Open loops: requests are sent when the schedule says, whatever has become of the earlier ones. What is late because
 * this thread was held up is sent at once, and every time counts from the schedule, so a stall is not forgotten.
 */
import { performance } from 'node:perf_hooks';
import type { Random } from '../../scripts/models/random';

/**
 * Sends `send(due)` at a steady rate, in ms of performance.now(). Resolves when the time is up, not when all is answered.
 * It wakes every `stepMs` milliseconds; each time it takes a core from what is measured, and that core's cache.
 */
export async function openLoop(
  perSecond: number,
  seconds: number,
  send: (due: number) => void,
  stepMs = 1,
): Promise<void> {
  const start = performance.now();
  const count = Math.floor(perSecond * seconds);
  for (let sent = 0; sent < count;) {
    const due = Math.min(count, 1 + Math.floor(((performance.now() - start) * perSecond) / 1e3));
    for (; sent < due; sent++) send(start + (1e3 * sent) / perSecond);
    await new Promise((resolve) => setTimeout(resolve, stepMs));
  }
}

/** Inputs of a BERT encoder: as in real text mostly short, and now and then as long as the model allows. */
export function randomTexts(random: Random, count: number, longest: number, vocabulary: number): Text[] {
  return Array.from({ length: count }, () =>
    text(random, 2 + Math.floor((longest - 1) * random.uniform() ** 3), vocabulary),
  );
}

/** Of one row. */
export type Text = Record<'input_ids' | 'attention_mask' | 'token_type_ids', BigInt64Array>;

export function text(random: Random, length: number, vocabulary: number): Text {
  const input_ids = BigInt64Array.from({ length }, () => BigInt(random.below(vocabulary)));
  return { input_ids, attention_mask: new BigInt64Array(length).fill(1n), token_type_ids: new BigInt64Array(length) };
}
