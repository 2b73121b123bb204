/** `dynamically` over a user function: what is run together, in which order, and how every call ends. */
import { getEventListeners } from 'node:events';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { type BatchedError, dynamically } from '../../ts';
import { native, type NativeFunctionQueue } from '../../ts/native';
import { block, errorOf, expectAccounted, gate, gated, turn } from '../helpers/gate';

const double = (items: number[]): number[] => items.map((item) => 2 * item);
const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const same = <T>(items: T[]): T[] => [...items];

/** A sync function that remembers its batches. */
function recorded<T>(): ((items: T[]) => T[]) & { batches: T[][] } {
  const batches: T[][] = [];
  return Object.assign(
    (items: T[]) => {
      batches.push([...items]);
      return items;
    },
    { batches },
  );
}

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

describe('what runs together', () => {
  test('calls of one tick form one batch, also those that other promises of the tick make', async () => {
    const run = recorded<number>();
    const f = dynamically(run);
    const later = Promise.resolve().then(() => f.acall(2));
    const latest = Promise.resolve()
      .then(() => undefined)
      .then(() => f.acall([3, 4]));
    await Promise.all([f.acall(1), later, latest]);
    expect(run.batches).toEqual([[1, 2, 3, 4]]);
    expect(f.stats.dispatchReasons).toEqual({ full: 0, idle: 1, timeout: 0, staged: 0 });
  });

  test('calls that come while a batch runs form the next', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run);
    const calls = [f.acall(0)];
    for (const item of [1, 2, 3]) {
      await turn();
      calls.push(f.acall(item));
    }
    await turn();
    expect(f.stats.queueSize).toBe(3);
    await run.openAll();
    expect(await Promise.all(calls)).toEqual([0, 1, 2, 3]);
    expect(run.batches.map(({ items }) => items)).toEqual([[0], [1, 2, 3]]);
  });

  test('concurrency: so many batches are in flight, not more', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run, { batchSize: 2, concurrency: 3 });
    const calls = numbers(10).map((item) => f.acall(item));
    await turn();
    expect(run.batches.map(({ items }) => items)).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
    ]);
    run.batches[1]!.open();
    expect(await Promise.all(calls.slice(2, 4))).toEqual([2, 3]);
    await turn();
    expect(run.batches).toHaveLength(4);
    await run.openAll();
    expect(await Promise.all(calls)).toEqual(numbers(10));
    expect(f.stats.batchSizes).toEqual({ 2: 5 });
  });

  test('rows of one call that are spread over batches in flight come back in their order', async () => {
    const run = gated((item: number) => 10 * item);
    const f = dynamically(run, { batchSize: 2, concurrency: 3 });
    const call = f.acall([0, 1, 2, 3, 4]);
    await turn();
    for (const batch of [...run.batches].reverse()) batch.open();
    expect(await call).toEqual([0, 10, 20, 30, 40]);
  });

  test('a sync call runs at once, together with what waits', async () => {
    const run = recorded<number>();
    const f = dynamically(run, { batchSize: 3 });
    const waiting = [f.acall(1), f.acall(2)];
    expect(f(3)).toBe(3);
    expect(run.batches).toEqual([[1, 2, 3]]);
    expect(await Promise.all(waiting)).toEqual([1, 2]);
    expect(run.batches).toHaveLength(1);
  });

  test('a sync call does not wait for a batch that is running', async () => {
    const held = gate<number[]>();
    const f = dynamically((items: number[]) => (items[0] === 0 ? held.promise : items));
    const slow = f.acall(0);
    await turn();
    expect(f(1)).toBe(1);
    held.open([0]);
    expect(await slow).toBe(0);
    expectAccounted(f.stats);
  });

  test('timeoutMs: held until the batch is full', async () => {
    const run = recorded<number>();
    const f = dynamically(run, { batchSize: 3, timeoutMs: 600_000 });
    const calls = [f.acall(1), f.acall(2)];
    await turn();
    expect(run.batches).toEqual([]);
    calls.push(f.acall(3));
    expect(await Promise.all(calls)).toEqual([1, 2, 3]);
    expect(run.batches).toEqual([[1, 2, 3]]);
    expect(f.stats.dispatchReasons).toEqual({ full: 1, idle: 0, timeout: 0, staged: 0 });
  });

  test('timeoutMs: held until the oldest row is due', async () => {
    const run = recorded<number>();
    const f = dynamically(run, { timeoutMs: 30 });
    const start = performance.now();
    const calls = [f.acall(1)];
    await turn();
    calls.push(f.acall(2));
    await Promise.all(calls);
    expect(performance.now() - start).toBeGreaterThanOrEqual(29);
    expect(run.batches).toEqual([[1, 2]]);
    expect(f.stats.dispatchReasons.timeout).toBe(1);
  });

  test('timeoutMs: a row that comes after a full batch has its own time', async () => {
    const run = recorded<number>();
    const f = dynamically(run, { batchSize: 2, timeoutMs: 40 });
    await Promise.all([f.acall(1), f.acall(2)]);
    block(30);
    const start = performance.now();
    await f.acall(3);
    expect(performance.now() - start).toBeGreaterThanOrEqual(39);
  });

  test('timeoutMs: a sync call does not wait', () => {
    const f = dynamically(double, { timeoutMs: 600_000 });
    expect(f([1, 2])).toEqual([2, 4]);
  });

  test('timeoutMs: no timer is left when nothing waits any more', async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const before = timers();
    const f = dynamically(double, { batchSize: 2, timeoutMs: 600_000 });
    const controller = new AbortController();
    const first = f.acall(1);
    const aborted = f.acall(0, { signal: controller.signal, deadlineMs: 600_000 });
    await turn();
    await Promise.all([first, aborted]);
    await turn();
    expect(timers()).toBe(before);
    const alone = f.acall(0, { signal: controller.signal, deadlineMs: 600_000 });
    await turn();
    expect(timers()).toBeGreaterThan(before);
    controller.abort();
    await expect(alone).rejects.toBe(controller.signal.reason);
    expect(timers()).toBe(before);
  });

  test('calls of at most smallBatchThreshold rows go before larger ones', async () => {
    const run = recorded<string>();
    const f = dynamically(run, { batchSize: 3, smallBatchThreshold: 2 });
    await Promise.all([f.acall(['L1', 'L2', 'L3']), f.acall(['s1', 's2']), f.acall('s3')]);
    expect(run.batches).toEqual([
      ['s1', 's2', 's3'],
      ['L1', 'L2', 'L3'],
    ]);
  });

  test('smallBatchThreshold 0 treats all calls alike', async () => {
    const run = recorded<string>();
    const f = dynamically(run, { batchSize: 3, smallBatchThreshold: 0 });
    await Promise.all([f.acall(['L1', 'L2', 'L3']), f.acall(['s1', 's2'])]);
    expect(run.batches[0]).toEqual(['L1', 'L2', 'L3']);
  });

  test('priority: lower runs first, equal ones first in, first out', async () => {
    const run = recorded<string>();
    const f = dynamically(run, { batchSize: 1 });
    const calls: [string, number][] = [
      ['c1', 2],
      ['a1', 0],
      ['b', 1],
      ['a2', 0],
      ['c2', 2],
    ];
    await Promise.all(calls.map(([item, priority]) => f.acall(item, { priority })));
    expect(run.batches.flat()).toEqual(['a1', 'a2', 'b', 'c1', 'c2']);
  });

  test("priorityStrategy 'none': a call's priority does not count", async () => {
    const run = recorded<string>();
    const f = dynamically(run, { batchSize: 1, priorityStrategy: 'none' });
    await Promise.all([f.acall('first', { priority: 2 }), f.acall('second', { priority: 1 })]);
    expect(run.batches).toEqual([['first'], ['second']]);
  });

  test("priorityStrategy 'length': shorter calls first, a call being as long as its longest item", async () => {
    const run = recorded<string>();
    const f = dynamically(run, { batchSize: 1, priorityStrategy: 'length' });
    const calls = ['of many words', ['a', 'longest of all'], 'short', 'a bit longer'];
    await Promise.all(calls.map((item, i) => f.acall(item as string, { priority: -i })));
    expect(run.batches.flat()).toEqual(['short', 'a bit longer', 'of many words', 'a', 'longest of all']);
  });

  test("priorityStrategy 'length' goes by lengthOf", async () => {
    const run = recorded<number>();
    const f = dynamically(run, { batchSize: 1, priorityStrategy: 'length', lengthOf: (item) => 10 - item });
    await Promise.all([1, 2, 3].map((item) => f.acall(item)));
    expect(run.batches).toEqual([[3], [2], [1]]);
  });

  test('priority: negative ones run before those without', async () => {
    const run = recorded<string>();
    const f = dynamically(run, { batchSize: 1 });
    await Promise.all([f.acall('none'), f.acall('urgent', { priority: -1 })]);
    expect(run.batches.flat()).toEqual(['urgent', 'none']);
  });
});

describe('lengths', () => {
  test('maxBatchLength bounds rows times the longest row', async () => {
    const run = recorded<string>();
    const f = dynamically(run, { maxBatchLength: 12 });
    const items = ['a', 'bb', 'cccccc', 'dddddd', 'ee', 'ffffffffffffffff', 'g'];
    expect(await f.acall(items)).toEqual(items);
    for (const batch of run.batches) {
      const padded = batch.length * Math.max(...batch.map((item) => item.length));
      expect(batch.length === 1 || padded <= 12).toBe(true);
    }
    expect(run.batches.length).toBeLessThan(items.length);
    expect(run.batches).toContainEqual(['ffffffffffffffff']);
  });

  test('lengthOf says how long an item is, once per item', async () => {
    const run = recorded<{ size: number }>();
    const lengthOf = jest.fn((item: { size: number }) => item.size);
    const f = dynamically(run, { maxBatchTokens: 4, lengthOf });
    const items = [1, 4, 1, 4, 1, 1].map((size) => ({ size }));
    await Promise.all(items.map((item) => f.acall(item)));
    expect(run.batches.map((batch) => batch.map(({ size }) => size)).sort()).toEqual([[1, 1, 1, 1], [4], [4]]);
    expect(lengthOf).toHaveBeenCalledTimes(items.length);
  });

  test.each([
    ['strings', ['aa', 'b']],
    ['arrays', [[[1, 2], [1]]].flat()],
    ['typed arrays', [new Float32Array(2), new Float32Array(1)]],
  ])('the length of %s is their own', async (_, items) => {
    const f = dynamically(same<unknown>, { maxBatchLength: 100 });
    await f.acall([...items]);
    expect(f.stats.paddingEfficiency).toBe(3 / 4);
  });

  test('items without a length have length 1', async () => {
    const f = dynamically(same<unknown>, { maxBatchLength: 3 });
    await f.acall([1, null, undefined, { length: 9 }, new DataView(new ArrayBuffer(9)), true]);
    expect(f.stats).toMatchObject({ batchSizes: { 3: 2 }, paddingEfficiency: 1 });
  });

  test('longer items than maxItemLength are refused at the call; others are untouched', async () => {
    const run = recorded<string>();
    const f = dynamically(run, { maxItemLength: 3 });
    const good = f.acall('abc');
    const error = (await errorOf(() => f.acall(['a', 'abcd']))) as BatchedError;
    expect(error.code).toBe('BATCHED_INVALID_INPUT');
    expect(error.message).toMatch(/length 4.*maxItemLength 3/);
    expect(() => f('abcd')).toThrow(/maxItemLength 3/);
    expect(await good).toBe('abc');
    expect(run.batches).toEqual([['abc']]);
    expect(f.stats).toMatchObject({ admitted: 1, totalProcessed: 1 });
  });

  test('a lengthOf that throws rejects that call only; nothing of the tick is lost', async () => {
    const error = new Error('unmeasurable');
    const lengthOf = (item: string): number => {
      if (item === 'bad') throw error;
      return item.length;
    };
    const f = dynamically(same<string>, { lengthOf });
    const before = f.acall('before');
    const bad = f.acall(['fine', 'bad']);
    const after = f.acall('after');
    await expect(bad).rejects.toBe(error);
    expect(await Promise.all([before, after])).toEqual(['before', 'after']);
    expect(() => f('bad')).toThrow(error);
    expect(f.stats).toMatchObject({ admitted: 2, totalProcessed: 2 });
    expectAccounted(f.stats);
  });

  test.each([Number.NaN, -1, Infinity, '3', undefined])('a lengthOf that gives %p is refused', async (length) => {
    const f = dynamically(same<string>, { lengthOf: () => length as number });
    const error = (await errorOf(() => f.acall('item'))) as BatchedError;
    expect(error.code).toBe('BATCHED_INVALID_INPUT');
    expect(error.message).toContain(String(length));
  });

  test('lengthOf may call in again, abort and close', async () => {
    const controller = new AbortController();
    const inner: unknown[] = [];
    const f = dynamically(same<string>, {
      lengthOf: (item) => {
        if (item === 'calls') inner.push(f('inner'), f.acall('async inner'));
        if (item === 'aborts') controller.abort();
        if (item === 'closes') void f.close();
        return 1;
      },
    });
    const calls = [f.acall('calls'), f.acall(['x', 'aborts', 'y'], { signal: controller.signal })];
    await expect(calls[1]).rejects.toBe(controller.signal.reason); // aborted above, while it was measured
    expect(await calls[0]).toBe('calls');
    expect(inner[0]).toBe('inner');
    expect(await inner[1]).toBe('async inner');
    await expect(f.acall('closes')).rejects.toMatchObject({ code: 'BATCHED_CLOSED' });
    expectAccounted(f.stats);
  });
});

describe('the bound of the queue', () => {
  test('calls beyond maxQueueRows are refused at once, and nothing else is lost', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run, { batchSize: 2, maxQueueRows: 4 });
    const running = f.acall([0, 1]);
    await turn();
    const waiting = [f.acall([2, 3]), f.acall(4)];
    await turn();
    const error = (await errorOf(() => f.acall([5, 6]))) as BatchedError;
    expect(error.code).toBe('BATCHED_QUEUE_FULL');
    expect(error.message).toMatch(/2 more rows.*maxQueueRows 4/);
    const fits = f.acall(7);
    await turn();
    expect(f.stats).toMatchObject({ queueSize: 4, rejected: 2, admitted: 6 });
    await run.openAll();
    expect(await Promise.all([running, ...waiting, fits])).toEqual([[0, 1], [2, 3], 4, 7]);
    expect(f.stats).toMatchObject({ totalProcessed: 6, rejected: 2 });
    expectAccounted(f.stats);
  });

  test('a call of more rows than the bound is served when nothing waits', async () => {
    const f = dynamically(double, { maxQueueRows: 4, batchSize: 2 });
    expect(await f.acall(numbers(9))).toHaveLength(9);
    expect(f(numbers(9))).toHaveLength(9);
  });

  test('a refused sync call throws, and what waits runs later', async () => {
    const run = recorded<number>();
    const f = dynamically(run, { maxQueueRows: 1 });
    const waiting = f.acall(1);
    expect(() => f([2, 3])).toThrow(expect.objectContaining({ code: 'BATCHED_QUEUE_FULL' }));
    expect(await waiting).toBe(1);
    expect(run.batches).toEqual([[1]]);
  });

  test('slots are used again: 100,000 calls, aborts, refusals and failures do not grow anything', async () => {
    let most = 0;
    class Recording extends native.FunctionQueue {
      override admit(...args: Parameters<NativeFunctionQueue['admit']>): number {
        const [slots, , , calls, count] = args;
        let at = 0;
        for (let call = 0; call < count; call++) {
          for (let row = 0; row < calls[3 * call]!; row++) most = Math.max(most, slots[at++]!);
        }
        return super.admit(...args);
      }
      override admitSingles(...args: Parameters<NativeFunctionQueue['admitSingles']>): number {
        for (let row = 0; row < args[2]; row++) most = Math.max(most, args[0][row]!);
        return super.admitSingles(...args);
      }
    }
    const { FunctionQueue } = native;
    native.FunctionQueue = Recording;
    const f = dynamically(
      (items: number[]) => {
        if (items.includes(99)) throw new Error('no');
        return items;
      },
      { batchSize: 16, maxQueueRows: 90, lengthOf: () => 1 },
    );
    native.FunctionQueue = FunctionQueue;
    for (let round = 0; round < 1000; round++) {
      const controller = new AbortController();
      const calls = numbers(98).map((item) =>
        f.acall(item, item % 10 === 0 ? { signal: controller.signal, deadlineMs: 1000 } : undefined),
      );
      calls.push(f.acall(99));
      if (round % 2 === 0) controller.abort();
      await Promise.allSettled(calls);
    }
    expect(f.stats.rejected).toBeGreaterThan(0);
    expect(f.stats.cancelled + f.stats.failed).toBeGreaterThan(0);
    expectAccounted(f.stats);
    expect(most).toBeLessThan(100);
  });
});

describe('functions that fail', () => {
  test.each([undefined, null, 0, 'text', { code: 1 }])(
    'what is thrown reaches the caller as it is: %p',
    async (thrown) => {
      const f = dynamically((): number[] => {
        throw thrown;
      });
      const caught: unknown[] = [];
      await f.acall(1).catch((error: unknown) => caught.push(error));
      try {
        f(1);
      } catch (error) {
        caught.push(error);
      }
      expect(caught).toEqual([thrown, thrown]);
      expect(f.stats.failed).toBe(2);
    },
  );

  test('a rejection reaches the callers of that batch; the next one runs', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run, { batchSize: 2 });
    const calls = numbers(4).map((item) => f.acall(item));
    await turn();
    const error = new Error('later no');
    run.batches[0]!.fail(error);
    await expect(calls[0]).rejects.toBe(error);
    await expect(calls[1]).rejects.toBe(error);
    await run.openAll();
    expect(await Promise.all(calls.slice(2))).toEqual([2, 3]);
    expectAccounted(f.stats);
  });

  test('a call over several batches fails as a whole; its rows that wait leave the queue', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run, { batchSize: 2, concurrency: 2 });
    const call = f.acall(numbers(7));
    const outcome = errorOf(() => call);
    await turn();
    const error = new Error('half');
    run.batches[0]!.fail(error);
    expect(await outcome).toBe(error);
    await turn();
    expect(f.stats).toMatchObject({ queueSize: 0, failed: 7 });
    await run.openAll();
    expect(run.batches).toHaveLength(2);
    expect(await f.acall(1)).toBe(1);
    expectAccounted(f.stats);
  });

  test.each([
    ['undefined', undefined],
    ['a number', 3],
    ['a string of the right length', 'ab'],
    ['a typed array', new Float32Array(2)],
    ['an array-like', { length: 2, 0: 1, 1: 2 }],
    ['a promise for no array', Promise.resolve(null)],
  ])('a function that returns %s is a mismatch', async (_, returned) => {
    const f = dynamically((() => returned) as unknown as (items: number[]) => number[]);
    const error = (await errorOf(() => f.acall([1, 2]))) as BatchedError;
    expect(error.code).toBe('BATCHED_OUTPUT_MISMATCH');
    expect(error.message).toContain('2 items');
    expectAccounted(f.stats);
  });

  test('a thenable that settles twice settles the batch once', async () => {
    const run = (items: number[]): PromiseLike<number[]> =>
      ({
        then(resolve: (values: number[]) => void, reject: (error: unknown) => void) {
          resolve(items);
          resolve([]);
          reject(new Error('late'));
        },
      }) as unknown as PromiseLike<number[]>;
    const f = dynamically(run);
    expect(await Promise.all([f.acall(1), f.acall([2, 3])])).toEqual([1, [2, 3]]);
    expect(await f.acall(4)).toBe(4);
    expectAccounted(f.stats);
  });

  test('a thenable that throws is a failure like others', async () => {
    const error = new Error('no then');
    const f = dynamically((items: number[]): PromiseLike<number[]> => {
      const broken = {
        get then(): never {
          throw error;
        },
      };
      return items[0] === 1 ? broken : Promise.resolve(items);
    });
    await expect(f.acall(1)).rejects.toBe(error);
    expect(await f.acall(2)).toBe(2);
    expectAccounted(f.stats);
  });

  test('a failure that nobody waits for any more is no unhandled rejection', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run);
    const controller = new AbortController();
    const call = f.acall([1, 2], { signal: controller.signal });
    await turn();
    controller.abort();
    await expect(call).rejects.toBe(controller.signal.reason);
    run.batches[0]!.fail(new Error('too late'));
    await turn(); // jest fails a test that leaves a rejection unhandled
    await turn();
    expectAccounted(f.stats);
  });
});

describe('sync calls of functions that turn out to be asynchronous', () => {
  test('an async function is refused before anything runs, by a TypeError that names acall', async () => {
    const run = jest.fn(async (items: number[]) => items);
    const f = dynamically(run.getMockImplementation()!);
    expect(() => f(1)).toThrow(TypeError);
    expect(() => f(1)).toThrow(/acall/);
    expect(f.stats.admitted).toBe(0);
    expect(await f.acall(1)).toBe(1);
  });

  test('a function that returns a promise: the sync call is refused, those who used acall get their results', async () => {
    const held = gate();
    const batches: number[][] = [];
    const f = dynamically(
      (items: number[]) => {
        batches.push([...items]);
        return held.promise.then(() => items);
      },
      { batchSize: 2 },
    );
    const waiting = numbers(5).map((item) => f.acall(item));
    expect(() => f([5, 6])).toThrow(/acall/);
    await turn();
    expect(batches).toEqual([[0, 1]]); // one in flight, as concurrency says
    held.open();
    expect(await Promise.all(waiting)).toEqual(numbers(5));
    expect(batches.flat()).toEqual(numbers(5));
    expect(f.stats).toMatchObject({ cancelled: 2, totalProcessed: 5 });
    expectAccounted(f.stats);
  });

  test('its promise may reject unseen', async () => {
    const f = dynamically((_: number[]): Promise<number[]> => Promise.reject(new Error('unseen')));
    expect(() => f(1)).toThrow(/acall/);
    await turn(); // jest fails a test that leaves a rejection unhandled
    await turn();
    expectAccounted(f.stats);
  });
});

describe('calls from inside the batch function', () => {
  test('nested sync calls are served', async () => {
    const factorial = dynamically((items: number[]): number[] =>
      items.map((item) => (item < 2 ? 1 : item * factorial(item - 1))),
    );
    expect(factorial(6)).toBe(720);
    expect(factorial([3, 4])).toEqual([6, 24]);
    expect(await factorial.acall(5)).toBe(120);
    expectAccounted(factorial.stats);
  });

  test('a nested sync call takes along what waits', async () => {
    const batches: string[][] = [];
    const f = dynamically(
      (items: string[]): string[] => {
        batches.push([...items]);
        return items.map((item) => (item === 'outer' ? f('inner') : item));
      },
      { batchSize: 2 },
    );
    const calls = [f.acall('outer'), f.acall('a'), f.acall('b')];
    expect(await Promise.all(calls)).toEqual(['inner', 'a', 'b']);
    expect(batches).toEqual([
      ['outer', 'a'],
      ['b', 'inner'],
    ]);
  });

  test('infinite nesting is refused, and the batcher works on', async () => {
    let endless = true;
    const f = dynamically((items: number[]): number[] => (endless ? items.map((item) => f(item)) : items));
    const error = (await errorOf(() => f(1))) as BatchedError;
    expect(error.code).toBe('BATCHED_INVALID_INPUT');
    expect(error.message).toContain('nested');
    await expect(f.acall(1)).rejects.toMatchObject({ code: 'BATCHED_INVALID_INPUT' });
    endless = false;
    expect(f(1)).toBe(1);
    expect(await f.acall(2)).toBe(2);
    expectAccounted(f.stats);
  });

  test('an acall from a sync function runs in a later batch', async () => {
    const inner: Promise<number>[] = [];
    const f = dynamically((items: number[]) => {
      for (const item of items) if (item > 0) inner.push(f.acall(item - 1));
      return items;
    });
    expect(f(2)).toBe(2);
    expect(await inner[0]).toBe(1);
    expect(await inner[1]).toBe(0);
    expect(f.stats.totalBatches).toBe(3);
  });

  test('an async function that awaits its own acall needs a second batch in flight', async () => {
    const make = (concurrency: number) =>
      dynamically(
        async (items: number[]): Promise<number[]> =>
          Promise.all(items.map(async (item) => (item > 0 ? (await own.f.acall(item - 1)) + 1 : 0))),
        { concurrency },
      );
    const own = { f: make(2) };
    expect(await own.f.acall(1)).toBe(1);
    own.f = make(1);
    // With one it cannot ever be served. A deadline gets the caller out.
    await expect(own.f.acall(1, { deadlineMs: 5 })).rejects.toMatchObject({ code: 'BATCHED_DEADLINE' });
    expect(own.f.stats).toMatchObject({ timedOut: 1, queueSize: 1 });
  });

  test('abort from inside the batch function: that call rejects, its batch-mates do not notice', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const f = dynamically((items: string[]) => {
      controller.abort(reason);
      return items;
    });
    const calls = [f.acall('a'), f.acall(['b', 'c'], { signal: controller.signal }), f.acall('d')];
    await expect(calls[1]).rejects.toBe(reason);
    expect(await Promise.all([calls[0], calls[2]])).toEqual(['a', 'd']);
    expect(f.stats).toMatchObject({ cancelled: 2, totalProcessed: 2 });
    expectAccounted(f.stats);
  });

  test.each([true, false])('close({ drain: %p }) from inside the batch function', async (drain) => {
    let closed: Promise<void> | undefined;
    const f = dynamically(
      (items: number[]) => {
        closed ??= f.close({ drain });
        return items;
      },
      { batchSize: 2 },
    );
    const calls = [f.acall([0, 1]), f.acall([2, 3])];
    const outcomes = await Promise.allSettled(calls);
    await closed;
    expect(outcomes[0]).toEqual({ status: 'fulfilled', value: [0, 1] });
    if (drain) expect(outcomes[1]).toEqual({ status: 'fulfilled', value: [2, 3] });
    else expect(outcomes[1]).toMatchObject({ status: 'rejected', reason: { code: 'BATCHED_CLOSED' } });
    expectAccounted(f.stats);
  });

  test('close from inside the batch function of a sync call: the call is served', async () => {
    let closed: Promise<void> | undefined;
    const f = dynamically(
      (items: number[]) => {
        closed ??= f.close();
        return items;
      },
      { batchSize: 2 },
    );
    expect(f([0, 1, 2])).toEqual([0, 1, 2]);
    await closed;
    expect(() => f(1)).toThrow(expect.objectContaining({ code: 'BATCHED_CLOSED' }));
  });
});

describe('AbortSignal', () => {
  const reason = { why: 'a reason of any kind' };

  test('aborted before the call: rejects with the reason, nothing is queued', async () => {
    const run = recorded<number>();
    const f = dynamically(run);
    const signal = AbortSignal.abort(reason);
    await expect(f.acall(1, { signal })).rejects.toBe(reason);
    await expect(f.acall([], { signal })).rejects.toBe(reason);
    await turn();
    expect(run.batches).toEqual([]);
    expect(f.stats).toMatchObject({ admitted: 0, cancelled: 0 });
  });

  test('within the tick of the call: it never enters the queue', async () => {
    const run = recorded<number>();
    const f = dynamically(run);
    const controller = new AbortController();
    const calls = [f.acall(1), f.acall([2, 3], { signal: controller.signal }), f.acall(4)];
    controller.abort(reason);
    const later = f.acall(5); // takes over a slot of the aborted call
    await expect(calls[1]).rejects.toBe(reason);
    expect(await Promise.all([calls[0], calls[2], later])).toEqual([1, 4, 5]);
    expect(run.batches).toEqual([[1, 4, 5]]);
    expectAccounted(f.stats);
  });

  test('while queued: it leaves the queue at once', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run);
    const first = f.acall(0);
    await turn();
    const controller = new AbortController();
    const call = f.acall([1, 2], { signal: controller.signal });
    await turn();
    expect(f.stats.queueSize).toBe(2);
    controller.abort(reason);
    expect(f.stats).toMatchObject({ queueSize: 0, cancelled: 2 });
    await expect(call).rejects.toBe(reason);
    await run.openAll();
    expect(await first).toBe(0);
    expect(run.batches).toHaveLength(1);
    expectAccounted(f.stats);
  });

  test('while running: rejects at once, batch-mates are unaffected, the slots stay taken until the batch is done', async () => {
    const run = gated((item: string) => item.toUpperCase());
    const f = dynamically(run);
    const controller = new AbortController();
    const calls = [f.acall('a'), f.acall('b', { signal: controller.signal }), f.acall(['c', 'd'])];
    await turn();
    controller.abort(reason);
    await expect(calls[1]).rejects.toBe(reason);
    const next = f.acall('next');
    await turn();
    await run.openAll();
    expect(await Promise.all([calls[0], calls[2], next])).toEqual(['A', ['C', 'D'], 'NEXT']);
    expect(f.stats).toMatchObject({ cancelled: 1, totalProcessed: 4 });
    expectAccounted(f.stats);
  });

  test('half run, half queued: both parts go', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run, { batchSize: 2 });
    const controller = new AbortController();
    const call = f.acall([1, 2, 3, 4, 5], { signal: controller.signal });
    await turn();
    run.batches[0]!.open();
    await turn();
    controller.abort(reason);
    await expect(call).rejects.toBe(reason);
    expect(f.stats).toMatchObject({ totalProcessed: 2, cancelled: 3, queueSize: 0 });
    await run.openAll();
    expectAccounted(f.stats);
  });

  test('the listener is gone however the call ends, and a later abort does nothing', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const run = gated((item: number) => item);
    const f = dynamically(run);
    const calls = [f.acall(1, { signal }), f.acall(2, { signal }), f.acall(3, { signal, deadlineMs: 1 })];
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    await expect(calls[2]).rejects.toMatchObject({ code: 'BATCHED_DEADLINE' });
    run.batches[0]!.open();
    await Promise.all(calls.slice(0, 2));
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    const failing = f.acall(4, { signal });
    await turn();
    run.batches[1]!.fail(reason);
    await expect(failing).rejects.toBe(reason);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    controller.abort();
    expect(f.stats.cancelled).toBe(0);
    expectAccounted(f.stats);
  });

  test('10,000 calls share a signal, and one listener on it: all reject', async () => {
    const run = gated((item: number) => item);
    const [f, g] = [dynamically(run), dynamically(run)];
    const controller = new AbortController();
    const calls = numbers(10_000).map((item) => (item % 2 ? f : g).acall(item, { signal: controller.signal }));
    await turn();
    expect(getEventListeners(controller.signal, 'abort')).toHaveLength(1); // Node warns at eleven
    controller.abort(reason);
    const outcomes = await Promise.allSettled(calls);
    expect(outcomes.every((outcome) => outcome.status === 'rejected' && outcome.reason === reason)).toBe(true);
    await run.openAll();
    expectAccounted(f.stats);
    expectAccounted(g.stats);
  });
});

describe('deadlines', () => {
  test('a function that never settles: the caller gets BATCHED_DEADLINE', async () => {
    const f = dynamically(() => new Promise<number[]>(() => {}));
    const running = f.acall(1, { deadlineMs: 5 });
    const queued = turn().then(() => f.acall([2, 3], { deadlineMs: 5 }));
    await expect(running).rejects.toMatchObject({ name: 'BatchedError', code: 'BATCHED_DEADLINE' });
    await expect(queued).rejects.toMatchObject({ code: 'BATCHED_DEADLINE' });
    expect(f.stats).toMatchObject({ timedOut: 3, totalProcessed: 0 });
    expectAccounted(f.stats);
  });

  test('deadlines of several lengths pass in their order', async () => {
    const f = dynamically(() => new Promise<number[]>(() => {}));
    const order: number[] = [];
    const calls = [200, 5, 100].map((deadlineMs) =>
      f.acall(0, { deadlineMs }).catch(() => {
        order.push(deadlineMs);
      }),
    );
    await Promise.all(calls);
    expect(order).toEqual([5, 100, 200]);
  });

  test('a call that is past its deadline is not run, also when a long batch kept timers from firing', async () => {
    const seen: string[] = [];
    const f = dynamically(
      (items: string[]) => {
        seen.push(...items);
        block(20);
        return items;
      },
      { batchSize: 1 },
    );
    await f.acall('warm');
    await new Promise((resolve) => setTimeout(resolve, 1)); // so that the next turn comes before the next timers
    const long = f.acall('long');
    const late = f.acall('late', { deadlineMs: 10, priority: 1 });
    await expect(late).rejects.toMatchObject({ code: 'BATCHED_DEADLINE' });
    expect(await long).toBe('long');
    expect(seen).toEqual(['warm', 'long']);
    expect(f.stats).toMatchObject({ totalBatches: 2, timedOut: 1 });
    expectAccounted(f.stats);
  });

  test('a deadline that is kept changes nothing', async () => {
    const f = dynamically(double);
    expect(await f.acall([1, 2], { deadlineMs: 60_000 })).toEqual([2, 4]);
    expect(await f.acall(1, { deadlineMs: Number.MAX_VALUE })).toBe(2);
    expect(f.stats.timedOut).toBe(0);
  });
});

describe('statistics', () => {
  test('every field of a fresh batcher', () => {
    const none = { p50: 0, p90: 0, p99: 0, max: 0 };
    expect(dynamically(double).stats).toEqual({
      queueSize: 0,
      totalProcessed: 0,
      totalBatches: 0,
      avgBatchSize: 0,
      avgProcessingTime: 0,
      queueTime: none,
      processingTime: none,
      totalTime: none,
      paddingEfficiency: 1,
      batchSizes: {},
      dispatchReasons: { full: 0, idle: 0, timeout: 0, staged: 0 },
      admitted: 0,
      failed: 0,
      cancelled: 0,
      timedOut: 0,
      closed: 0,
      rejected: 0,
      isolated: 0,
      retries: 0,
      lanes: [],
    });
  });

  test('are exact, with every way that a row can end', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run, { batchSize: 3, maxQueueRows: 5 });
    const controller = new AbortController();
    const done = f.acall([0, 1, 2]);
    await turn(); // runs
    const failed = f.acall([3, 4, 5]);
    const cancelled = f.acall(6, { signal: controller.signal });
    const late = f.acall(7, { deadlineMs: 1 });
    await expect(f.acall([8, 9])).rejects.toMatchObject({ code: 'BATCHED_QUEUE_FULL' });
    await expect(late).rejects.toMatchObject({ code: 'BATCHED_DEADLINE' });
    controller.abort();
    await expect(cancelled).rejects.toBe(controller.signal.reason);
    run.batches[0]!.open();
    expect(await done).toEqual([0, 1, 2]);
    await turn(); // `failed` runs
    run.batches[1]!.fail(new Error('no'));
    await expect(failed).rejects.toThrow('no');
    const last = f.acall([10, 11]);
    await turn(); // runs
    const never = f.acall([12, 13, 14, 15]);
    const closed = f.close({ drain: false });
    await expect(never).rejects.toMatchObject({ code: 'BATCHED_CLOSED' });
    await run.openAll();
    expect(await last).toEqual([10, 11]);
    await closed;
    expect(f.stats).toMatchObject({
      queueSize: 0,
      admitted: 14,
      totalProcessed: 5,
      failed: 3,
      cancelled: 1,
      timedOut: 1,
      closed: 4,
      rejected: 2,
      totalBatches: 3,
      batchSizes: { 2: 1, 3: 2 },
      avgBatchSize: 8 / 3,
      dispatchReasons: { full: 2, idle: 1, timeout: 0, staged: 0 },
    });
    expectAccounted(f.stats);
  });

  test('are a snapshot', async () => {
    const f = dynamically(double);
    const before = f.stats;
    await f.acall(1);
    expect(before.totalProcessed).toBe(0);
    expect(f.stats).not.toBe(f.stats);
  });

  test('times are in milliseconds', async () => {
    const f = dynamically((items: number[]) => {
      block(5);
      return items;
    });
    await f.acall(1);
    const { avgProcessingTime, processingTime, totalTime, queueTime } = f.stats;
    expect(avgProcessingTime).toBeGreaterThanOrEqual(5);
    expect(processingTime.max).toBeGreaterThanOrEqual(4.9);
    expect(totalTime.max).toBeGreaterThanOrEqual(processingTime.p50 * 0.95);
    expect(queueTime.p99).toBeLessThanOrEqual(queueTime.max);
  });

  test('clearStats begins anew', async () => {
    const f = dynamically(double);
    const fresh = f.stats;
    await f.acall([1, 2, 3]);
    f.clearStats();
    expect(f.stats).toEqual(fresh);
    await f.acall(1);
    expect(f.stats).toMatchObject({ totalProcessed: 1, totalBatches: 1, admitted: 1 });
  });

  test('clearStats keeps what is in the house accountable', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run, { batchSize: 2 });
    const calls = f.acall([1, 2, 3]);
    await turn();
    f.clearStats();
    expect(f.stats.queueSize).toBe(1);
    await run.openAll();
    await calls;
    expectAccounted(f.stats);
  });
});

describe('closing', () => {
  test('health says whether calls are taken', async () => {
    const f = dynamically(double);
    expect(f.health).toEqual({ healthy: true });
    const closed = f.close();
    expect(f.health).toEqual({ healthy: false });
    await closed;
  });

  test('with drain (the default) everything admitted settles, also the calls of this tick', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run, { batchSize: 2 });
    const early = f.acall([0, 1, 2]);
    await turn();
    const late = f.acall(3);
    const closed = f.close();
    let done = false;
    void closed.then(() => (done = true));
    await turn();
    expect(done).toBe(false);
    await run.openAll();
    expect(await early).toEqual([0, 1, 2]);
    expect(await late).toBe(3);
    await closed;
    expectAccounted(f.stats);
  });

  test('with drain nothing is held for timeoutMs any more', async () => {
    const f = dynamically(double, { timeoutMs: 600_000 });
    const call = f.acall(1);
    await turn();
    await f.close();
    expect(await call).toBe(2);
  });

  test('without drain what waits is rejected as closed, what runs settles', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run, { batchSize: 2 });
    const running = f.acall([0, 1]);
    await turn();
    const waiting = [f.acall(2), f.acall([3, 4])];
    const closed = f.close({ drain: false });
    for (const call of waiting) await expect(call).rejects.toMatchObject({ code: 'BATCHED_CLOSED' });
    await run.openAll();
    expect(await running).toEqual([0, 1]);
    await closed;
    expect(f.stats).toMatchObject({ closed: 3, totalProcessed: 2 });
    expectAccounted(f.stats);
  });

  test('without drain a call of which a part waits is rejected', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run, { batchSize: 2 });
    const call = f.acall([0, 1, 2]);
    await turn();
    const closed = f.close({ drain: false });
    await expect(call).rejects.toMatchObject({ code: 'BATCHED_CLOSED' });
    await run.openAll();
    await closed;
    expectAccounted(f.stats);
  });

  test('a second close that does not drain cuts the first one short', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run, { batchSize: 1 });
    const calls = [f.acall(0), f.acall(1)];
    await turn();
    const closes = [f.close(), f.close({ drain: false })];
    await expect(calls[1]).rejects.toMatchObject({ code: 'BATCHED_CLOSED' });
    await run.openAll();
    expect(await calls[0]).toBe(0);
    await Promise.all(closes);
    await f.close();
  });

  test('an idle batcher closes at once, and twice', async () => {
    const f = dynamically(double);
    await f.close();
    await f.close();
    await f.close({ drain: false });
  });

  test('a call after close is refused as closed', async () => {
    const f = dynamically(double);
    void f.close();
    await expect(f.acall(1)).rejects.toMatchObject({ code: 'BATCHED_CLOSED' });
    expect(() => f([1])).toThrow(expect.objectContaining({ code: 'BATCHED_CLOSED' }));
    expect(f.stats.admitted).toBe(0);
  });

  test('a call that is aborted or late does not keep close waiting', async () => {
    const f = dynamically(double, { batchSize: 2, timeoutMs: 600_000 });
    const controller = new AbortController();
    const call = f.acall(1, { signal: controller.signal });
    const closed = f.close();
    controller.abort();
    await expect(call).rejects.toBe(controller.signal.reason);
    await closed;
  });

  test('Symbol.asyncDispose drains', async () => {
    const run = gated((item: number) => item);
    const f = dynamically(run);
    const call = f.acall(1);
    const disposed = f[Symbol.asyncDispose]();
    await turn();
    await run.openAll();
    await disposed;
    expect(await call).toBe(1);
    expect(f.health.healthy).toBe(false);
  });
});

describe('the event loop', () => {
  const turns: NodeJS.Immediate[] = [];
  afterEach(() => turns.splice(0).forEach(clearImmediate));

  test('a lone call on an idle batcher settles before the event loop goes on', async () => {
    const f = dynamically(double);
    await turn();
    let on = false;
    turns.push(setImmediate(() => (on = true)));
    await f.acall(1);
    expect(on).toBe(false);
  });

  test('a loop of awaited calls does not starve it', async () => {
    const f = dynamically((items: number[]) => {
      block(2);
      return items;
    });
    const going = new Set<string>();
    turns.push(setImmediate(() => going.add('on')));
    let calls = 0;
    for (; calls < 100; calls++) {
      if (going.has('on')) break;
      await f.acall(1);
    }
    expect(calls).toBeLessThan(20);
  });

  test.each([
    ['sync', 1, (items: number[]) => items],
    ['async', 3, async (items: number[]) => items],
  ])('a long queue over a slow %s function leaves it its turns, however calls arrive', async (_, concurrency, body) => {
    let inTurn = 0;
    let most = 0;
    const f = dynamically(
      (items: number[]) => {
        most = Math.max(most, ++inTurn);
        block(3);
        return body(items);
      },
      { batchSize: 1, concurrency },
    );
    const calls = numbers(50).map((item) => f.acall(item));
    let more = 20;
    const next = (): void => {
      inTurn = 0;
      if (more-- > 0) calls.push(f.acall(0));
      turns.push(setImmediate(next));
    };
    turns.push(setImmediate(next));
    while (more > 0) await turn();
    await Promise.all(calls);
    expect(most).toBeLessThanOrEqual(6); // two stretches of 3 batches, should one begin after `next`
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
