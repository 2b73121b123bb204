/** `dynamically`: which items run together, and in which order. */
import { describe, expect, jest, test } from '@jest/globals';
import { type BatchedError, dynamically } from '../../ts';
import { double, numbers, recorded, same } from '../helpers/batch-functions';
import { block, errorOf, expectAccounted, gate, gated, turn } from '../helpers/gate';

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
