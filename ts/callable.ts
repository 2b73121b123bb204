/** Dresses a function as a batched callable: the call itself, and what every batched callable carries. */
import { type Calls, observe } from './diagnostics';

/** The state of a batched callable. */
export interface Health {
  /** Calls are taken and can be run. It says nothing of load: a full queue is healthy. */
  healthy: boolean;
}

/** What every batched callable carries beside its call. */
export interface BatchedControls<Stats> {
  /** A snapshot of what has happened since the start or the last {@link clearStats}. */
  readonly stats: Stats;
  /** Begins all counts, times and histograms of {@link stats} anew; what waits now still counts as waiting. */
  clearStats(): void;
  /** Whether calls are taken and can be run: false once it is closed, and for a model when its last lane is lost. */
  readonly health: Health;
  /**
   * Stops intake: later calls are `BATCHED_CLOSED`. With `drain` (the default) everything admitted still settles as it
   * would; without it, what waits is rejected as `BATCHED_CLOSED`. Resolves when nothing is left.
   */
  close(options?: { drain?: boolean }): Promise<void>;
  /** {@link close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** What the controls of a callable need of its batcher. */
export interface Batcher<Stats> {
  readonly stats: Stats;
  readonly healthy: boolean;
  clearStats(): void;
  close(options?: { drain?: boolean }): Promise<void>;
}

const dressed = new WeakSet<object>();

/** Whether `value` is a batched callable. */
export function isBatched(value: unknown): boolean {
  return typeof value === 'function' && dressed.has(value);
}

/** Adds the controls of `batcher` and `acall` to `call`. */
export function callable<Call extends object, Stats>(
  call: Call,
  acall: unknown,
  batcher: Batcher<Stats>,
): Call & BatchedControls<Stats> {
  Object.defineProperties(call, {
    acall: { value: acall, enumerable: true },
    stats: { get: () => batcher.stats, enumerable: true },
    health: { get: () => ({ healthy: batcher.healthy }), enumerable: true },
    clearStats: { value: () => batcher.clearStats() },
    close: { value: (options?: { drain?: boolean }) => batcher.close(options) },
    [Symbol.asyncDispose]: { value: () => batcher.close() },
  });
  dressed.add(call);
  return call as Call & BatchedControls<Stats>;
}

/**
 * `asynchronous` makes the call itself an alias of `acall`, but a function of its own: it carries the controls. `name` and
 * the rows of an input are for those who watch.
 */
export function dress<I, O, Stats>(
  calls: Calls<I, O>,
  batcher: Batcher<Stats>,
  asynchronous: boolean,
  name: string,
  rowsOf: (input: I) => number,
): object {
  const { acall, call } = observe(calls, name, rowsOf);
  return callable(asynchronous ? (input: I, options?: O) => acall(input, options) : call, acall, batcher);
}
