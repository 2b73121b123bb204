/** Promises that are settled from outside, without a function of its own for each: that would cost as much again. */

type Resolve = (value: never) => void;
type Reject = (error: unknown) => void;

const nothing = (): void => undefined;
let latestResolve: Resolve = nothing;
let latestReject: Reject = nothing;

const keep = (resolve: Resolve, reject: Reject): void => {
  latestResolve = resolve;
  latestReject = reject;
};

export function deferred<V>(): Promise<V> {
  return new Promise<V>(keep);
}

/** What settles the promise that {@link deferred} made last. Both are to be taken: what is kept, keeps the promise. */
export function takeResolve(): Resolve {
  const resolve = latestResolve;
  latestResolve = nothing;
  return resolve;
}

export function takeReject(): Reject {
  const reject = latestReject;
  latestReject = nothing;
  return reject;
}
