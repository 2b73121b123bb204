/** `dynamically` and `aio.dynamically`: batching for a user function. */
import { CachedBatcher } from './cache/cached_batcher';
import { type BatchedControls, dress } from './callable';
import { type BatchDecorator, decorate, isDecoration } from './decorators';
import { type BatchFunction, FunctionBatcher, type FunctionOptions } from './function/function_batcher';
import { batchKinds, type CallOptions, checkOptions } from './options';
import type { BatchStats } from './stats';
import { describe } from './tensor';

/** A single item: what is itself an array must come in an array of items, since an array is always several items. */
export type Single<T> = T extends readonly unknown[] ? never : T;

/** A batched function: called with one item, or with an array of items. */
export interface Batched<T, U> extends BatchedControls<BatchStats> {
  /** Runs on this thread, together with what waits, in batches of at most `batchSize`. */
  (items: readonly T[]): U[];
  (item: Single<T>): U;
  /**
   * Resolves with one result for an item, with an array for an array, in the same order.
   *
   * @throws what the function threw, the signal's reason, or a BatchedError: `BATCHED_OUTPUT_MISMATCH`,
   *   `BATCHED_QUEUE_FULL`, `BATCHED_DEADLINE`, `BATCHED_CLOSED`, `BATCHED_INVALID_INPUT`
   */
  acall(items: readonly T[], options?: CallOptions): Promise<U[]>;
  /** The same for a single item. */
  acall(item: Single<T>, options?: CallOptions): Promise<U>;
}

/** A batched function whose call itself is asynchronous; `acall` is an alias. */
export interface AsyncBatched<T, U> extends BatchedControls<BatchStats> {
  /** As {@link Batched.acall}. */
  (items: readonly T[], options?: CallOptions): Promise<U[]>;
  (item: Single<T>, options?: CallOptions): Promise<U>;
  /** An alias of the call. */
  acall(items: readonly T[], options?: CallOptions): Promise<U[]>;
  /** An alias of the call. */
  acall(item: Single<T>, options?: CallOptions): Promise<U>;
}

export const functionKinds = { ...batchKinds, concurrency: 'count', lengthOf: 'function' } as const;

/** The name a wrapped function goes by in messages. */
export function nameOf(fn: { name: string }): string {
  return fn.name === '' ? 'batched function' : fn.name;
}

export function isAsyncFunction(fn: unknown): boolean {
  return (fn as { [Symbol.toStringTag]?: string })[Symbol.toStringTag] === 'AsyncFunction';
}

/** What is wrapped must be callable; a class that is decorated arrives here too. */
export function checkFunction(where: string, fn: unknown): void {
  const isClass = typeof fn === 'function' && Object.getOwnPropertyDescriptor(fn, 'prototype')?.writable === false;
  if (typeof fn === 'function' && !isClass) return;
  const got = isClass ? `class ${fn.name}` : describe(fn);
  throw new TypeError(`${where}: the wrapped thing must be a function, got ${got}`);
}

function cached<T, U>(plain: FunctionBatcher<T, U>, options: FunctionOptions<T>, name: string): CachedBatcher<T, U> {
  const runner = {
    acall: async (item: T, callOptions: CallOptions) => ((await plain.acall([item], callOptions)) as U[])[0]!,
    call: (items: T[]) => plain.call(items) as U[],
  };
  return new CachedBatcher(runner, plain, options, name);
}

/** Either entry point; they differ in what the call itself does: `asynchronous` makes it an alias of `acall`. */
function wrap<T, U>(
  where: string,
  fn: BatchFunction<T, U>,
  options: FunctionOptions<T>,
  asynchronous: boolean,
): unknown {
  checkFunction(where, fn);
  checkOptions(where, options, functionKinds);
  const plain = new FunctionBatcher<T, U>(fn, options, nameOf(fn));
  const batcher = options.cache === undefined ? plain : cached(plain, options, nameOf(fn));
  const acall = (input: T | readonly T[], callOptions?: CallOptions) => batcher.acall(input, callOptions);
  const call = (input: T | readonly T[]) => {
    if (isAsyncFunction(fn)) throw new TypeError(`${nameOf(fn)} is asynchronous: call it with acall`);
    return batcher.call(input);
  };
  const rowsOf = (input: T | readonly T[]) => (Array.isArray(input) ? input.length : 1);
  return dress({ acall, call }, batcher, asynchronous, nameOf(fn), rowsOf);
}

/** The plain and the curried form, and both as decorators. */
function entryPoint(where: string, asynchronous: boolean) {
  type Options = FunctionOptions<unknown>;
  const wrapWith = (options: Options) => (fn: unknown) =>
    wrap(where, fn as BatchFunction<unknown, unknown>, options, asynchronous);
  return (...args: unknown[]): unknown => {
    if (isDecoration(args)) return decorate(where, args, wrapWith({}));
    const [first, second = {}] = args;
    if (typeof first === 'function') return wrapWith(second as Options)(first);
    checkOptions(where, first, functionKinds);
    const late = wrapWith({ ...(first as Options) });
    return (...lateArgs: unknown[]) => (isDecoration(lateArgs) ? decorate(where, lateArgs, late) : late(lateArgs[0]));
  };
}

type Items = [items: never[]];

// The decorators come first: the last signature is the one that compilers quote when nothing fits.

/** What {@link dynamically} can be called with, and be applied to as a decorator: a method that returns its results. */
export type Dynamically = BatchDecorator<Items, unknown[]> & {
  <L>(
    options: FunctionOptions<L>,
  ): BatchDecorator<Items, unknown[], L> & (<T extends L, U>(fn: BatchFunction<T, U>) => Batched<T, U>);
  <T, U>(fn: BatchFunction<T, U>, options?: FunctionOptions<T>): Batched<T, U>;
};

/** The same for `aio.dynamically`; a method that it decorates must promise its results, as its calls do. */
export type AsyncDynamically = BatchDecorator<Items, PromiseLike<unknown[]>> & {
  <L>(
    options: FunctionOptions<L>,
  ): BatchDecorator<Items, PromiseLike<unknown[]>, L> &
    (<T extends L, U>(fn: BatchFunction<T, U>) => AsyncBatched<T, U>);
  <T, U>(fn: BatchFunction<T, U>, options?: FunctionOptions<T>): AsyncBatched<T, U>;
};

/**
 * Batches the calls of a function that takes an array of items and returns as many results in the same order.
 *
 * Nothing waits for company: an idle batcher runs what there is, and calls that arrive while a batch runs form the
 * next one. `timeoutMs` changes that.
 *
 * @example
 * const embed = dynamically((texts: string[]) => texts.map((text) => text.length), { batchSize: 64 });
 * embed('one');                // 3
 * await embed.acall(['a', 'bc']); // [1, 2]
 *
 * // As a decorator, with or without options, every instance has a batcher of its own; see `batchedOf`.
 * class Embedder {
 *   \@dynamically({ batchSize: 64 })
 *   embed(texts: string[]): number[] {
 *     return texts.map((text) => text.length);
 *   }
 * }
 * @throws TypeError, RangeError for wrong options. Calls reject with what the function threw, or a BatchedError:
 *   `BATCHED_OUTPUT_MISMATCH`, `BATCHED_QUEUE_FULL`, `BATCHED_DEADLINE`, `BATCHED_CLOSED`, `BATCHED_INVALID_INPUT`.
 */
export const dynamically = entryPoint('dynamically', false) as Dynamically;

/** {@link dynamically} with an asynchronous call: `await f(x)`. The function may be sync or async. */
export const dynamicallyAsync = entryPoint('aio.dynamically', true) as AsyncDynamically;
