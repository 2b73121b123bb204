/** Promises that are settled from outside, without a function of its own for each: that would cost as much again. */

/** What settles the promise that {@link deferred} made last. */
export const latest: { resolve: (value: never) => void; reject: (error: unknown) => void } = {
  resolve: () => undefined,
  reject: () => undefined,
};

const keep = (resolve: (value: never) => void, reject: (error: unknown) => void): void => {
  latest.resolve = resolve;
  latest.reject = reject;
};

export function deferred<V>(): Promise<V> {
  return new Promise<V>(keep);
}
