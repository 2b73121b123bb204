/**
 * Batches calls of a user function, on the JavaScript thread.
 *
 * Items and promises stay here, by slot; the native queue has their lengths, priorities and times and says which
 * slots form the next batch. It is asked at the end of a tick (one hand-over for all calls of the tick), when a batch
 * has settled and when a timer is due, so a lone call settles without a thread hop.
 */
import type { CacheOptions } from './cache';
import { BatchedError, NativeCode } from './errors';
import { native, type NativeFunctionQueue } from './native';
import { type BatchOptions, type CallOptions, checkCallOptions, onAbort, queueOptions } from './options';
import { batchStats, type BatchStats } from './stats';
import { describe, invalidInput } from './tensor';

export interface FunctionOptions<T> extends BatchOptions, CacheOptions<T> {
  /** Batches of an async function in flight at the same time. Default 1. */
  concurrency?: number;
  /** The length of an item. Default: that of a string, array or typed array, else 1. */
  lengthOf?: (item: T) => number;
}

/** The function that batches run: takes the items of a batch, gives as many results in the same order. */
export type BatchFunction<T, U> = (items: T[]) => U[] | PromiseLike<U[]>;

/** When batches have taken longer than this in one turn of the event loop, the next one waits for the next turn. */
const longestStretchMs = 8;
/** A sync call from inside the batch function of a sync call, and so on: refused at this depth. */
const deepestNesting = 64;
/** setTimeout's bound. */
const longestTimerMs = 2 ** 31 - 1;
/** Batches of at most this many rows are written to arrays that always have room for a whole one. */
const commonBatchSize = 1024;

const none = new Uint32Array(0);

interface ItemCall<U> {
  readonly slots: number[];
  /** Results of an array call; undefined for a single item. */
  readonly results: U[] | undefined;
  readonly priority: number;
  readonly deadlineMs: number;
  /** The same, on performance.now()'s scale; 0: none. */
  readonly due: number;
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
  left: number;
  /** The native queue has been asked to take it. */
  handed: boolean;
  settled: boolean;
  release: (() => void) | undefined;
}

function defaultLength(item: unknown): number {
  if (typeof item === 'string' || Array.isArray(item)) return item.length;
  return ArrayBuffer.isView(item) && 'length' in item ? (item as Uint8Array).length : 1;
}

/** Numbers what may share a batch: items of equal numbers do. */
export type GroupOf<T> = (item: T) => number;

export class FunctionBatcher<T, U> {
  readonly #run: BatchFunction<T, U>;
  readonly #name: string;
  readonly #queue: NativeFunctionQueue;
  readonly #concurrency: number;
  readonly #batchSize: number;
  readonly #lengthOf: ((item: T) => number) | undefined;
  readonly #groupOf: GroupOf<T> | undefined;
  readonly #maxItemLength: number;
  readonly #maxQueueRows: number;

  // By slot.
  readonly #items: (T | undefined)[] = [];
  readonly #owners: (ItemCall<U> | undefined)[] = [];
  readonly #places: number[] = [];
  readonly #itemLengths: number[] = [];
  readonly #free: number[] = [];

  /** Calls of this tick, not yet handed over. */
  #entering: ItemCall<U>[] = [];
  #scheduled = false;
  /** Fires when the oldest row has waited its time. */
  #timer: NodeJS.Timeout | undefined;
  /** Unsettled calls with a deadline; none of them is due before `#firstDue`. One timer serves them all. */
  readonly #timed = new Set<ItemCall<U>>();
  #firstDue = Infinity;
  #deadlineTimer: NodeJS.Timeout | undefined;
  /** When the first batch of this turn of the event loop was asked for; negative: none was. */
  #turnStart = -1;
  /** What waits goes on in the next turn. */
  #yielding = false;
  #running = 0;
  #depth = 0;
  #closing = false;
  readonly #closed: (() => void)[] = [];

  // Reused from tick to tick.
  #slots = new Uint32Array(64);
  #lengths = none;
  #groups = none;
  #calls = new Float64Array(3 * 64);
  readonly #batches: Uint32Array[] = [];

  constructor(run: BatchFunction<T, U>, options: FunctionOptions<T>, name: string, groupOf?: GroupOf<T>) {
    this.#run = run;
    this.#name = name;
    const queue = queueOptions(options);
    this.#queue = new native.FunctionQueue(queue);
    this.#batchSize = queue.batchSize;
    this.#concurrency = options.concurrency ?? 1;
    this.#maxItemLength = options.maxItemLength ?? 0;
    this.#maxQueueRows = queue.maxQueueRows;
    this.#groupOf = groupOf;
    const measured = queue.maxBatchTokens > 0 || this.#maxItemLength > 0 || options.lengthOf !== undefined;
    this.#lengthOf = measured ? (options.lengthOf ?? defaultLength) : undefined;
  }

  // --- Calls --------------------------------------------------------------------------------------------------------

  acall(input: T | readonly T[], options?: CallOptions): Promise<U | U[]> {
    return new Promise((resolve, reject) => {
      if (options !== undefined) {
        checkCallOptions(options);
        if (options.signal?.aborted === true) throw options.signal.reason;
      }
      if (Array.isArray(input) && input.length === 0) {
        resolve([]);
        return;
      }
      const call = this.#enter(input, options, resolve, reject);
      if (options !== undefined) this.#watch(call, options);
      this.#schedule();
    });
  }

  /** Runs on this thread: the call's items together with what waits. */
  call(input: T | readonly T[], options?: CallOptions): U | U[] {
    if (options !== undefined) checkCallOptions(options);
    if (options?.signal?.aborted === true) throw options.signal.reason;
    if (Array.isArray(input) && input.length === 0) return [];
    if (this.#depth >= deepestNesting) {
      throw invalidInput(
        `${this.#name}: sync calls are nested ${this.#depth} deep; does the batch function call itself?`,
      );
    }
    let outcome: { value: U | U[] } | { error: unknown } | undefined;
    const call = this.#enter(
      input,
      options,
      (value) => (outcome = { value }),
      (error) => (outcome = { error }),
    );
    this.#handOver();
    this.#depth++;
    try {
      while (!call.settled) {
        const batch = this.#takeBatch(true);
        // An asynchronous batch settles later, and so would all others: they are left to the tick.
        if (batch === undefined || this.#runBatch(batch)) break;
      }
    } finally {
      this.#depth--;
      this.#schedule();
    }
    if (outcome === undefined) {
      this.#settle(call, NativeCode.cancelled, undefined);
      throw new TypeError(
        `${this.#name}: the batch function is asynchronous, a sync call cannot wait for it; use acall`,
      );
    }
    if ('error' in outcome) throw outcome.error;
    return outcome.value;
  }

  #enter(
    input: T | readonly T[],
    options: CallOptions | undefined,
    resolve: (value: U | U[]) => void,
    reject: (error: unknown) => void,
  ): ItemCall<U> {
    const many = Array.isArray(input);
    const items = many ? (input as readonly T[]) : undefined;
    const count = items === undefined ? 1 : items.length;
    // The only user code on the way in, while nothing of the call is here yet: it may throw, or call in again.
    const lengths = this.#lengthOf === undefined ? undefined : this.#measure(items ?? [input as T], this.#lengthOf);
    if (this.#closing) throw new BatchedError('BATCHED_CLOSED', `${this.#name} is closed`);
    const deadlineMs = options?.deadlineMs ?? -1;
    const call: ItemCall<U> = {
      slots: [],
      results: many ? new Array<U>(count) : undefined,
      priority: options?.priority ?? 0,
      deadlineMs: Math.min(deadlineMs, longestTimerMs),
      due: deadlineMs < 0 ? 0 : performance.now() + deadlineMs,
      resolve,
      reject,
      left: count,
      handed: false,
      settled: false,
      release: undefined,
    };
    for (let i = 0; i < count; i++) {
      const slot = this.#free.pop() ?? this.#items.length;
      this.#items[slot] = items === undefined ? (input as T) : items[i];
      this.#owners[slot] = call;
      this.#places[slot] = i;
      if (lengths !== undefined) this.#itemLengths[slot] = lengths[i]!;
      call.slots.push(slot);
    }
    this.#entering.push(call);
    return call;
  }

  #measure(items: readonly T[], lengthOf: (item: T) => number): number[] {
    const lengths = new Array<number>(items.length);
    for (let i = 0; i < items.length; i++) {
      const length: unknown = lengthOf(items[i]!);
      if (typeof length !== 'number' || !(length >= 0 && length < 2 ** 32)) {
        throw invalidInput(`${this.#name}: lengthOf must give a number of at least 0, it gave ${describe(length)}`);
      }
      if (this.#maxItemLength > 0 && length > this.#maxItemLength) {
        throw invalidInput(
          `${this.#name}: an item of length ${length} is longer than maxItemLength ${this.#maxItemLength}`,
        );
      }
      lengths[i] = length;
    }
    return lengths;
  }

  #watch(call: ItemCall<U>, { signal }: CallOptions): void {
    let unwatch: (() => void) | undefined;
    if (signal !== undefined) {
      const aborted = (): void => this.#settle(call, NativeCode.cancelled, signal.reason);
      if (signal.aborted) {
        aborted(); // by lengthOf
        return;
      }
      unwatch = onAbort(signal, aborted);
    }
    if (call.due > 0) {
      this.#timed.add(call);
      if (call.due < this.#firstDue) this.#awaitDeadline(call.due);
    }
    call.release = () => {
      unwatch?.();
      if (this.#timed.delete(call) && this.#timed.size === 0) this.#awaitDeadline(Infinity);
    };
  }

  #awaitDeadline(due: number): void {
    clearTimeout(this.#deadlineTimer);
    this.#firstDue = due;
    if (due === Infinity) return;
    const wait = Math.min(Math.ceil(due - performance.now()), longestTimerMs);
    this.#deadlineTimer = setTimeout(() => this.#expire(), wait);
  }

  /** Rejects what is past its deadline; asked before each batch too, since a long one keeps timers from firing. */
  #expire(): void {
    const now = performance.now();
    let next = Infinity;
    for (const call of this.#timed) {
      if (call.due > now) next = Math.min(next, call.due);
      else this.#settle(call, NativeCode.deadline, new BatchedError('BATCHED_DEADLINE', "the call's deadline passed"));
    }
    this.#awaitDeadline(next);
  }

  // --- The queue ----------------------------------------------------------------------------------------------------

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(this.#afterMicrotasks);
  }

  /** Calls that other promises of this tick make still join it. */
  readonly #afterMicrotasks = (): void => process.nextTick(this.#tick);

  readonly #tick = (): void => {
    this.#scheduled = false;
    this.#handOver();
    this.#pump();
  };

  /** Gives the tick's calls to the native queue, in one call. */
  #handOver(): void {
    const calls = this.#entering;
    if (calls.length === 0) return;
    this.#entering = [];
    let rows = 0;
    for (const call of calls) rows += call.slots.length;
    if (this.#slots.length < rows) this.#slots = new Uint32Array(2 * rows);
    if (this.#lengthOf !== undefined && this.#lengths.length < rows) this.#lengths = new Uint32Array(2 * rows);
    if (this.#groupOf !== undefined && this.#groups.length < rows) this.#groups = new Uint32Array(2 * rows);
    if (this.#calls.length < 3 * calls.length) this.#calls = new Float64Array(6 * calls.length);
    let at = 0;
    let count = 0;
    for (const call of calls) {
      if (call.settled) continue; // aborted within the tick
      call.handed = true;
      this.#calls[3 * count] = call.slots.length;
      this.#calls[3 * count + 1] = call.priority;
      this.#calls[3 * count + 2] = call.deadlineMs;
      calls[count++] = call;
      for (const slot of call.slots) {
        if (this.#lengthOf !== undefined) this.#lengths[at] = this.#itemLengths[slot]!;
        if (this.#groupOf !== undefined) this.#groups[at] = this.#groupOf(this.#items[slot] as T);
        this.#slots[at++] = slot;
      }
    }
    const refused = this.#queue.admit(this.#slots, this.#lengths, this.#groups, this.#calls, count);
    for (let i = 0; refused > 0 && i < count; i++) {
      if (this.#calls[3 * i]! >= 0) continue;
      const message = `${this.#name}: the queue has no room for ${calls[i]!.slots.length} more rows (maxQueueRows ${this.#maxQueueRows})`;
      this.#settle(calls[i]!, NativeCode.ok, new BatchedError('BATCHED_QUEUE_FULL', message), false);
    }
  }

  /** Starts batches while there is something to run and room to run it. */
  #pump(): void {
    while (!this.#yielding && this.#running < this.#concurrency) {
      const now = performance.now();
      if (now >= this.#firstDue) this.#expire();
      if (this.#turnStart < 0) {
        this.#turnStart = now;
        setImmediate(this.#nextTurn);
      }
      if (now - this.#turnStart > longestStretchMs) {
        this.#yielding = true;
        break;
      }
      const batch = this.#takeBatch(this.#closing);
      if (batch === undefined) break;
      this.#runBatch(batch);
    }
    this.#checkClosed();
  }

  readonly #nextTurn = (): void => {
    this.#turnStart = -1;
    if (!this.#yielding) return;
    this.#yielding = false;
    this.#pump();
  };

  /** The next batch's slots; undefined when there is none now. `force`: does not wait for a fuller one. */
  #takeBatch(force: boolean): Uint32Array | undefined {
    const room = this.#batchSize <= commonBatchSize ? this.#batchSize : Math.min(this.#batchSize, this.#queue.size);
    let buffer = this.#batches.pop();
    if (buffer === undefined || buffer.length < room) buffer = new Uint32Array(room);
    const answer = this.#queue.next(buffer, force);
    if (answer > 0) return buffer.subarray(0, answer);
    this.#batches.push(buffer);
    if (answer === 0) this.#stopTimer();
    if (answer < 0 && this.#timer === undefined) {
      this.#timer = setTimeout(
        () => {
          this.#timer = undefined;
          this.#pump();
        },
        Math.min(Math.ceil(-answer), longestTimerMs),
      );
    }
    return undefined;
  }

  /** When nothing waits, no timer keeps the process alive. */
  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  // --- Batches ------------------------------------------------------------------------------------------------------

  #itemsOf(batch: Uint32Array): T[] {
    const items = new Array<T>(batch.length);
    for (let i = 0; i < batch.length; i++) items[i] = this.#items[batch[i]!] as T;
    return items;
  }

  /** Runs a batch and settles it; true: it turned out to be asynchronous and settles later. */
  #runBatch(batch: Uint32Array): boolean {
    const start = performance.now();
    let results: U[] | PromiseLike<U[]>;
    this.#running++;
    try {
      results = this.#run(this.#itemsOf(batch));
      if (isPromise(results)) {
        this.#await(batch, results, start);
        return true;
      }
    } catch (error) {
      this.#running--;
      this.#fail(batch, error, start);
      return false;
    }
    this.#running--;
    this.#succeed(batch, results, start);
    return false;
  }

  #await(batch: Uint32Array, results: PromiseLike<U[]>, start: number): void {
    // Of a thenable that is no promise, resolve() makes one that settles once whatever it does.
    Promise.resolve(results).then(
      (values) => {
        this.#running--;
        this.#succeed(batch, values, start);
        this.#pump();
      },
      (error: unknown) => {
        this.#running--;
        this.#fail(batch, error, start);
        this.#pump();
      },
    );
  }

  #succeed(batch: Uint32Array, results: U[], start: number): void {
    if (!Array.isArray(results) || results.length !== batch.length) {
      const got = Array.isArray(results) ? `${results.length} results` : describe(results);
      const message = `${this.#name}: the batch function was given ${batch.length} items and returned ${got}`;
      this.#fail(batch, new BatchedError('BATCHED_OUTPUT_MISMATCH', message), start);
      return;
    }
    this.#queue.finish(batch, batch.length, performance.now() - start);
    let settled = 0;
    for (let i = 0; i < batch.length; i++) {
      const slot = batch[i]!;
      const call = this.#owners[slot]!;
      const place = this.#places[slot]!;
      this.#freeSlot(slot);
      if (call.settled) continue;
      settled++;
      if (call.results !== undefined) {
        call.results[place] = results[i]!;
        if (--call.left > 0) continue;
      }
      call.settled = true;
      call.release?.();
      call.resolve((call.results ?? results[i]) as never);
    }
    this.#queue.count(NativeCode.ok, settled);
    this.#giveBack(batch);
  }

  #fail(batch: Uint32Array, error: unknown, start: number): void {
    this.#queue.finish(batch, batch.length, performance.now() - start);
    const owners = new Set<ItemCall<U>>();
    for (const slot of batch) {
      owners.add(this.#owners[slot]!);
      this.#freeSlot(slot);
    }
    for (const call of owners) {
      if (!call.settled) this.#settle(call, NativeCode.backend, error);
    }
    this.#giveBack(batch);
  }

  #freeSlot(slot: number): void {
    this.#items[slot] = undefined;
    this.#owners[slot] = undefined;
    this.#free.push(slot);
  }

  #giveBack(batch: Uint32Array): void {
    this.#batches.push(new Uint32Array(batch.buffer));
  }

  /** Rejects a call; rows of it that still wait leave the queue, those that run are ignored when they are done. */
  #settle(call: ItemCall<U>, code: number, error: unknown, admitted = true): void {
    if (call.settled) return;
    call.settled = true;
    call.release?.();
    const queued = call.handed && admitted;
    for (const slot of call.slots) {
      if (this.#owners[slot] !== call) continue;
      if (!queued || this.#queue.remove(slot)) this.#freeSlot(slot);
    }
    if (queued) this.#queue.count(code, call.left);
    if (this.#timer !== undefined && this.#queue.size === 0) this.#stopTimer();
    call.reject(error);
    this.#checkClosed();
  }

  // --- Life ---------------------------------------------------------------------------------------------------------

  get stats(): BatchStats {
    return batchStats(this.#queue.stats(), []);
  }

  clearStats(): void {
    this.#queue.clearStats();
  }

  get healthy(): boolean {
    return !this.#closing;
  }

  /** Stops intake. With `drain` what was admitted still runs, else what waits rejects with `BATCHED_CLOSED`. */
  close({ drain = true }: { drain?: boolean } = {}): Promise<void> {
    this.#closing = true;
    this.#handOver();
    if (!drain) {
      const error = new BatchedError('BATCHED_CLOSED', `${this.#name} is closed`);
      for (const call of new Set(this.#owners)) {
        if (call !== undefined && call.slots.some((slot) => this.#owners[slot] === call && this.#waits(slot))) {
          this.#settle(call, NativeCode.closed, error);
        }
      }
    }
    return new Promise((resolve) => {
      this.#closed.push(resolve);
      this.#schedule();
    });
  }

  #waits(slot: number): boolean {
    return this.#queue.queued(slot);
  }

  #checkClosed(): void {
    if (!this.#closing || this.#running > 0 || this.#queue.size > 0 || this.#entering.length > 0) return;
    for (const resolve of this.#closed.splice(0)) resolve();
  }
}

export function isPromise<V>(value: V | PromiseLike<V>): value is PromiseLike<V> {
  return typeof (value as PromiseLike<V> | null | undefined)?.then === 'function';
}
