/** The option `cache`: what is looked up, run, shared and stored, and how every call ends. */
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { aio, type BatchedError, type Cache, dynamically, MemoryCache } from '../../ts';
import { itemKey } from '../../ts/cache/cache_key';
import { errorOf, expectAccounted, type Gate, gate, gated, turn } from '../helpers/gate';

const options = (given: unknown): any => given; // eslint-disable-line @typescript-eslint/no-explicit-any

/** A sync function that remembers its batches. */
function recorded<T, U>(each: (item: T) => U): ((items: T[]) => U[]) & { batches: T[][] } {
  const batches: T[][] = [];
  return Object.assign(
    (items: T[]) => {
      batches.push([...items]);
      return items.map(each);
    },
    { batches },
  );
}

const double = (item: number): number => 2 * item;

/** An async cache that answers when the test lets it. */
class GatedCache implements Cache {
  readonly entries = new Map<unknown, unknown>();
  readonly gets: Gate[] = [];
  readonly sets: Gate[] = [];

  async get(key: unknown): Promise<unknown> {
    const held = gate();
    this.gets.push(held);
    await held.promise;
    return this.entries.get(key);
  }

  async set(key: unknown, value: unknown): Promise<void> {
    const held = gate();
    this.sets.push(held);
    await held.promise;
    this.entries.set(key, value);
  }

  async openGets(): Promise<void> {
    for (const held of this.gets.splice(0)) held.open();
    await turn();
  }

  async openSets(): Promise<void> {
    for (const held of this.sets.splice(0)) held.open();
    await turn();
  }
}

/** The default options of a Map in which everything is answered by promises. */
function asyncMap(entries = new Map<unknown, unknown>()): Cache & { entries: Map<unknown, unknown> } {
  return {
    entries,
    get: async (key) => entries.get(key),
    set: async (key, value) => {
      entries.set(key, value);
    },
  };
}

describe('looked up before queueing', () => {
  test('a hit never reaches the queue', async () => {
    const run = recorded(double);
    const f = aio.dynamically(run, { cache: new MemoryCache() });
    expect(await f(3)).toBe(6);
    expect(await f(3)).toBe(6);
    expect(run.batches).toEqual([[3]]);
    expect(f.stats).toMatchObject({ admitted: 1, totalProcessed: 1, cacheStats: { gets: 2, hits: 1, sets: 1 } });
  });

  test('of an array only the misses run, and everything comes back in order', async () => {
    const run = recorded(double);
    const f = aio.dynamically(run, { cache: new MemoryCache() });
    await f([2, 4]);
    expect(await f([1, 2, 3, 4, 5])).toEqual([2, 4, 6, 8, 10]);
    expect(run.batches).toEqual([
      [2, 4],
      [1, 3, 5],
    ]);
  });

  test('acall and the sync call share the entries', async () => {
    const run = recorded(double);
    const f = dynamically(run, { cache: new MemoryCache() });
    expect(await f.acall(1)).toBe(2);
    expect(f(1)).toBe(2);
    expect(f([1, 2, 2])).toEqual([2, 4, 4]);
    expect(await f.acall([2, 1])).toEqual([4, 2]);
    expect(run.batches).toEqual([[1], [2]]);
  });

  test('holes are items like others: a call with some settles', async () => {
    const run = recorded((item: unknown) => String(item));
    const f = dynamically(run, { cache: new MemoryCache() });
    const sparse: unknown[] = [1];
    sparse[2] = 3;
    expect(await f.acall(sparse)).toEqual(['1', 'undefined', '3']);
    expect(f(sparse)).toEqual(['1', 'undefined', '3']);
    expect(run.batches.flat()).toEqual([1, undefined, 3]);
  });

  test('an empty array gives an empty array', async () => {
    const f = dynamically(recorded(double), { cache: new MemoryCache() });
    expect(f([])).toEqual([]);
    expect(await f.acall([])).toEqual([]);
    expect(f.stats.cacheStats).toMatchObject({ gets: 0 });
  });

  test('an item that is itself an array comes in an array', async () => {
    const run = recorded((item: number[]) => item.length);
    const f = dynamically(run, { cache: new MemoryCache() });
    expect(await f.acall([[1, 2]])).toEqual([2]);
    expect(f([[1, 2], []])).toEqual([2, 0]);
    expect(run.batches).toEqual([[[1, 2]], [[]]]);
  });

  test.each([undefined, null, false, 0, '', Number.NaN])('a result that is %p is a hit', async (result) => {
    for (const cache of [new MemoryCache(), new Map(), asyncMap()]) {
      const run = recorded(() => result);
      const f = aio.dynamically(run, { cache });
      expect(await f('item')).toEqual(result);
      await turn();
      expect(await f('item')).toEqual(result);
      expect(run.batches).toHaveLength(1);
    }
  });

  test('without a cache there are no cacheStats', () => {
    expect(dynamically(recorded(double)).stats).not.toHaveProperty('cacheStats');
  });
});

describe('keys', () => {
  const distinct: unknown[] = [
    1,
    '1',
    1n,
    true,
    'true',
    null,
    'null',
    undefined,
    'undefined',
    0,
    -0,
    Number.NaN,
    '',
    {},
    { a: 1 },
    { a: '1' },
    { a: 1, b: 2 },
    { a: { b: 2 } },
    { a: undefined },
    [],
    [[]],
    [1, 2],
    ['1', '2'],
    ['12'],
    ['1', ''],
    Float32Array.of(1, 2),
    Float64Array.of(1, 2),
    new Uint8Array(8),
    new Float32Array(2),
    new Uint8Array(8).buffer,
    new Date(3),
    new Map([[1, 2]]),
    new Set([1, 2]),
    '\ud800',
    '\ud801',
    'x'.repeat(1000),
    'x'.repeat(1001),
  ];

  test('what differs has different keys', () => {
    expect(new Set(distinct.map(itemKey)).size).toBe(distinct.length);
  });

  test('contents count, not identity, the order of names or where the bytes lie', () => {
    const text = 'a text long enough to be a slice of its parent €';
    const pairs: [unknown, unknown][] = [
      [
        { a: 1, b: [2, { c: 3 }] },
        { b: [2, { c: 3 }], a: 1 },
      ],
      [Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
      [Float32Array.of(1, 2), Float32Array.of(0, 1, 2, 3).subarray(1, 3)],
      [[0.5, 1].slice(1), [1]],
      [[text.slice(0, 40)], [Buffer.from(text.slice(0, 40)).toString('latin1')]],
      [Buffer.from('abc'), new Uint8Array([97, 98, 99])],
    ];
    for (const [one, other] of pairs) expect(itemKey(one)).toBe(itemKey(other));
  });

  test('an object that is used again with other contents is another item', async () => {
    const f = aio.dynamically((items: { n: number }[]) => items.map(({ n }) => n), { cache: new MemoryCache() });
    const item = { n: 1 };
    expect(await f(item)).toBe(1);
    item.n = 2;
    expect(await f(item)).toBe(2);
  });

  test('cacheKey says what an item is, and undefined that it is not cached', async () => {
    const run = recorded((item: { id: number; note: string }) => item.note);
    const cache = new Map();
    const f = aio.dynamically(run, { cache, cacheKey: ({ id }) => (id > 0 ? id : undefined) });
    expect(await f({ id: 1, note: 'a' })).toBe('a');
    expect(await f({ id: 1, note: 'b' })).toBe('a');
    expect(await f([{ id: 0, note: 'c' }, { id: 0, note: 'd' }])).toEqual(['c', 'd']); // prettier-ignore
    expect([...cache.entries()]).toEqual([[1, 'a']]);
    expect(f.stats.cacheStats).toMatchObject({ gets: 2, hits: 1, sets: 1, joined: 0, errors: 0 });
  });
});

describe('identical items in flight', () => {
  test('run once', async () => {
    const run = gated(double);
    const f = aio.dynamically(run, { cache: new MemoryCache() });
    const calls = [f(1), f([1, 2, 1]), f(1)];
    await turn();
    calls.push(f(2));
    await run.openAll();
    expect(await Promise.all(calls)).toEqual([2, [2, 4, 2], 2, 4]);
    expect(run.batches.map(({ items }) => items)).toEqual([[1, 2]]);
    expect(f.stats).toMatchObject({ admitted: 2, cacheStats: { gets: 2, hits: 0, sets: 2, joined: 4 } });
    expectAccounted(f.stats);
  });

  test('are looked up once while the cache has not answered', async () => {
    const cache = new GatedCache();
    const run = recorded(double);
    const f = aio.dynamically(run, { cache });
    const calls = [f(1), f(1)];
    expect(cache.gets).toHaveLength(1);
    await cache.openGets();
    expect(await Promise.all(calls)).toEqual([2, 2]);
    expect(run.batches).toEqual([[1]]);
  });

  test('a result on its way into the cache is given out', async () => {
    const cache = new GatedCache();
    const run = recorded((item: number) => [item]);
    const f = aio.dynamically(run, { cache });
    const first = f(1);
    await cache.openGets();
    const result = await first;
    result.push(0); // the caller's own
    expect(cache.sets).toHaveLength(1);
    expect(await f(1)).toEqual([1]);
    expect(run.batches).toHaveLength(1);
    await cache.openSets();
    const hit = f(1);
    await cache.openGets();
    expect(await hit).toEqual([1]);
  });

  test('a caller that aborts leaves the run to the others', async () => {
    const run = gated(double);
    const f = aio.dynamically(run, { cache: new MemoryCache() });
    const controller = new AbortController();
    const first = f(1, { signal: controller.signal });
    const second = f([1, 1]);
    await turn();
    controller.abort();
    await expect(first).rejects.toBe(controller.signal.reason);
    await run.openAll();
    expect(await second).toEqual([2, 2]);
    expect(f.stats).toMatchObject({ totalProcessed: 1, cancelled: 0 });
  });

  test('one whose callers have all given up is cancelled, not stored, and run anew for the next', async () => {
    const run = gated(double);
    const f = aio.dynamically(run, { cache: new MemoryCache(), batchSize: 1 });
    const busy = f(0);
    await turn();
    const controller = new AbortController();
    const calls = [f(1, { signal: controller.signal }), f(1, { deadlineMs: 1 })];
    expect(((await errorOf(() => calls[1])) as BatchedError).code).toBe('BATCHED_DEADLINE');
    controller.abort();
    await expect(calls[0]).rejects.toBe(controller.signal.reason);
    expect(f.stats).toMatchObject({ cancelled: 1, queueSize: 0 });
    const later = f(1);
    await run.openAll();
    expect(await Promise.all([busy, later])).toEqual([0, 2]);
    expect(run.batches.map(({ items }) => items)).toEqual([[0], [1]]);
    expectAccounted(f.stats);
  });

  test('a failed run gives all of them the same error, and nothing is stored', async () => {
    const run = gated(double);
    const cache = new Map();
    const f = aio.dynamically(run, { cache });
    const calls = [f(1), f(1), f([2, 1])];
    await turn();
    const error = new Error('no');
    run.batches[0]!.fail(error);
    const outcomes = await Promise.allSettled(calls);
    for (const outcome of outcomes) expect((outcome as PromiseRejectedResult).reason).toBe(error);
    expect(cache.size).toBe(0);
    const again = f(1);
    await run.openAll();
    expect(await again).toBe(2);
  });

  test('an item that fails fails only the calls that wait for it', async () => {
    const run = gated(double);
    const f = aio.dynamically(run, { cache: new MemoryCache(), batchSize: 1 });
    const both = f([1, 2]);
    const one = f(2);
    await turn();
    run.batches[0]!.fail(new Error('no'));
    await expect(both).rejects.toThrow('no');
    await run.openAll();
    expect(await one).toBe(4);
  });

  test('a call of many rows ranks with the large calls', async () => {
    const run = gated(double);
    const f = aio.dynamically(run, { cache: new MemoryCache(), batchSize: 2, smallBatchThreshold: 2 });
    const calls: Promise<unknown>[] = [f(0)];
    await turn();
    calls.push(f([1, 2, 3]), f(4), f(5));
    await run.openAll();
    await Promise.all(calls);
    expect(run.batches.map(({ items }) => items)).toEqual([[0], [4, 5], [1, 2], [3]]);
  });
});

describe('a cache that has not answered', () => {
  test('does not hold a call beyond its deadline or signal', async () => {
    const cache = new GatedCache();
    const run = recorded(double);
    const f = aio.dynamically(run, { cache });
    const controller = new AbortController();
    const calls = [f(1, { deadlineMs: 1 }), f(2, { signal: controller.signal })];
    expect(((await errorOf(() => calls[0])) as BatchedError).code).toBe('BATCHED_DEADLINE');
    controller.abort();
    await expect(calls[1]).rejects.toBe(controller.signal.reason);
    await cache.openGets();
    expect(run.batches).toEqual([]);
    expect(f.stats).toMatchObject({ admitted: 0, cacheStats: { gets: 2 } });
  });

  test('holds close({ drain }), which then runs what missed and waits for what is stored', async () => {
    const cache = new GatedCache();
    const f = aio.dynamically(recorded(double), { cache });
    const call = f(1);
    let closed = false;
    const closing = f.close().then(() => (closed = true));
    await expect(f(2)).rejects.toMatchObject({ code: 'BATCHED_CLOSED' });
    expect(f.health.healthy).toBe(false);
    await turn();
    expect(closed).toBe(false);
    await cache.openGets();
    expect(await call).toBe(2);
    await turn();
    expect(closed).toBe(false);
    await cache.openSets();
    await closing;
    expect([...cache.entries.values()]).toEqual([2]);
  });

  test('does not hold close({ drain: false })', async () => {
    const cache = new GatedCache();
    const f = aio.dynamically(recorded(double), { cache });
    const written = f(1);
    await cache.openGets();
    await written;
    const call = f(2);
    const draining = f.close();
    const closing = f.close({ drain: false });
    await expect(call).rejects.toMatchObject({ code: 'BATCHED_CLOSED' });
    await Promise.all([closing, draining]);
  });

  test('a sync call does not wait for it: the item runs, and its result is stored', async () => {
    const cache = asyncMap();
    const run = recorded(double);
    const f = dynamically(run, { cache });
    expect(f(1)).toBe(2);
    expect(f(1)).toBe(2);
    expect(run.batches).toEqual([[1], [1]]);
    await turn();
    expect(await f.acall(1)).toBe(2);
    expect(run.batches).toHaveLength(2);
  });
});

describe('after close', () => {
  test('calls are refused, hits included', async () => {
    const f = dynamically(recorded(double), { cache: new MemoryCache() });
    f(1);
    await f.close();
    expect(() => f(1)).toThrow(/closed/);
    await expect(f.acall(1)).rejects.toMatchObject({ code: 'BATCHED_CLOSED' });
    await expect(f.close(options({ drain: 'no' }))).rejects.toThrow(/'drain'/);
  });
});

describe('a failing cache', () => {
  afterEach(() => {
    jest.restoreAllMocks();
  });

  const fails = (): never => {
    throw new Error('out of order');
  };
  const rejects = async (): Promise<never> => fails();
  const works = (): undefined => undefined;
  test.each<[string, Cache, number]>([
    ['get throws', { get: fails, set: works }, 3],
    ['get rejects', { get: rejects, set: works }, 3],
    ['set throws', { get: works, set: fails }, 3],
    ['set rejects', { get: works, set: rejects }, 3],
    ['everything fails', { get: rejects, set: fails }, 6],
    ['get gives what was cut off', { get: () => 'batched:v8:AAAA', set: works }, 3],
  ])('%s: no call fails, all are counted, one is reported', async (_, cache, errors) => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const f = dynamically(function embed(items: number[]) { return items.map(double); }, { cache }); // prettier-ignore
    expect(await f.acall([1, 2])).toEqual([2, 4]);
    await turn();
    expect(await f.acall(1)).toBe(2);
    await turn();
    expect(f.stats.cacheStats).toMatchObject({ errors, gets: 3, hits: 0 });
    expect(warn.mock.calls).toEqual([[expect.stringMatching(/^embed: .*: ./), { code: 'BATCHED_CACHE' }]]);
  });

  test('a sync call survives it too', () => {
    jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const f = dynamically(recorded(double), { cache: { get: fails, set: fails } });
    expect(f([1, 2])).toEqual([2, 4]);
    expect(f.stats.cacheStats).toMatchObject({ errors: 4 });
  });

  test('a cacheKey that throws, or an item without contents to tell it by: not cached', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const f = aio.dynamically(recorded(double), { cache: new MemoryCache(), cacheKey: fails });
    expect(await f([1, 1])).toEqual([2, 2]);
    expect(f.stats).toMatchObject({ admitted: 2, cacheStats: { errors: 2, gets: 0 } });
    class Point {
      #x = 3;
      get x(): number {
        return this.#x;
      }
    }
    const g = aio.dynamically((items: Point[]) => items.map(({ x }) => x), { cache: new MemoryCache() });
    expect(await g(new Point())).toBe(3);
    expect(g.stats.cacheStats).toMatchObject({ errors: 1 });
    expect(warn.mock.calls.map(([text]) => String(text))).toEqual([
      expect.stringContaining('out of order'),
      expect.stringMatching(/an instance of Point.*give cacheKey/),
    ]);
  });
});

describe('results are copies', () => {
  test('a caller that changes its result changes nobody else’s', async () => {
    const f = aio.dynamically((items: number[]) => items.map((item) => ({ vector: Float32Array.of(item) })), {
      cache: new MemoryCache(),
    });
    const results = await Promise.all([f(1), f(1)]);
    results.push(await f(1));
    for (const { vector } of results) vector[0] = 0;
    expect(await f(1)).toEqual({ vector: Float32Array.of(1) });
    expect(new Set(results.map(({ vector }) => vector.buffer)).size).toBe(3);
  });

  test('the entry of a row holds the bytes of the row, not of its batch', async () => {
    const cache = new Map<unknown, Float32Array>();
    const f = aio.dynamically(
      (items: number[]) => {
        const batch = new Float32Array(items.length * 100);
        return items.map((_, i) => batch.subarray(100 * i, 100 * i + 4));
      },
      { cache },
    );
    await f([1, 2, 3]);
    for (const row of cache.values()) expect(row.buffer.byteLength).toBe(16);
  });

  test('other objects are handed on as they are', async () => {
    const f = aio.dynamically((items: number[]) => items.map((item) => new Map([[item, item]])), {
      cache: new MemoryCache(),
    });
    expect(await f(1)).toBe(await f(1));
  });
});

describe('statistics', () => {
  test('averages are milliseconds, and clearStats begins anew', async () => {
    const cache = new GatedCache();
    const f = aio.dynamically(recorded(double), { cache });
    for (let round = 0; round < 2; round++) {
      const call = f(1);
      await new Promise((resolve) => setTimeout(resolve, 5));
      await cache.openGets();
      await call;
      await cache.openSets();
    }
    const { avgGetTime, avgHitTime, avgSetTime, ...counts } = f.stats.cacheStats!;
    expect(counts).toEqual({ gets: 2, hits: 1, sets: 1, errors: 0, joined: 0 });
    for (const time of [avgGetTime, avgHitTime]) {
      expect(time).toBeGreaterThan(3);
      expect(time).toBeLessThan(5000);
    }
    expect(avgSetTime).toBeGreaterThan(0);
    f.clearStats();
    expect(f.stats.cacheStats).toEqual({
      gets: 0,
      hits: 0,
      sets: 0,
      avgGetTime: 0,
      avgHitTime: 0,
      avgSetTime: 0,
      errors: 0,
      joined: 0,
    });
  });
});

describe('wrong options', () => {
  test.each<[unknown, string]>([
    [3, 'number 3'],
    [null, 'null'],
    [{}, 'an object'],
    [{ get: () => 1 }, 'an object'],
  ])('cache: %p', (cache, shown) => {
    for (const wrap of [dynamically, aio.dynamically].map(options)) {
      expect(() => wrap(recorded(double), { cache })).toThrow(TypeError);
      expect(() => wrap({ cache })).toThrow(
        new RegExp(`option 'cache' must be an object with get and set, got .*${shown}`),
      );
    }
  });

  test('cacheKey', () => {
    expect(() => dynamically(options({ cacheKey: 'id' }))).toThrow(/option 'cacheKey' must be a function.*"id"/);
  });
});
