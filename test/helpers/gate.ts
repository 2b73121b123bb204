/** What tests of batching hold on to instead of sleeping. */
import { expect } from '@jest/globals';
import type { BatchStats } from '../../ts';
import { Stretch } from '../../ts/function/stretch';

// Where turns are counted, a machine that stalls must not put a batch off to the next one.
Stretch.longestMs = Infinity;

/** A promise that the test settles. */
export interface Gate<V = void> {
  readonly promise: Promise<V>;
  open(value: V): void;
  fail(error: unknown): void;
}

export function gate<V = void>(): Gate<V> {
  let open!: (value: V) => void;
  let fail!: (error: unknown) => void;
  const promise = new Promise<V>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  return { promise, open, fail };
}

/** The next turn of the event loop: everything that could run by itself has run. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A batch that a {@link gated} function was given, and that waits. */
export interface HeldBatch<T> {
  readonly items: T[];
  open(): void;
  fail(error: unknown): void;
}

/** An async batch function that keeps every batch until the test lets it go. */
export function gated<T, U>(
  each: (item: T) => U,
): ((items: T[]) => Promise<U[]>) & { batches: HeldBatch<T>[]; openAll(): Promise<void> } {
  const batches: HeldBatch<T>[] = [];
  let free = false;
  const run = async (items: T[]): Promise<U[]> => {
    const held = gate();
    batches.push({ items: [...items], open: () => held.open(), fail: (error) => held.fail(error) });
    if (!free) await held.promise;
    return items.map(each);
  };
  const openAll = async (): Promise<void> => {
    free = true;
    for (const batch of batches) batch.open();
    await turn();
  };
  return Object.assign(run, { batches, openAll });
}

/** Keeps this thread busy. */
export function block(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** Nothing waits, and every row that was admitted has ended in exactly one way. */
export function expectAccounted(stats: BatchStats): void {
  const { totalProcessed, failed, cancelled, timedOut, closed } = stats;
  expect(stats.queueSize).toBe(0);
  expect(totalProcessed + failed + cancelled + timedOut + closed).toBe(stats.admitted);
}

/** The error that `call` throws or rejects with. */
export async function errorOf(call: () => unknown): Promise<unknown> {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error('neither threw nor rejected');
}
