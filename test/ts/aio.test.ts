/** `aio.dynamically`: the same batching where the call itself is asynchronous. */
import { describe, expect, test } from '@jest/globals';
import { aio, type BatchedError } from '../../ts';
import { errorOf, expectAccounted, gate, gated, turn } from '../helpers/gate';

const double = (items: number[]): number[] => items.map((item) => 2 * item);
const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe.each([
  ['a sync function', double],
  ['an async function', async (items: number[]) => double(items)],
  [
    'a function that returns a promise now and then',
    (items: number[]) => (items[0] === 1 ? Promise.resolve(double(items)) : double(items)),
  ],
])('over %s', (_, fn) => {
  test('the call gives a promise: of one result for an item, of an array for an array', async () => {
    const f = aio.dynamically(fn);
    const call = f(1);
    expect(call).toBeInstanceOf(Promise);
    expect(await call).toBe(2);
    expect(await f([1, 2, 3])).toEqual([2, 4, 6]);
    expect(await f([])).toEqual([]);
  });

  test('acall is an alias', async () => {
    const f = aio.dynamically(fn);
    expect(await Promise.all([f.acall(1), f(2), f.acall([3, 4])])).toEqual([2, 4, [6, 8]]);
    expect(f.stats).toMatchObject({ totalBatches: 1, totalProcessed: 4 });
  });

  test('calls of one tick form one batch, in order', async () => {
    const f = aio.dynamically(fn, { batchSize: 64 });
    expect(await Promise.all(numbers(50).map((item) => f(item)))).toEqual(numbers(50).map((item) => 2 * item));
    expect(f.stats.batchSizes).toEqual({ 50: 1 });
  });

  test('a batch that fails rejects its callers with what was thrown', async () => {
    const error = new Error('no');
    const f = aio.dynamically((items: number[]) => {
      if (items.includes(0)) throw error;
      return fn(items);
    });
    await expect(f([1, 0])).rejects.toBe(error);
    expect(await f(1)).toBe(2);
    expectAccounted(f.stats);
  });
});

describe('options of a call are its second argument', () => {
  test('signal', async () => {
    const run = gated((item: number) => item);
    const f = aio.dynamically(run);
    const controller = new AbortController();
    const calls = [f(1), f(2, { signal: controller.signal })];
    await turn();
    controller.abort('because');
    await expect(calls[1]).rejects.toBe('because');
    await run.openAll();
    expect(await calls[0]).toBe(1);
    expectAccounted(f.stats);
  });

  test('deadlineMs', async () => {
    const f = aio.dynamically(() => new Promise<number[]>(() => {}));
    await expect(f(1, { deadlineMs: 1 })).rejects.toMatchObject({ code: 'BATCHED_DEADLINE' });
    await expect(f([1, 2], { deadlineMs: 1 })).rejects.toMatchObject({ code: 'BATCHED_DEADLINE' });
    expect(f.stats.timedOut).toBe(3);
  });

  test('priority', async () => {
    const order: number[] = [];
    const f = aio.dynamically(
      (items: number[]) => {
        order.push(...items);
        return items;
      },
      { batchSize: 1 },
    );
    await Promise.all([f(2, { priority: 2 }), f(0), f(1, { priority: 1 })]);
    expect(order).toEqual([0, 1, 2]);
  });

  test('undefined is none; what is no options object is refused, also where map() hands over an index', async () => {
    const f = aio.dynamically(double);
    expect(await f(1, undefined)).toBe(2);
    const mapped = [5, 6].map(f as unknown as (item: number, index: number) => Promise<number>);
    for (const call of mapped) {
      const error = (await errorOf(() => call)) as Error;
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/options must be an object, got number/);
    }
    expect(f.stats.admitted).toBe(1);
  });
});

test('concurrency bounds the batches in flight', async () => {
  const run = gated((item: number) => item);
  const f = aio.dynamically(run, { batchSize: 2, concurrency: 2 });
  const calls = numbers(8).map((item) => f(item));
  await turn();
  expect(run.batches).toHaveLength(2);
  run.batches[1]!.open();
  await turn();
  expect(run.batches).toHaveLength(3);
  await run.openAll();
  expect(await Promise.all(calls)).toEqual(numbers(8));
});

test('batches that finish out of order settle their own callers', async () => {
  const gates = [gate<number[]>(), gate<number[]>()];
  let batch = 0;
  const f = aio.dynamically((_: number[]) => gates[batch++]!.promise, { batchSize: 1, concurrency: 2 });
  const calls = [f(0), f(1)];
  await turn();
  gates[1]!.open([11]);
  expect(await calls[1]).toBe(11);
  gates[0]!.open([10]);
  expect(await calls[0]).toBe(10);
});

test('an async function that throws before its first await rejects like others', async () => {
  const error = new Error('early');
  const f = aio.dynamically(async (_: number[]): Promise<number[]> => {
    throw error;
  });
  await expect(f(1)).rejects.toBe(error);
  expectAccounted(f.stats);
});

test('wrong lengths are named', async () => {
  const f = aio.dynamically(async (items: number[]) => items.slice(1));
  const error = (await errorOf(() => f([1, 2]))) as BatchedError;
  expect(error.code).toBe('BATCHED_OUTPUT_MISMATCH');
  expect(error.message).toMatch(/2 items.*1 results/);
});

test('curried', async () => {
  const f = aio.dynamically({ batchSize: 2 })(async (items: string[]) => items.map((item) => item.length));
  expect(await f('abc')).toBe(3);
  expect(await f(['a', 'bb', ''])).toEqual([1, 2, 0]);
  expect(f.stats.batchSizes).toEqual({ 1: 2, 2: 1 });
});

test('close and dispose as with dynamically', async () => {
  const run = gated((item: number) => item);
  const f = aio.dynamically(run);
  const calls = [f(0)];
  await turn();
  calls.push(f(1));
  const closed = f.close({ drain: false });
  await expect(calls[1]).rejects.toMatchObject({ code: 'BATCHED_CLOSED' });
  await expect(f(2)).rejects.toMatchObject({ code: 'BATCHED_CLOSED' });
  await run.openAll();
  await closed;
  await f[Symbol.asyncDispose]();
  expect(await calls[0]).toBe(0);
  expect(f.health).toEqual({ healthy: false });
});
