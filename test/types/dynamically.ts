/** What `dynamically` and `aio.dynamically` infer; what must not compile. Checked by `tsc --noEmit`, never run. */
import { expectTypeOf } from 'expect-type';
import Keyv from 'keyv';
import { LRUCache } from 'lru-cache';
import {
  aio,
  type AsyncBatched,
  type Batched,
  type BatchMessage,
  type BatchStats,
  type Cache,
  type CacheStats,
  DiskCache,
  dynamically,
  MemoryCache,
  type RequestMessage,
} from '../../ts';

const lengths = (items: string[]): number[] => items.map((item) => item.length);
const lengthsAsync = async (items: string[]): Promise<number[]> => lengths(items);

// --- Single in, single out; arrays in, arrays out

const f = dynamically(lengths, { batchSize: 3, lengthOf: (item) => item.length });
expectTypeOf(f).toEqualTypeOf<Batched<string, number>>();
expectTypeOf(f('a')).toEqualTypeOf<number>();
expectTypeOf(f(['a', 'b'])).toEqualTypeOf<number[]>();
expectTypeOf(f(['a', 'b'] as const)).toEqualTypeOf<number[]>();
expectTypeOf(f.acall('a')).resolves.toEqualTypeOf<number>();
expectTypeOf(f.acall(['a'])).resolves.toEqualTypeOf<number[]>();
expectTypeOf(f.acall('a', { signal: AbortSignal.timeout(1), deadlineMs: 5, priority: 1 })).toEqualTypeOf<
  Promise<number>
>();

// @ts-expect-error items are strings
f(3);
// @ts-expect-error items are strings
f([3]);
// @ts-expect-error a sync call takes no options
f('a', { priority: 1 });
// @ts-expect-error no such option
void f.acall('a', { prio: 1 });
// @ts-expect-error a signal is an AbortSignal
void f.acall('a', { signal: true });

// --- Async functions

expectTypeOf(dynamically(lengthsAsync)).toEqualTypeOf<Batched<string, number>>();
expectTypeOf(aio.dynamically(lengthsAsync)).toEqualTypeOf<AsyncBatched<string, number>>();
const g = aio.dynamically(lengths);
expectTypeOf(g).toEqualTypeOf<AsyncBatched<string, number>>();
expectTypeOf(g('a')).resolves.toEqualTypeOf<number>();
expectTypeOf(g(['a'], { priority: 1 })).resolves.toEqualTypeOf<number[]>();
expectTypeOf(g.acall('a', { deadlineMs: 1 })).resolves.toEqualTypeOf<number>();
// @ts-expect-error items are strings
void g(3);
// @ts-expect-error no such option
void g('a', { timeoutMs: 3 });

// --- Items that are arrays come in an array

const vectors = dynamically((items: number[][]) => items.map((item) => item.length));
expectTypeOf(vectors([[1, 2]])).toEqualTypeOf<number[]>();
expectTypeOf(vectors.acall([[1, 2]])).resolves.toEqualTypeOf<number[]>();
// @ts-expect-error an array is several items, and its items are no vectors
vectors([1, 2]);
// @ts-expect-error an array is several items here too
void vectors.acall([1, 2]);
const typed = dynamically((items: Float32Array[]) => items.map((item) => item.length));
expectTypeOf(typed(new Float32Array(3))).toEqualTypeOf<number>();

// --- Items and results of any type

const optional = dynamically((items: (number | undefined)[]) => items.map((item) => item ?? null));
expectTypeOf(optional(undefined)).toEqualTypeOf<number | null>();
expectTypeOf(optional([1, undefined])).toEqualTypeOf<(number | null)[]>();
const objects = dynamically((items: { id: number }[]) => items.map(({ id }) => ({ id, done: true })));
expectTypeOf(objects({ id: 1 })).toEqualTypeOf<{ id: number; done: boolean }>();
// @ts-expect-error an item without its id
objects({});

// --- The curried form

expectTypeOf(dynamically({ batchSize: 3 })(lengths)).toEqualTypeOf<Batched<string, number>>();
expectTypeOf(dynamically({})((items: number[]) => items.map(String))(3)).toEqualTypeOf<string>();
expectTypeOf(dynamically({ lengthOf: (item: string) => item.length })(lengths)).toEqualTypeOf<
  Batched<string, number>
>();
expectTypeOf(aio.dynamically({ concurrency: 2 })(lengthsAsync)).toEqualTypeOf<AsyncBatched<string, number>>();
// @ts-expect-error lengthOf measures strings, the items are numbers
dynamically({ lengthOf: (item: string) => item.length })((items: number[]) => items);

// --- Wrong use

// @ts-expect-error nothing to wrap
dynamically();
// @ts-expect-error no function
dynamically(3);
// @ts-expect-error the function must take an array
dynamically((item: string) => [item]);
// @ts-expect-error the function must return an array
dynamically((items: string[]) => items.length);
// @ts-expect-error the function must promise an array
dynamically(async (items: string[]) => items.length);
// @ts-expect-error no such option
dynamically(lengths, { batchsize: 3 });
// @ts-expect-error an option of the wrong type
dynamically(lengths, { batchSize: '3' });
// @ts-expect-error an option of the wrong type
dynamically({ timeoutMs: '3' });
// @ts-expect-error lengthOf gets an item
dynamically(lengths, { lengthOf: (item: number) => item });

// --- Controls

expectTypeOf(f.stats).toEqualTypeOf<BatchStats>();
expectTypeOf(f.stats.queueTime).toEqualTypeOf<{ p50: number; p90: number; p99: number; max: number }>();
expectTypeOf(f.health.healthy).toEqualTypeOf<boolean>();
expectTypeOf(f.close({ drain: false })).toEqualTypeOf<Promise<void>>();
expectTypeOf(f[Symbol.asyncDispose]).returns.toEqualTypeOf<Promise<void>>();
// @ts-expect-error a snapshot is read
f.stats = g.stats;

// --- Messages of diagnostics channels

expectTypeOf<BatchMessage['reason']>().toEqualTypeOf<keyof BatchStats['dispatchReasons']>();
expectTypeOf<RequestMessage['outcome']>()
  .exclude<'ok' | 'failed' | 'cancelled' | 'timedOut' | 'rejected' | 'closed'>()
  .toBeNever();

// --- Caches

const cached = dynamically(lengths, { cache: new MemoryCache({ maxEntries: 3 }), cacheKey: (item) => item.trim() });
expectTypeOf(cached).toEqualTypeOf<Batched<string, number>>();
expectTypeOf(cached.stats.cacheStats).toEqualTypeOf<CacheStats | undefined>();
const stores: Cache[] = [new DiskCache({ path: '.' }), new Keyv(), new LRUCache<string, object>({ max: 3 }), new Map()];
dynamically(lengths, { cache: stores[0] });
aio.dynamically({ cache: new Keyv(), cacheKey: (item: string) => item })(lengthsAsync);
// @ts-expect-error cacheKey gets an item
dynamically(lengths, { cache: new Map(), cacheKey: (item: number) => item });
// @ts-expect-error a cache has get and set
dynamically(lengths, { cache: { get: () => 3 } });
// @ts-expect-error a folder is needed
new DiskCache({});
// @ts-expect-error no such option
new MemoryCache({ max: 3 });
