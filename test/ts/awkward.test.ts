/** Awkward use of every entry point for functions: each case ends as it should, and nothing is left behind. */
import { describe, expect, test } from '@jest/globals';
import { aio, dynamically, inference, type Tensor } from '../../ts';
import { errorOf, expectAccounted, gate, turn } from '../helpers/gate';

type Run<T, U> = (items: T[]) => U[] | PromiseLike<U[]>;
type Options = Parameters<typeof aio.dynamically>[1];

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const never = <T>(): Promise<T> => new Promise(() => {});

const wrappers = {
  dynamically: <T, U>(run: Run<T, U>, options?: Options) => dynamically(run, options as object),
  'aio.dynamically': <T, U>(run: Run<T, U>, options?: Options) => aio.dynamically(run, options as object),
};

/** Every way to call and every kind of function. */
const ways = Object.entries(wrappers).flatMap(([name, wrap]) => [
  { way: `${name}, sync function`, wrap, make: <T, U>(body: (items: T[]) => U[]): Run<T, U> => body },
  {
    way: `${name}, async function`,
    wrap,
    make:
      <T, U>(body: (items: T[]) => U[]): Run<T, U> =>
      async (items) => {
        await Promise.resolve();
        return body(items);
      },
  },
]);

describe.each(ways)('$way: acall with', ({ wrap, make }) => {
  test('items that are themselves arrays', async () => {
    const f = wrap(make((items: number[][]) => items.map((item) => item.length)));
    expect(await f.acall([[1, 2, 3], [], [4]])).toEqual([3, 0, 1]);
    expect(await f.acall([[]])).toEqual([0]);
    expect(f.stats.totalProcessed).toBe(4);
  });

  test('undefined as an item', async () => {
    const f = wrap(make((items: (number | undefined)[]) => items.map((item) => item === undefined)));
    expect(await f.acall(undefined)).toBe(true);
    expect(await f.acall([undefined, 1, undefined])).toEqual([true, false, true]);
    expect(f.stats.totalProcessed).toBe(4);
  });

  test('an empty array: an empty array at once, and the function does not run', async () => {
    const f = wrap(
      make((_: number[]): number[] => {
        throw new Error('it ran');
      }),
    );
    expect(await f.acall([])).toEqual([]);
    expect(await f.acall([], { deadlineMs: 1, priority: 3 })).toEqual([]);
    await expect(f.acall([], { signal: AbortSignal.abort('late') })).rejects.toBe('late');
    expect(f.stats).toMatchObject({ admitted: 0, totalBatches: 0 });
  });

  test('a function that calls in again and does not wait', async () => {
    const inner: Promise<number>[] = [];
    const f = wrap(
      make((items: number[]): number[] => {
        for (const item of items) if (item > 0) inner.push(f.acall(item - 1));
        return items;
      }),
      { batchSize: 2 },
    );
    expect(await f.acall([3, 3])).toEqual([3, 3]);
    for (const call of inner) await call;
    expect(inner).toHaveLength(6);
    expect(f.stats.batchSizes).toEqual({ 2: 4 });
    expectAccounted(f.stats);
  });

  test('a function that mutates the array it is given, and the caller keeps its own', async () => {
    const f = wrap(
      make((items: number[]) => items.splice(0).map((item) => item + 1)),
      { batchSize: 2 },
    );
    const mine = [1, 2, 3];
    expect(await Promise.all([f.acall(mine), f.acall(4)])).toEqual([[2, 3, 4], 5]);
    expect(mine).toEqual([1, 2, 3]);
    expectAccounted(f.stats);
  });

  test('a function that keeps the array it is given and mutates it later', async () => {
    const kept: number[][] = [];
    const f = wrap(
      make((items: number[]) => {
        kept.push(items);
        return items;
      }),
      { batchSize: 2 },
    );
    const results = await f.acall([1, 2, 3, 4]);
    for (const items of kept) items.fill(0);
    expect(results).toEqual([1, 2, 3, 4]);
  });

  test('a function that returns one array for all of its batches', async () => {
    const results = [0, 0];
    const f = wrap(
      make((items: number[]) => {
        items.forEach((item, i) => (results[i] = 10 * item));
        return results;
      }),
      { batchSize: 2 },
    );
    expect(await f.acall([1, 2, 3, 4])).toEqual([10, 20, 30, 40]);
  });

  test('100,000 items in one call', async () => {
    let most = 0;
    const f = wrap(
      make((items: number[]) => {
        most = Math.max(most, items.length);
        return items;
      }),
      { batchSize: 1000, maxQueueRows: 100_000 },
    );
    expect(await f.acall(numbers(100_000))).toEqual(numbers(100_000));
    expect(most).toBe(1000);
    expect(f.stats).toMatchObject({ totalBatches: 100, totalProcessed: 100_000 });
  });
});

describe.each(Object.entries(wrappers))('%s', (_, wrap) => {
  test('a batch that never settles: deadlines get the callers out', async () => {
    const f = wrap(() => never<number[]>(), { batchSize: 2 });
    const calls = [f.acall(1, { deadlineMs: 5 }), f.acall([2, 3, 4], { deadlineMs: 10 })];
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'BATCHED_DEADLINE' });
    expect(f.stats).toMatchObject({ timedOut: 4, queueSize: 0 });
    expectAccounted(f.stats);
  });

  test('a batch that never settles: an abort gets the caller out', async () => {
    const f = wrap(() => never<number[]>());
    const controller = new AbortController();
    const calls = [f.acall(1, { signal: controller.signal }), turn().then(() => f.acall(2, controller))];
    await turn();
    await turn();
    controller.abort('enough');
    for (const call of calls) await expect(call).rejects.toBe('enough');
    expectAccounted(f.stats);
  });

  test('a batch that never settles does not hold those that run beside it', async () => {
    const f = wrap((items: number[]) => (items[0] === 0 ? never<number[]>() : items), { batchSize: 1, concurrency: 2 });
    const stuck = f.acall(0, { deadlineMs: 20 });
    expect(await f.acall([1, 2, 3])).toEqual([1, 2, 3]);
    await expect(stuck).rejects.toMatchObject({ code: 'BATCHED_DEADLINE' });
  });

  test('two that call each other', async () => {
    type Batched = { acall(item: number): Promise<number> };
    const even: Batched = wrap(
      async (items: number[]) => Promise.all(items.map(async (item) => (item === 0 ? 0 : odd.acall(item - 1)))),
      { concurrency: 8 },
    );
    const odd: Batched = wrap(
      async (items: number[]) => Promise.all(items.map(async (item) => (item === 0 ? 1 : even.acall(item - 1)))),
      { concurrency: 8 },
    );
    expect(await Promise.all([even.acall(8), even.acall(7), odd.acall(8)])).toEqual([0, 1, 1]);
  });

  test('a promise of something else than results', async () => {
    const f = wrap((_: number[]) => Promise.resolve(3 as unknown as number[]));
    await expect(f.acall([1, 2])).rejects.toMatchObject({ code: 'BATCHED_OUTPUT_MISMATCH' });
    expectAccounted(f.stats);
  });

  test('a result that is itself a promise is awaited by whoever awaits the call', async () => {
    const f = wrap((items: number[]) => items.map((item) => Promise.resolve(item)) as unknown as number[]);
    expect(await f.acall(1)).toBe(1);
    expect(await Promise.all((await f.acall([1, 2])) as unknown as Promise<number>[])).toEqual([1, 2]);
  });
});

describe('dynamically: the sync call with', () => {
  test('items that are themselves arrays', () => {
    const f = dynamically((items: number[][]) => items.map((item) => item.length));
    expect(f([[1, 2], [], [3]])).toEqual([2, 0, 1]);
  });

  test('undefined as an item', () => {
    const f = dynamically((items: unknown[]) => items.map((item) => item === undefined));
    expect(f(undefined)).toBe(true);
    expect(f([undefined, undefined])).toEqual([true, true]);
  });

  test('an empty array', () => {
    const f = dynamically((_: number[]): number[] => {
      throw new Error('it ran');
    });
    expect(f([])).toEqual([]);
    expect(f.stats.admitted).toBe(0);
  });

  test('a nested sync call of several batches', () => {
    const f = dynamically(
      (items: number[]): number[] => items.map((item) => (item > 10 ? f([1, 2, 3, 4, 5]).length : item)),
      { batchSize: 2 },
    );
    expect(f([11, 1, 12])).toEqual([5, 1, 5]);
    expectAccounted(f.stats);
  });

  test('a nested sync call from an acall, and an acall from a sync call', async () => {
    const inner: Promise<number>[] = [];
    const f = dynamically((items: number[]): number[] =>
      items.map((item) => {
        if (item === 2) return f(1);
        if (item === 3) inner.push(f.acall(1));
        return 10 * item;
      }),
    );
    expect(await f.acall([2, 1])).toEqual([10, 10]);
    expect(f([3, 2])).toEqual([30, 10]);
    expect(await Promise.all(inner)).toEqual([10]);
    expectAccounted(f.stats);
  });

  test('a nested call that fails is for the function to catch', () => {
    const f = dynamically((items: number[]): number[] =>
      items.map((item) => {
        if (item === 0) throw new Error('inner');
        try {
          return f(0);
        } catch {
          return -1;
        }
      }),
    );
    expect(f([1, 2])).toEqual([-1, -1]);
    expect(f.stats).toMatchObject({ failed: 2, totalProcessed: 2 });
  });

  test('a function that returns a promise: refused by a TypeError that names acall', async () => {
    const held = gate<number[]>();
    const f = dynamically((_: number[]) => held.promise);
    const error = (await errorOf(() => f([1]))) as Error;
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/acall/);
    const later = f.acall(2);
    held.open([7]);
    expect(await later).toBe(7);
    expectAccounted(f.stats);
  });

  test('a function that mutates the array it is given, and the caller keeps its own', () => {
    const f = dynamically((items: number[]) => items.splice(0).reverse().reverse());
    const mine = [1, 2, 3];
    expect(f(mine)).toEqual([1, 2, 3]);
    expect(mine).toEqual([1, 2, 3]);
  });

  test('100,000 items', () => {
    const f = dynamically((items: number[]) => items, { batchSize: 1000 });
    expect(f(numbers(100_000))).toEqual(numbers(100_000));
    expect(f.stats.totalBatches).toBe(100);
  });
});

type Tensors = Record<string, Tensor>;
type Encode = (features: Tensors) => Tensor | Promise<Tensor>;
const encoders = {
  'inference.dynamically': (run: Encode, options = {}) => inference.dynamically(run, options),
  'aio.inference.dynamically': (run: Encode, options = {}) => aio.inference.dynamically(run, options),
};
const valuesOf = ({ data }: Tensor): number[] => Array.from(data as Float32Array);

describe.each(Object.entries(encoders))('%s with', (_, wrap) => {
  test('no rows: the function does not run', async () => {
    const f = wrap((_features: Tensors): Tensor => {
      throw new Error('it ran');
    });
    const error = (await errorOf(() => f.acall({ x: [] }))) as { code?: string };
    expect(error.code).toBe('BATCHED_INVALID_INPUT');
    expect(f.stats.admitted).toBe(0);
  });

  test('a function that calls in again and does not wait', async () => {
    const inner: Promise<Tensor>[] = [];
    const f = wrap(({ x }: Tensors): Tensor => {
      if (x!.dims[0]! > 1) inner.push(f.acall({ x: [[7]] }));
      return x!;
    });
    expect((await f.acall({ x: [[1], [2]] })).dims).toEqual([2, 1]);
    expect(valuesOf(await inner[0]!)).toEqual([7]);
    expectAccounted(f.stats);
  });

  test('a function that mutates its tensors, and the caller keeps its own', async () => {
    const f = wrap(({ x }: Tensors): Tensor => {
      (x!.data as Float32Array).fill(9);
      return x!;
    });
    const mine = { type: 'float32', dims: [2, 2], data: new Float32Array([1, 2, 3, 4]) } as const;
    const rows = [new Float32Array([1, 2])];
    expect(valuesOf(await f.acall({ x: mine }))).toEqual([9, 9, 9, 9]);
    await f.acall({ x: rows });
    expect(Array.from(mine.data)).toEqual([1, 2, 3, 4]);
    expect(Array.from(rows[0]!)).toEqual([1, 2]);
  });

  test('a batch that never settles: deadlines get the callers out', async () => {
    const f = wrap((_features: Tensors) => never<Tensor>());
    const calls = [f.acall({ x: [[1]] }, { deadlineMs: 5 }), f.acall({ x: [[1], [2, 3]] }, { deadlineMs: 5 })];
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'BATCHED_DEADLINE' });
    expect(f.stats.timedOut).toBe(3);
    expectAccounted(f.stats);
  });

  test('100,000 rows in one call', async () => {
    const f = wrap(({ x }: Tensors) => x!, { batchSize: 10_000 });
    const data = Float32Array.from(numbers(100_000));
    const { dims, data: out } = await f.acall({ x: { type: 'float32', dims: [100_000, 1], data } });
    expect(dims).toEqual([100_000, 1]);
    expect(out).toEqual(data);
    expect(f.stats.totalBatches).toBe(10);
  });
});

describe('inference.dynamically: the sync call with', () => {
  test('a nested sync call', () => {
    const f = inference.dynamically(({ x }: Tensors): Tensor => {
      if (x!.dims[0] === 1) return x!;
      return { type: 'float32', dims: [2], data: new Float32Array([0, 1].map(() => valuesOf(f({ x: [[5]] }))[0]!)) };
    });
    expect(valuesOf(f({ x: [[1], [2]] }))).toEqual([5, 5]);
    expect(f.stats.totalProcessed).toBe(4);
    expectAccounted(f.stats);
  });

  test('a function that returns a promise: refused by a TypeError that names acall', async () => {
    const f = inference.dynamically(({ x }: Tensors) => Promise.resolve(x!));
    expect(() => f({ x: [[1]] })).toThrow(TypeError);
    expect(() => f({ x: [[1]] })).toThrow(/acall/);
    expect((await f.acall({ x: [[1]] })).dims).toEqual([1, 1]);
    await turn();
    expectAccounted(f.stats);
  });
});
