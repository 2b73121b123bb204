/** `dynamically` over a user function: what goes in, what comes out, and the forms it is called in. */
import { describe, expect, test } from '@jest/globals';
import { type BatchedError, dynamically } from '../../ts';
import { double, numbers, recorded } from '../helpers/batch-functions';
import { expectAccounted, gated, turn } from '../helpers/gate';

describe("semantics fixed by the Python library's own tests", () => {
  test('batch size 3, called 10 times one by one: 10 results in order', () => {
    const f = dynamically(double, { batchSize: 3 });
    expect(numbers(10).map((item) => f(item))).toEqual([0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
    expect(f.stats.totalProcessed).toBe(10);
  });

  test('10 concurrent acalls with batch size 5 over a slow function: exactly 2 batches, 10 processed', async () => {
    const run = gated((item: number) => item + 1);
    const f = dynamically(run, { batchSize: 5 });
    const calls = numbers(10).map(() => f.acall(1));
    await turn();
    expect(run.batches).toHaveLength(1);
    await run.openAll();
    expect(await Promise.all(calls)).toEqual(Array<number>(10).fill(2));
    expect(run.batches.map(({ items }) => items.length)).toEqual([5, 5]);
    expect(f.stats).toMatchObject({ totalBatches: 2, totalProcessed: 10, avgBatchSize: 5, batchSizes: { 5: 2 } });
  });

  test('the function throws: every caller of that batch gets that very error, and the next batch runs', async () => {
    const error = new Error('no');
    const f = dynamically(
      (items: number[]) => {
        if (items.includes(1)) throw error;
        return items;
      },
      { batchSize: 2 },
    );
    const outcomes = await Promise.allSettled([0, 1, 2, 3].map((item) => f.acall(item)));
    expect(outcomes.map((outcome) => (outcome.status === 'rejected' ? outcome.reason : outcome.value))).toEqual([
      error,
      error,
      2,
      3,
    ]);
    for (const outcome of outcomes.slice(0, 2)) expect((outcome as PromiseRejectedResult).reason).toBe(error);
    expect(f.stats).toMatchObject({ failed: 2, totalProcessed: 2 });
    expectAccounted(f.stats);
  });

  test.each([
    ['fewer', (items: number[]) => items.slice(1), '2 results'],
    ['more', (items: number[]) => [...items, 0], '4 results'],
    ['none', () => [], '0 results'],
  ])('%s results than items: an error that names both lengths; nobody hangs', async (_, fn, got) => {
    const f = dynamically(fn);
    const outcomes = await Promise.allSettled([1, 2, 3].map((item) => f.acall(item)));
    for (const outcome of outcomes) {
      const error = (outcome as PromiseRejectedResult).reason as BatchedError;
      expect(error.code).toBe('BATCHED_OUTPUT_MISMATCH');
      expect(error.message).toContain('3 items');
      expect(error.message).toContain(got);
    }
    expect(f.stats.failed).toBe(3);
    expectAccounted(f.stats);
  });

  test('items already cancelled are left out of the batch', async () => {
    const run = gated((item: string) => item);
    const f = dynamically(run, { batchSize: 3 });
    const first = f.acall('first');
    await turn();
    const controller = new AbortController();
    const calls = [f.acall('a'), f.acall('b', { signal: controller.signal }), f.acall('c')];
    await turn();
    controller.abort();
    await expect(calls[1]).rejects.toBe(controller.signal.reason);
    await run.openAll();
    expect(await Promise.all([first, calls[0], calls[2]])).toEqual(['first', 'a', 'c']);
    expect(run.batches.map(({ items }) => items)).toEqual([['first'], ['a', 'c']]);
  });
});

describe('what goes in and what comes out', () => {
  test('a single item gives a single result, an array an array, of the same length and order', async () => {
    const f = dynamically(double, { batchSize: 4 });
    expect(f(3)).toBe(6);
    expect(f([3])).toEqual([6]);
    expect(f(numbers(11))).toEqual(numbers(11).map((item) => 2 * item));
    expect(await f.acall(3)).toBe(6);
    expect(await f.acall([3])).toEqual([6]);
    expect(await f.acall(numbers(11))).toEqual(numbers(11).map((item) => 2 * item));
  });

  test('an empty array gives an empty array, and nothing runs', async () => {
    const run = recorded<number>();
    const f = dynamically(run);
    expect(f([])).toEqual([]);
    expect(await f.acall([])).toEqual([]);
    expect(run.batches).toEqual([]);
    expect(f.stats).toMatchObject({ admitted: 0, totalBatches: 0, avgBatchSize: 0, avgProcessingTime: 0 });
  });

  test('an item that is itself an array comes in an array', async () => {
    const f = dynamically((items: number[][]) => items.map((item) => item.length));
    expect(f([[1, 2, 3]])).toEqual([3]);
    expect(await f.acall([[1, 2, 3], []])).toEqual([3, 0]);
  });

  test('undefined, null, NaN and holes are items like others', async () => {
    const f = dynamically((items: unknown[]) => items.map(String));
    expect(f(undefined)).toBe('undefined');
    expect(await f.acall(undefined)).toBe('undefined');

    expect(await f.acall([undefined, null, , Number.NaN])).toEqual(['undefined', 'null', 'undefined', 'NaN']);
  });

  test('results may be undefined', async () => {
    const f = dynamically((items: number[]) => items.map((item) => (item === 0 ? item : undefined)));
    expect(f(1)).toBeUndefined();
    expect(await f.acall([1, 2])).toEqual([undefined, undefined]);
  });

  test('the array is read at the call: what the caller does to it later changes nothing', async () => {
    const f = dynamically(double);
    const items = [1, 2, 3];
    const call = f.acall(items);
    items.fill(9);
    items.length = 1;
    expect(await call).toEqual([2, 4, 6]);
  });

  test('the function may mutate the array it is given', async () => {
    const emptied = dynamically((items: number[]) => items.splice(0).map((item) => item + 1));
    expect(await emptied.acall([1, 2, 3])).toEqual([2, 3, 4]);
    expect(emptied([1, 2, 3])).toEqual([2, 3, 4]);
    const grown = dynamically((items: number[]) => {
      items.push(0);
      return items;
    });
    await expect(grown.acall([1, 2])).rejects.toThrow(/2 items.*3 results/);
  });

  test('100,000 items in one call, every batch within the bound, in order', async () => {
    const run = recorded<number>();
    const f = dynamically(run, { batchSize: 64 });
    const items = numbers(100_000);
    expect(await f.acall(items)).toEqual(items);
    expect(Math.max(...run.batches.map((batch) => batch.length))).toBe(64);
    expect(run.batches).toHaveLength(Math.ceil(100_000 / 64));
    expect(f.stats).toMatchObject({ admitted: 100_000, totalProcessed: 100_000 });
    expect(f(items)).toEqual(items);
  });

  test('10,000 concurrent calls', async () => {
    const f = dynamically(double, { batchSize: 100 });
    const items = numbers(10_000);
    expect(await Promise.all(items.map((item) => f.acall(item)))).toEqual(items.map((item) => 2 * item));
    expect(f.stats).toMatchObject({ totalBatches: 100, batchSizes: { 100: 100 } });
  });

  test('one batch may hold a hundred thousand rows', async () => {
    const run = recorded<number>();
    const f = dynamically(run, { batchSize: Number.MAX_SAFE_INTEGER });
    expect(await f.acall(numbers(100_000))).toHaveLength(100_000);
    expect(run.batches).toHaveLength(1);
    expect(f(1)).toBe(1);
  });
});

describe('forms', () => {
  test('curried', async () => {
    const f = dynamically({ batchSize: 2 })((items: number[]) => items.map((item) => item + 1));
    expect(f([1, 2, 3])).toEqual([2, 3, 4]);
    expect(await f.acall(1)).toBe(2);
    expect(f.stats.batchSizes).toEqual({ 1: 2, 2: 1 });
  });

  test('one curried wrapper makes batchers of their own', () => {
    const batched = dynamically({});
    const [f, g] = [batched(double), batched(double)];
    f(1);
    expect([f.stats.admitted, g.stats.admitted]).toEqual([1, 0]);
  });

  test('the options are read once', () => {
    const options = { batchSize: 2 };
    const run = recorded<number>();
    const f = dynamically(run, options);
    options.batchSize = 99;
    f([1, 2, 3]);
    expect(run.batches).toEqual([[1, 2], [3]]);
  });

  test('the messages name the wrapped function', async () => {
    const f = dynamically(function embed(): number[] {
      return [];
    });
    await expect(f.acall(1)).rejects.toThrow(/^embed: /);
  });
});
