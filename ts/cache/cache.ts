/** Caches of results: what a callable wants of one, and two that are built in. */
import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { deserialize, serialize } from 'node:v8';
import type * as Cacache from 'cacache';
import type * as Lru from 'lru-cache';
import { itemKey } from './cache_key';
import { bytesOf } from './cache_values';
import { checkOptions } from '../options';
import { describe } from '../tensor';

/**
 * Where results are kept. {@link MemoryCache} and {@link DiskCache} are such, and so is any Keyv or lru-cache instance,
 * or a Map. `get` and `set` may give promises; `undefined` and `null` are a miss.
 *
 * What `get` gives at once is taken to be kept as it is, so such a cache gets values. A cache whose `get` gives a
 * promise is taken to keep text: what JSON would not give back (typed arrays, bigints, dates, undefined) goes to it as
 * a string, and is a value again when it comes out. Instances of classes lose their class there.
 *
 * A cache that throws or rejects fails no call: the item counts as missing. One that never answers holds its calls
 * until their `deadlineMs` or `signal`; without either they wait as long as it does.
 */
export interface Cache {
  /** The value of a key, or a promise of it; `undefined` or `null`: a miss. */
  get(key: unknown): unknown;
  /** Keeps a value. What it gives is awaited and otherwise ignored. */
  set(key: unknown, value: unknown): unknown;
  /** Forgets everything. batched does not call it. */
  clear?(): unknown;
  /** The cache's own figures. batched does not read them; see `stats.cacheStats`. */
  readonly stats?: unknown;
}

/** The options of every entry point that concern its cache. `T` is an item, or the features of a single row. */
export interface CacheOptions<T> {
  /**
   * Looked up before anything is queued; items that are equal by their key and in flight at the same time run once.
   * Give each callable a cache of its own (or a namespace, or its name in `cacheKey`): the key says what the item is,
   * not what is done with it. The instances of a decorated class share theirs: where they differ in what they compute,
   * `cacheKey` has to tell. Default: none.
   *
   * What is missing is queued item by item, so of a call that finds the queue full a part may run, and is stored. Of a
   * function over tensors a row is kept as it came out of its batch, padding included; of a model at its own length.
   */
  cache?: Cache | undefined;
  /**
   * What tells an item apart; handed to the cache as it is. `undefined`: the item is not cached. Default: a string
   * made of the item's contents. Instances of classes have no such string: without a `cacheKey` they are not cached.
   */
  cacheKey?: ((item: T) => unknown) | undefined;
}

/** Counts of items; times are averages in milliseconds. */
export interface CacheStats {
  /** Lookups that the cache has answered. */
  gets: number;
  /** Lookups that found something. */
  hits: number;
  /** Results that the cache has taken. */
  sets: number;
  /** Milliseconds of a lookup. */
  avgGetTime: number;
  /** Milliseconds of a lookup that found something. */
  avgHitTime: number;
  /** Milliseconds of a set. */
  avgSetTime: number;
  /** Lookups, sets and keys that failed. The first is also reported by a process warning, `BATCHED_CACHE`. */
  errors: number;
  /** Items that got the result of an identical one that was in flight. */
  joined: number;
}

/** What a {@link MemoryCache} holds. */
export interface MemoryCacheStats {
  /** Entries that it holds now. */
  entries: number;
  /** Bytes of keys and values, by estimate; 0 without `maxBytes`. */
  bytes: number;
}

/** Options of {@link MemoryCache}. */
export interface MemoryCacheOptions {
  /** Most entries; the least recently used one goes first. Default 10000. */
  maxEntries?: number;
  /** Most bytes of keys and values, by estimate. Larger values are not kept. Unset: no bound. */
  maxBytes?: number;
  /** Milliseconds after which an entry counts as missing. Unset: never. */
  ttlMs?: number;
}

/**
 * Keeps results in this process, by lru-cache. Typed arrays, tensors, arrays and plain objects are copied on the way in
 * and out; other objects are the very same for all callers: leave them alone.
 *
 * @example
 * const embed = aio.dynamically(embedMany, { cache: new MemoryCache({ maxEntries: 50_000, ttlMs: 3_600_000 }) });
 * @throws TypeError, RangeError for wrong options
 */
export class MemoryCache implements Cache {
  readonly #entries: Lru.LRUCache<object, object>;

  /** An empty cache. */
  constructor(options: MemoryCacheOptions = {}) {
    checkOptions('MemoryCache', options, { maxEntries: 'count', maxBytes: 'count', ttlMs: 'count' });
    const { maxEntries = 10_000, maxBytes, ttlMs } = options;
    // Loaded by whoever makes one: others need not wait for it.
    // eslint-disable-next-line @typescript-eslint/no-require-imports
    const { LRUCache } = require('lru-cache') as typeof Lru;
    this.#entries = new LRUCache({
      max: maxEntries,
      ...(ttlMs === undefined ? {} : { ttl: ttlMs }),
      ...(maxBytes === undefined
        ? {}
        : { maxSize: maxBytes, sizeCalculation: (value, key) => bytesOf(value) + bytesOf(key) }),
    });
  }

  /** `undefined` for a miss. */
  get(key: unknown): unknown {
    return this.#entries.get(key as object);
  }

  /** Keeps a value, and lets the least recently used ones go. */
  set(key: unknown, value: unknown): void {
    this.#entries.set(key as object, value as object);
  }

  /** Forgets everything. */
  clear(): void {
    this.#entries.clear();
  }

  /** What it holds now. */
  get stats(): MemoryCacheStats {
    return { entries: this.#entries.size, bytes: this.#entries.calculatedSize };
  }
}

/** Counts of a {@link DiskCache}. */
export interface DiskCacheStats {
  /** Lookups. */
  gets: number;
  /** Lookups that found something. */
  hits: number;
  /** Values that were written. */
  sets: number;
  /** Entries that were found damaged, and removed. */
  damaged: number;
}

/** Options of {@link DiskCache}. */
export interface DiskCacheOptions {
  /** A folder of its own, made when it is needed. */
  path: string;
  /** Milliseconds after which an entry counts as missing. Unset: never. */
  maxAgeMs?: number;
}

/** Files that a DiskCache works on at a time: each takes a descriptor or two, of which systems give 256 or 1024. */
const mostOpen = 32;

/** Lets so many tasks run at a time; the others wait in line. */
class Turns {
  #free = mostOpen;
  readonly #line: (() => void)[] = [];

  async take<V>(task: () => Promise<V>): Promise<V> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#line.push(resolve));
    try {
      return await task();
    } finally {
      const next = this.#line.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}

const turns = new Turns();

/**
 * Keeps results in a folder, by npm's cacache: they survive a restart. Several processes may use the folder. Every
 * entry is written to one side, moved into place whole, and read back only if its checksum is right; one that was
 * damaged is removed and counts as missing. Values are plain data as structured clone knows it (typed arrays, bigints,
 * dates and maps included). The folder grows until {@link prune} or {@link clear}.
 *
 * @example
 * const cache = new DiskCache({ path: '/var/cache/embeddings', maxAgeMs: 30 * 86_400_000 });
 * const embed = await inference.load('model.onnx', { cache });
 * @throws TypeError, RangeError for wrong options
 */
export class DiskCache implements Cache {
  readonly #path: string;
  readonly #maxAgeMs: number;
  readonly #stats = { gets: 0, hits: 0, sets: 0, damaged: 0 };
  #store: typeof Cacache | undefined;

  /** Reads nothing yet: what the folder has is found when it is asked for. */
  constructor(options: DiskCacheOptions) {
    checkOptions('DiskCache', options, { path: 'string', maxAgeMs: 'ms' });
    const given: unknown = options.path;
    if (typeof given !== 'string' || given === '' || given.includes('\0')) {
      throw new TypeError(`DiskCache: option 'path' must be a folder, got ${describe(given)}`);
    }
    this.#path = path.resolve(given);
    this.#maxAgeMs = options.maxAgeMs ?? Infinity;
  }

  get #cacache(): typeof Cacache {
    // eslint-disable-next-line @typescript-eslint/no-require-imports
    return (this.#store ??= require('cacache') as typeof Cacache);
  }

  /** Resolves with `undefined` for a miss. Rejects with what the file system rejects with. */
  async get(key: unknown): Promise<unknown> {
    const name = itemKey(key);
    this.#stats.gets++;
    return turns.take(() => this.#get(name));
  }

  async #get(name: string): Promise<unknown> {
    const entry = await this.#cacache.get.info(this.#path, name);
    if (entry === null) return undefined;
    if (Date.now() - entry.time > this.#maxAgeMs) {
      await this.#remove(name);
      return undefined;
    }
    let value: unknown;
    try {
      value = deserialize(await this.#cacache.get.byDigest(this.#path, entry.integrity, { memoize: false }));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return undefined; // removed in the meantime
      if (code !== undefined && code !== 'EINTEGRITY' && code !== 'EBADSIZE') throw error;
      this.#stats.damaged++;
      // The contents too: an equal value would not be written over them.
      await this.#cacache.rm.content(this.#path, entry.integrity);
      await this.#remove(name);
      return undefined;
    }
    this.#stats.hits++;
    return value;
  }

  /** Rejects if the value is not plain data, and with what the file system rejects with. */
  async set(key: unknown, value: unknown): Promise<void> {
    const [name, bytes] = [itemKey(key), serialize(value)];
    await turns.take(() => this.#cacache.put(this.#path, name, bytes));
    this.#stats.sets++;
  }

  /** Removes everything that a DiskCache has put into the folder. */
  async clear(): Promise<void> {
    const names = await readdir(this.#path).catch(() => []);
    const ours = names.filter((name) => /^(content|index)-v\d+$/.test(name));
    const options = { recursive: true, force: true, maxRetries: 3 };
    await Promise.all(ours.map((name) => rm(path.join(this.#path, name), options)));
  }

  /**
   * Removes what is too old, what is damaged, and what a crash has left behind. Reads every file: a task for the start
   * of a program, or the night. Results that are written meanwhile may be lost.
   */
  async prune(): Promise<void> {
    const youngest = Date.now() - this.#maxAgeMs;
    await this.#cacache.verify(this.#path, {
      filter: ((entry: Cacache.CacheObject) => entry.time >= youngest) as never, // typed as a string
    });
  }

  /** Counts of this object. */
  get stats(): DiskCacheStats {
    return { ...this.#stats };
  }

  /** All of its file: it would grow with every time the key is set. */
  async #remove(name: string): Promise<void> {
    const options = { removeFully: true };
    await (this.#cacache.rm.entry as (cache: string, key: string, options: object) => Promise<unknown>)(
      this.#path,
      name,
      options,
    );
  }
}
