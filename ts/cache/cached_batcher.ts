/**
 * The layer above a batcher whose callable has a cache: every item is looked up first, and what is missing runs below.
 *
 * The items of a call part here: each travels in a flight of its own, which everybody who wants the same result joins.
 * So an item is run, fails and is given up alone, whichever calls are waiting for it.
 */
import type { CacheOptions } from './cache';
import { isolate } from './cache_values';
import type { Batcher } from '../callable';
import { BatchedError } from '../errors';
import { longestTimerMs } from '../function/call_deadlines';
import { isPromise } from '../function/function_batcher';
import { type Found, GuardedCache } from './guarded_cache';
import { type BatchOptions, type CallOptions, checkCallOptions, checkOptions, onAbort } from '../options';
import type { BatchStats } from '../stats';

/** What runs the items that are not in the cache. */
export interface Runner<T, U> {
  acall(item: T, options: CallOptions): Promise<U>;
  /** On this thread; the items are all of one call. */
  call(items: T[]): U[];
}

/** As much of an AbortController and its signal as batchers ask for: a real pair costs ten times what a row does. */
class Abort {
  aborted = false;
  #listener: (() => void) | undefined;

  get signal(): AbortSignal {
    return this as unknown as AbortSignal;
  }

  get reason(): Error {
    return new BatchedError('BATCHED_CANCELLED', 'nobody waits for the result any more');
  }

  addEventListener(_type: string, listener: () => void): void {
    this.#listener = listener;
  }

  removeEventListener(): void {
    this.#listener = undefined;
  }

  abort(): void {
    this.aborted = true;
    this.#listener?.call(this);
  }
}

/** The lookups of a call that are awaited. What misses runs when the last has been answered, so that it runs together. */
interface Lookups<T, U> {
  left: number;
  readonly missed: Flight<T, U>[];
}

/** An item on its way: it is looked up, runs, and stays until the cache has taken its result. */
class Flight<T, U> {
  /** Undefined: it is not cached, and nobody else can join. */
  readonly key: unknown;
  readonly item: T;
  readonly priority: number;
  /** The calls that wait for it, with the places in their results. */
  readonly waiting = new Map<Call<T, U>, number[]>();
  /** Set until the cache has answered. */
  lookups: Lookups<T, U> | undefined;
  /** Set when it runs. */
  run: Abort | undefined;
  /** What the cache is being given. */
  result: Found<U> | undefined;

  constructor(key: unknown, item: T, priority: number) {
    this.key = key;
    this.item = item;
    this.priority = priority;
  }
}

/** A call: one result for each of its items, or the first error. */
class Call<T, U> {
  readonly #results: U[];
  readonly #resolve: (results: U[]) => void;
  readonly #reject: (error: unknown) => void;
  #left: number;
  readonly flights = new Set<Flight<T, U>>();
  release: (() => void) | undefined;
  settled = false;

  constructor(items: number, resolve: (results: U[]) => void, reject: (error: unknown) => void) {
    this.#results = new Array<U>(items);
    this.#left = items;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  give(place: number, value: U): void {
    this.#results[place] = value;
    if (--this.#left > 0) return;
    this.settled = true;
    this.release?.();
    this.#resolve(this.#results);
  }

  fail(error: unknown): void {
    this.settled = true;
    this.release?.();
    this.#reject(error);
  }
}

export class CachedBatcher<T, U, Stats extends BatchStats = BatchStats> {
  readonly #runner: Runner<T, U>;
  /** Of the batcher below only its life and its figures matter here. */
  readonly #below: Batcher<Stats>;
  readonly #cache: GuardedCache<T, U>;
  readonly #name: string;
  readonly #smallBatchThreshold: number;
  /** By key: what can be joined. */
  readonly #flights = new Map<unknown, Flight<T, U>>();
  /** Flights whose lookup, or that of others of their call, is awaited. */
  readonly #looking = new Set<Flight<T, U>>();
  /** Flights that run below. */
  #running = 0;
  /** Results on their way into the cache. */
  #writing = 0;
  #closing = false;
  /** A close that does not drain has been asked for. */
  #hurried = false;
  #idle: (() => void)[] = [];

  /** `check` throws for a value from the cache that cannot be a result. */
  constructor(
    runner: Runner<T, U>,
    below: Batcher<Stats>,
    options: BatchOptions & CacheOptions<T>,
    name: string,
    check?: (value: U) => void,
  ) {
    this.#runner = runner;
    this.#below = below;
    this.#cache = new GuardedCache(options, name, check);
    this.#name = name;
    this.#smallBatchThreshold = options.smallBatchThreshold ?? 8;
  }

  // --- Calls --------------------------------------------------------------------------------------------------------

  async acall(input: T | readonly T[], options?: CallOptions): Promise<U | U[]> {
    if (Array.isArray(input)) return this.acallAll(input as readonly T[], options);
    return (await this.acallAll([input as T], options))[0]!;
  }

  call(input: T | readonly T[]): U | U[] {
    return Array.isArray(input) ? this.callAll(input as readonly T[]) : this.callAll([input as T])[0]!;
  }

  acallAll(items: readonly T[], options: CallOptions = {}): Promise<U[]> {
    return new Promise((resolve, reject) => {
      checkCallOptions(options);
      if (items.length === 0) {
        resolve([]);
        return;
      }
      const keys = this.#keysOf(items);
      if (this.#closing) throw this.#closedError();
      // Below, every item is a call of its own; where priorities count, it still ranks with the other large calls.
      const priority = (options.priority ?? 0) + (items.length > this.#smallBatchThreshold ? 1 : 0);
      const call = new Call<T, U>(items.length, resolve, reject);
      const lookups: Lookups<T, U> = { left: 0, missed: [] };
      keys.forEach((key, place) => this.#enter(call, place, items[place]!, key, priority, lookups));
      if (!call.settled) this.#watch(call, options);
    });
  }

  /**
   * On this thread. What a cache gives by a promise cannot be waited for: the item runs, and its result is stored. Nor
   * can a run that is under way.
   */
  callAll(items: readonly T[], options: CallOptions = {}): U[] {
    checkCallOptions(options);
    const keys = this.#keysOf(items);
    if (this.#closing && items.length > 0) throw this.#closedError();
    const results = new Array<U>(items.length);
    const missing = new Map<unknown, { item: T; key: unknown; places: number[] }>();
    keys.forEach((key, place) => {
      const known = key === undefined ? undefined : missing.get(key);
      const result = this.#flights.get(key)?.result;
      if (known !== undefined || result !== undefined) this.#cache.countJoined();
      if (known !== undefined) {
        known.places.push(place);
        return;
      }
      const found = result ?? (key === undefined ? undefined : this.#cache.getNow(key));
      if (found === undefined) missing.set(key ?? Symbol(), { item: items[place]!, key, places: [place] });
      else results[place] = found === result ? isolate(found.value) : found.value;
    });
    if (missing.size === 0) return results;
    const runs = [...missing.values()];
    this.#runner.call(runs.map(({ item }) => item)).forEach((value, i) => {
      const { key, places } = runs[i]!;
      places.forEach((place, n) => (results[place] = n === 0 ? value : isolate(value)));
      if (key !== undefined) void this.#write(key, value);
    });
    return results;
  }

  /** Holes are items like others, which `map` would pass over. */
  #keysOf(items: readonly T[]): unknown[] {
    return Array.from(items, (item) => this.#cache.keyOf(item));
  }

  #watch(call: Call<T, U>, { signal, deadlineMs }: CallOptions): void {
    let unwatch: (() => void) | undefined;
    let timer: NodeJS.Timeout | undefined;
    if (signal !== undefined) {
      const aborted = (): void => this.#giveUp(call, signal.reason);
      if (signal.aborted) {
        aborted(); // by cacheKey or the cache
        return;
      }
      unwatch = onAbort(signal, aborted);
    }
    if (deadlineMs !== undefined) {
      const expired = (): void =>
        this.#giveUp(call, new BatchedError('BATCHED_DEADLINE', "the call's deadline passed"));
      timer = setTimeout(expired, Math.min(Math.ceil(deadlineMs), longestTimerMs));
    }
    call.release = () => {
      unwatch?.();
      clearTimeout(timer);
    };
  }

  /** Fails a call. Flights go on for the others who wait for them; one that nobody waits for ends. */
  #giveUp(call: Call<T, U>, error: unknown): void {
    if (call.settled) return;
    call.fail(error);
    for (const flight of call.flights) {
      flight.waiting.delete(call);
      if (flight.waiting.size > 0 || flight.result !== undefined) continue;
      this.#forget(flight);
      this.#looking.delete(flight);
      this.#answered(flight);
      flight.run?.abort();
    }
  }

  // --- Flights ------------------------------------------------------------------------------------------------------

  #enter(call: Call<T, U>, place: number, item: T, key: unknown, priority: number, lookups: Lookups<T, U>): void {
    const known = key === undefined ? undefined : this.#flights.get(key);
    if (known !== undefined) {
      this.#cache.countJoined();
      if (known.result === undefined) this.#join(known, call, place);
      else call.give(place, isolate(known.result.value));
      return;
    }
    const flight = new Flight<T, U>(key, item, priority);
    const found = key === undefined ? undefined : this.#cache.get(key);
    if (found !== undefined && !isPromise(found)) {
      call.give(place, found.value);
      return;
    }
    this.#join(flight, call, place);
    if (key !== undefined) this.#flights.set(key, flight);
    if (found === undefined) this.#run(flight);
    else this.#look(flight, found, lookups);
  }

  #join(flight: Flight<T, U>, call: Call<T, U>, place: number): void {
    const places = flight.waiting.get(call);
    if (places === undefined) flight.waiting.set(call, [place]);
    else places.push(place);
    call.flights.add(flight);
  }

  #look(flight: Flight<T, U>, lookup: Promise<Found<U> | undefined>, lookups: Lookups<T, U>): void {
    this.#looking.add(flight);
    flight.lookups = lookups;
    lookups.left++;
    void lookup.then((found) => {
      if (flight.waiting.size === 0) return; // given up
      if (found === undefined) {
        lookups.missed.push(flight);
      } else {
        this.#forget(flight);
        this.#looking.delete(flight);
        this.#deliver(flight, found.value);
      }
      this.#answered(flight);
    });
  }

  /** By the cache, or nobody wants to know any more. */
  #answered(flight: Flight<T, U>): void {
    const { lookups } = flight;
    flight.lookups = undefined;
    if (lookups !== undefined && --lookups.left === 0) {
      for (const missed of lookups.missed) if (this.#looking.delete(missed)) this.#run(missed);
    }
    this.#checkIdle();
  }

  #run(flight: Flight<T, U>): void {
    const { item, priority } = flight;
    flight.run = new Abort();
    this.#running++;
    this.#runner.acall(item, { signal: flight.run.signal, priority }).then(
      (value) => {
        this.#running--;
        this.#land(flight, value);
        this.#checkIdle();
      },
      (error: unknown) => {
        this.#running--;
        this.#forget(flight);
        for (const call of [...flight.waiting.keys()]) this.#giveUp(call, error);
        this.#checkIdle();
      },
    );
  }

  #land(flight: Flight<T, U>, value: U): void {
    const { key } = flight;
    this.#forget(flight);
    this.#deliver(flight, value);
    // The callers are settled but have not seen their result yet: what is copied now is as it was computed.
    const written = key === undefined ? undefined : this.#write(key, value);
    if (written === undefined) return;
    // Until the cache has it, it is given from here.
    flight.result = { value: isolate(value) };
    this.#flights.set(key, flight);
    void written.then(() => this.#forget(flight));
  }

  #deliver(flight: Flight<T, U>, value: U): void {
    let given = 0;
    for (const [call, places] of flight.waiting) {
      call.flights.delete(flight);
      for (const place of places) call.give(place, given++ === 0 ? value : isolate(value));
    }
    flight.waiting.clear();
  }

  #forget(flight: Flight<T, U>): void {
    if (flight.key !== undefined && this.#flights.get(flight.key) === flight) this.#flights.delete(flight.key);
  }

  #write(key: unknown, value: U): Promise<void> | undefined {
    const written = this.#cache.set(key, value);
    if (written === undefined) return undefined;
    this.#writing++;
    return written.then(() => {
      this.#writing--;
      this.#checkIdle();
    });
  }

  // --- Life ---------------------------------------------------------------------------------------------------------

  get stats(): Stats {
    return { ...this.#below.stats, cacheStats: this.#cache.stats };
  }

  clearStats(): void {
    this.#below.clearStats();
    this.#cache.clearStats();
  }

  get healthy(): boolean {
    return !this.#closing && this.#below.healthy;
  }

  /** With `drain`, waits for the cache too: for its answers, and until it has taken the results. */
  async close(options: { drain?: boolean } = {}): Promise<void> {
    checkOptions('close', options, { drain: 'boolean' });
    this.#closing = true;
    const drain = options.drain ?? true;
    if (!drain) {
      this.#hurried = true;
      const error = this.#closedError();
      for (const { waiting } of [...this.#looking]) for (const call of [...waiting.keys()]) this.#giveUp(call, error);
      this.#checkIdle();
    }
    await this.#until(() => this.#looking.size === 0);
    await this.#below.close(options);
    // Below everything has settled; what came of it may still be on its way up here.
    await this.#until(() => this.#running === 0 && (this.#hurried || this.#writing === 0));
  }

  async #until(done: () => boolean): Promise<void> {
    while (!done()) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #checkIdle(): void {
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  #closedError(): BatchedError {
    return new BatchedError('BATCHED_CLOSED', `${this.#name} is closed`);
  }
}
