/**
 * Batches calls of a user function, on the JavaScript thread.
 *
 * Items and promises stay here, by slot; the native queue has their lengths, priorities and times and says which
 * slots form the next batch. It is asked at the end of a tick (one hand-over for all calls of the tick), when a batch
 * has settled and when a timer is due, so a lone call settles without a thread hop.
 */
import type { CacheOptions } from '../cache/cache';
import { CallDeadlines, longestTimerMs } from './call_deadlines';
import { deferred, takeReject, takeResolve } from '../deferred';
import { type BatchMessage, batches } from '../diagnostics';
import { EnteringCalls } from './entering_calls';
import { BatchedError, NativeCode } from '../errors';
import { type CallRequest, ItemCall } from './item_call';
import { native, type NativeBatchFacts, type NativeFunctionQueue } from '../native';
import { type BatchOptions, type CallOptions, checkCallOptions, onAbort, queueOptions } from '../options';
import { batchStats, type BatchStats } from '../stats';
import { Stretch } from './stretch';
import { describe, invalidInput } from '../tensor';

/** Options of `dynamically`; `T` is an item. */
export interface FunctionOptions<T> extends BatchOptions, CacheOptions<T> {
  /** Batches of an async function in flight at the same time. Default 1. */
  concurrency?: number;
  /** The length of an item. Default: that of a string, array or typed array, else 1. */
  lengthOf?: (item: T) => number;
}

/** The function that batches run: takes the items of a batch, gives as many results in the same order. */
export type BatchFunction<T, U> = (items: T[]) => U[] | PromiseLike<U[]>;

/** A sync call from inside the batch function of a sync call, and so on: refused at this depth. */
const deepestNesting = 64;
/** Batches of at most this many rows are written to arrays that always have room for a whole one. */
const commonBatchSize = 1024;

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

  // By slot: the call of a row, and the row's place in it.
  readonly #owners: (ItemCall<T, U> | undefined)[] = [];
  readonly #places: number[] = [];
  readonly #free: number[] = [];

  /** Calls of this tick, not yet handed over. */
  readonly #entering: EnteringCalls<T, U>;
  #scheduled = false;
  /** Fires when the oldest row has waited its time. */
  #timer: NodeJS.Timeout | undefined;
  readonly #deadlines = new CallDeadlines<T, U>((call) => {
    this.#settle(call, NativeCode.deadline, new BatchedError('BATCHED_DEADLINE', "the call's deadline passed"));
  });
  readonly #stretch = new Stretch(() => this.#pump());
  #running = 0;
  #depth = 0;
  #closing = false;
  readonly #closed: (() => void)[] = [];

  /** Memory for the slots of a batch, used again. */
  readonly #batches: Uint32Array<ArrayBuffer>[] = [];

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
    const measured =
      queue.maxBatchTokens > 0 ||
      this.#maxItemLength > 0 ||
      options.lengthOf !== undefined ||
      options.priorityStrategy === 'length';
    this.#lengthOf = measured ? (options.lengthOf ?? defaultLength) : undefined;
    this.#entering = new EnteringCalls(this.#owners, measured, groupOf !== undefined);
  }

  // --- Calls --------------------------------------------------------------------------------------------------------

  acall(input: T | readonly T[], options?: CallOptions): Promise<U | U[]> {
    const promise = deferred<U | U[]>();
    const resolve = takeResolve();
    const reject = takeReject();
    try {
      if (options !== undefined) checkCallOptions(options);
      if (Array.isArray(input) && input.length === 0) {
        (resolve as (value: U[]) => void)([]);
        return promise;
      }
      this.#schedule(); // first: whatever fails from here on, what has entered will be handed over
      const call = this.#enter(input, options, resolve, reject);
      if (options !== undefined) this.#watch(call, options);
    } catch (error) {
      reject(error);
    }
    return promise;
  }

  /** Runs on this thread: the call's items together with what waits. */
  call(input: T | readonly T[], options?: CallOptions): U | U[] {
    if (options !== undefined) checkCallOptions(options);
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
      (value: U | U[]) => (outcome = { value }),
      (error) => (outcome = { error }),
    );
    this.#handOver();
    this.#depth++;
    try {
      while (!call.settled) {
        this.#deadlines.expireNow();
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
    resolve: (value: never) => void,
    reject: (error: unknown) => void,
  ): ItemCall<T, U> {
    // lengthOf is the only user code on the way in, while nothing of the call is here yet: it may throw, or call in.
    if (!Array.isArray(input)) {
      const length = this.#lengthOf === undefined ? 1 : this.#measure(input as T, this.#lengthOf);
      if (this.#closing) throw this.#closedError();
      const slot = this.#free.pop() ?? this.#owners.length;
      const call = new ItemCall<T, U>(input, slot, undefined, requestOf(options), resolve, reject);
      this.#entering.begin();
      this.#addRow(call, slot, 0, length);
      if (options !== undefined || this.#groupOf !== undefined) this.#entering.addCall(call);
      else this.#entering.addSingle(call);
      return call;
    }
    const items = input.slice() as T[];
    const lengthOf = this.#lengthOf;
    const lengths = lengthOf === undefined ? [] : Array.from(items, (item) => this.#measure(item, lengthOf)); // holes too
    if (this.#closing) throw this.#closedError();
    const slots: number[] = [];
    const call = new ItemCall<T, U>(items, slots, new Array<U>(items.length), requestOf(options), resolve, reject);
    this.#entering.begin();
    for (let place = 0; place < items.length; place++) {
      const slot = this.#free.pop() ?? this.#owners.length;
      slots.push(slot);
      this.#addRow(call, slot, place, lengths[place] ?? 1);
    }
    this.#entering.addCall(call);
    return call;
  }

  #addRow(call: ItemCall<T, U>, slot: number, place: number, length: number): void {
    this.#owners[slot] = call;
    this.#places[slot] = place;
    this.#entering.addRow(slot, length, this.#groupOf === undefined ? 0 : this.#groupOf(call.itemAt(place)));
  }

  #measure(item: T, lengthOf: (item: T) => number): number {
    const length: unknown = lengthOf(item);
    if (typeof length !== 'number' || !(length >= 0 && length < 2 ** 32)) {
      throw invalidInput(`${this.#name}: lengthOf must give a number of at least 0, it gave ${describe(length)}`);
    }
    if (this.#maxItemLength > 0 && length > this.#maxItemLength) {
      throw invalidInput(
        `${this.#name}: an item of length ${length} is longer than maxItemLength ${this.#maxItemLength}`,
      );
    }
    return length;
  }

  #watch(call: ItemCall<T, U>, { signal }: CallOptions): void {
    let unwatch: (() => void) | undefined;
    if (signal !== undefined) {
      const aborted = (): void => this.#settle(call, NativeCode.cancelled, signal.reason);
      if (signal.aborted) {
        aborted(); // by lengthOf
        return;
      }
      try {
        unwatch = onAbort(signal, aborted);
      } catch (error) {
        this.#settle(call, NativeCode.cancelled, error); // a signal of somebody's own making
        return;
      }
    }
    const due = call.request?.due ?? Infinity;
    if (due < Infinity) this.#deadlines.watch(call, due);
    call.release = () => {
      unwatch?.();
      this.#deadlines.forget(call);
    };
  }

  // --- The queue ----------------------------------------------------------------------------------------------------

  #schedule(): void {
    if (this.#scheduled) return;
    queueMicrotask(this.#afterMicrotasks); // throws where the stack ends
    this.#scheduled = true;
  }

  /** Calls that other promises of this tick make still join it. */
  readonly #afterMicrotasks = (): void => process.nextTick(this.#tick);

  readonly #tick = (): void => {
    this.#scheduled = false;
    this.#handOver();
    this.#pump();
  };

  #handOver(): void {
    for (const call of this.#entering.handOver(this.#queue)) this.#refuse(call);
  }

  #refuse(call: ItemCall<T, U>): void {
    const message = `${this.#name}: the queue has no room for ${call.rows} more rows (maxQueueRows ${this.#maxQueueRows})`;
    this.#settle(call, NativeCode.ok, new BatchedError('BATCHED_QUEUE_FULL', message), false);
  }

  /** Starts batches while there is something to run and room to run it. */
  #pump(): void {
    while (this.#running < this.#concurrency) {
      const now = performance.now();
      this.#deadlines.expire(now);
      if (!this.#stretch.mayStart(now)) break;
      const batch = this.#takeBatch(this.#closing);
      if (batch === undefined) break;
      this.#runBatch(batch);
    }
    this.#checkClosed();
  }

  /** The next batch's slots; undefined when there is none now. `force`: does not wait for a fuller one. */
  #takeBatch(force: boolean): Uint32Array<ArrayBuffer> | undefined {
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

  #itemsOf(batch: Uint32Array<ArrayBuffer>): T[] {
    const items = new Array<T>(batch.length);
    for (let i = 0; i < batch.length; i++) {
      const slot = batch[i]!;
      items[i] = this.#owners[slot]!.itemAt(this.#places[slot]!);
    }
    return items;
  }

  /** Runs a batch and settles it; true: it turned out to be asynchronous and settles later. */
  #runBatch(batch: Uint32Array<ArrayBuffer>): boolean {
    const start = performance.now();
    const facts = batches.hasSubscribers ? this.#queue.lastBatch() : undefined;
    let results: U[] | PromiseLike<U[]>;
    this.#running++;
    try {
      results = this.#run(this.#itemsOf(batch));
      if (isPromise(results)) {
        this.#await(batch, results, start, facts);
        return true;
      }
    } catch (error) {
      this.#running--;
      this.#fail(batch, error, start, facts);
      return false;
    }
    this.#running--;
    this.#succeed(batch, results, start, facts);
    return false;
  }

  #await(
    batch: Uint32Array<ArrayBuffer>,
    results: PromiseLike<U[]>,
    start: number,
    facts: NativeBatchFacts | undefined,
  ): void {
    // Of a thenable that is no promise, resolve() makes one that settles once whatever it does.
    Promise.resolve(results).then(
      (values) => {
        this.#running--;
        this.#succeed(batch, values, start, facts);
        this.#pump();
      },
      (error: unknown) => {
        this.#running--;
        this.#fail(batch, error, start, facts);
        this.#pump();
      },
    );
  }

  /** `facts`: what is told of the batch, if anybody wants to know. */
  #succeed(batch: Uint32Array<ArrayBuffer>, results: U[], start: number, facts: NativeBatchFacts | undefined): void {
    const milliseconds = performance.now() - start;
    let processed = 0;
    try {
      if (!Array.isArray(results) || results.length !== batch.length) {
        const got = Array.isArray(results) ? `${results.length} results` : describe(results);
        const message = `${this.#name}: the batch function was given ${batch.length} items and returned ${got}`;
        throw new BatchedError('BATCHED_OUTPUT_MISMATCH', message);
      }
      for (let i = 0; i < batch.length; i++) {
        const slot = batch[i]!;
        const call = this.#owners[slot]!;
        if (call.settled) continue;
        const result = results[i]!; // of a proxy, say, it may throw
        processed++;
        call.take(this.#places[slot]!, result);
      }
    } catch (error) {
      this.#fail(batch, error, start, facts, processed);
      return;
    }
    this.#finish(batch, milliseconds, processed);
    if (facts !== undefined) this.#publish(facts, milliseconds);
  }

  /** `processed` of the batch's rows have got their result. */
  #fail(
    batch: Uint32Array<ArrayBuffer>,
    error: unknown,
    start: number,
    facts: NativeBatchFacts | undefined,
    processed = 0,
  ): void {
    const owners = new Set<ItemCall<T, U>>();
    for (const slot of batch) owners.add(this.#owners[slot]!);
    const milliseconds = performance.now() - start;
    this.#finish(batch, milliseconds, processed);
    for (const call of owners) this.#settle(call, NativeCode.backend, error);
    if (facts !== undefined) this.#publish(facts, milliseconds, { error });
  }

  /** Last of all: a subscriber may do anything. */
  #publish(facts: NativeBatchFacts, durationMs: number, failure?: { error: unknown }): void {
    batches.publish({ name: this.#name, kind: 'function', ...facts, durationMs, ...failure } satisfies BatchMessage);
  }

  #finish(batch: Uint32Array<ArrayBuffer>, milliseconds: number, processed: number): void {
    this.#queue.finish(batch, milliseconds, processed);
    for (let i = 0; i < batch.length; i++) this.#freeSlot(batch[i]!);
    this.#batches.push(new Uint32Array(batch.buffer));
  }

  #freeSlot(slot: number): void {
    this.#owners[slot] = undefined;
    this.#free.push(slot);
  }

  /** Rejects a call; rows of it that still wait leave the queue, those that run are ignored when they are done. */
  #settle(call: ItemCall<T, U>, code: number, error: unknown, admitted = true): void {
    if (call.settled) return; // it was aborted, say, while it ran
    const queued = call.handed && admitted;
    for (let place = 0; place < call.rows; place++) {
      const slot = call.slotAt(place);
      if (this.#owners[slot] !== call) continue;
      if (!queued || this.#queue.remove(slot)) this.#freeSlot(slot);
    }
    if (queued) this.#queue.count(code, call.left);
    if (this.#timer !== undefined && this.#queue.size === 0) this.#stopTimer();
    call.fail(error);
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
      const waiting = new Set(this.#owners.filter((call, slot) => call !== undefined && this.#queue.queued(slot)));
      const error = this.#closedError();
      for (const call of waiting) this.#settle(call!, NativeCode.closed, error);
    }
    return new Promise((resolve) => {
      this.#closed.push(resolve);
      this.#schedule();
    });
  }

  #closedError(): BatchedError {
    return new BatchedError('BATCHED_CLOSED', `${this.#name} is closed`);
  }

  #checkClosed(): void {
    if (!this.#closing || this.#running > 0 || this.#queue.size > 0 || !this.#entering.empty) return;
    for (const resolve of this.#closed.splice(0)) resolve();
  }
}

function requestOf(options: CallOptions | undefined): CallRequest | undefined {
  if (options === undefined) return undefined;
  const { priority = 0, deadlineMs = -1 } = options;
  return {
    priority,
    deadlineMs: Math.min(deadlineMs, longestTimerMs),
    due: deadlineMs < 0 ? Infinity : performance.now() + deadlineMs,
  };
}

export function isPromise<V>(value: V | PromiseLike<V>): value is PromiseLike<V> {
  return typeof (value as PromiseLike<V> | null | undefined)?.then === 'function';
}
