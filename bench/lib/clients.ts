/** Closed loops: simulated clients that each wait for their result before they send their next request. */
import { performance } from 'node:perf_hooks';

/** Runs `clients` loops over requests 0 to count - 1, taken in order by whoever is free. Rejects with the first failure. */
export async function closedLoop(
  clients: number,
  count: number,
  request: (index: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const client = async (): Promise<void> => {
    while (next < count) await request(next++);
  };
  await Promise.all(Array.from({ length: Math.min(clients, count) }, client));
}

/** When a request was sent and answered, in ms of performance.now(). */
export interface Timeline {
  readonly sent: Float64Array;
  readonly answered: Float64Array;
}

/** {@link closedLoop} with the times of every request. */
export async function timedLoop(
  clients: number,
  count: number,
  request: (index: number) => Promise<unknown>,
): Promise<Timeline> {
  const sent = new Float64Array(count);
  const answered = new Float64Array(count);
  await closedLoop(clients, count, async (index) => {
    sent[index] = performance.now();
    await request(index);
    answered[index] = performance.now();
  });
  return { sent, answered };
}
