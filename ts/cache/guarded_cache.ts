/** A user's cache as batchers see it: it never throws, it is timed, and what goes in and comes out is a copy. */
import { type Cache, type CacheOptions, type CacheStats, DiskCache } from './cache';
import { itemKey } from './cache_key';
import { isolate, needsPacking, pack, survivesJson, unpack } from './cache_values';
import { isPromise } from '../function/function_batcher';

/** A hit. In a box, since any value may be a result. */
export interface Found<U> {
  readonly value: U;
}

const nothing = { gets: 0, hits: 0, sets: 0, getTime: 0, hitTime: 0, setTime: 0, errors: 0, joined: 0 };

export class GuardedCache<T, U> {
  readonly #cache: Cache;
  readonly #cacheKey: (item: T) => unknown;
  /** Throws for a value that cannot be a result of this callable. */
  readonly #check: ((value: U) => void) | undefined;
  readonly #name: string;
  #counts = { ...nothing };
  #warned = false;
  /** `get` has given a promise. */
  #slow = false;

  constructor({ cache, cacheKey }: CacheOptions<T>, name: string, check?: (value: U) => void) {
    this.#cache = cache!;
    this.#cacheKey = cacheKey ?? itemKey;
    this.#check = check;
    this.#name = name;
  }

  /** Undefined: the item is not cached. */
  keyOf(item: T): unknown {
    try {
      return this.#cacheKey(item);
    } catch (error) {
      this.#report(error);
      return undefined;
    }
  }

  /** What the cache has, at once or as a promise that never rejects. */
  get(key: unknown): Found<U> | undefined | Promise<Found<U> | undefined> {
    const start = performance.now();
    let answer: unknown;
    try {
      answer = this.#cache.get(key);
    } catch (error) {
      this.#missed(start, error);
      return undefined;
    }
    if (!isPromise(answer)) return this.#answered(start, answer);
    this.#slow = true;
    return Promise.resolve(answer).then(
      (value) => this.#answered(start, value),
      (error: unknown) => {
        this.#missed(start, error);
        return undefined;
      },
    );
  }

  /** The same for callers that cannot wait: of a cache that gives promises it is not even asked. */
  getNow(key: unknown): Found<U> | undefined {
    const found = this.#slow ? undefined : this.get(key);
    return isPromise(found) ? undefined : found;
  }

  #answered(start: number, answer: unknown): Found<U> | undefined {
    if (answer === undefined || answer === null) {
      this.#missed(start);
      return undefined;
    }
    let value: U;
    try {
      value = isolate(unpack(answer)) as U;
      this.#check?.(value);
    } catch (error) {
      this.#missed(start, error);
      return undefined;
    }
    const time = performance.now() - start;
    const counts = this.#counts;
    counts.gets++;
    counts.getTime += time;
    counts.hits++;
    counts.hitTime += time;
    return { value };
  }

  #missed(start: number, ...errors: unknown[]): void {
    this.#counts.gets++;
    this.#counts.getTime += performance.now() - start;
    for (const error of errors) this.#report(error);
  }

  /** Takes a copy at once. The promise, if the cache gives one, never rejects. */
  set(key: unknown, value: U): Promise<void> | undefined {
    const start = performance.now();
    const done = (): void => {
      this.#counts.sets++;
      this.#counts.setTime += performance.now() - start;
    };
    try {
      const answer = this.#cache.set(key, this.#kept(value));
      if (isPromise(answer)) return Promise.resolve(answer).then(done, (error: unknown) => this.#report(error));
      done();
    } catch (error) {
      this.#report(error);
    }
    return undefined;
  }

  #kept(value: U): unknown {
    const asText = this.#slow && !(this.#cache instanceof DiskCache);
    return needsPacking(value) || (asText && !survivesJson(value)) ? pack(value) : isolate(value);
  }

  countJoined(): void {
    this.#counts.joined++;
  }

  #report(error: unknown): void {
    this.#counts.errors++;
    if (this.#warned) return;
    this.#warned = true;
    const says = error instanceof Error ? error.message : String(error);
    process.emitWarning(
      `${this.#name}: the cache failed, calls go on without it (later failures are in stats): ${says}`,
      {
        code: 'BATCHED_CACHE',
      },
    );
  }

  get stats(): CacheStats {
    const { gets, hits, sets, getTime, hitTime, setTime, errors, joined } = this.#counts;
    const average = (sum: number, count: number): number => (count === 0 ? 0 : sum / count);
    return {
      gets,
      hits,
      sets,
      avgGetTime: average(getTime, gets),
      avgHitTime: average(hitTime, hits),
      avgSetTime: average(setTime, sets),
      errors,
      joined,
    };
  }

  clearStats(): void {
    this.#counts = { ...nothing };
  }
}
