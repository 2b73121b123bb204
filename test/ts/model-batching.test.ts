/**
 * Many calls of a model at once: who shares a batch, in which order, within which bounds, and what ends a call early.
 *
 * Calls of one tick are handed over together, so whatever is submitted in one tick meets the queue in a known state:
 * no test sleeps, and none depends on how fast a batch runs.
 */
import { afterAll, describe, expect, test } from '@jest/globals';
import { BatchedError, type BatchedModel, type LoadOptions, type ModelStats, type Output } from '../../ts';
import { Random } from '../../scripts/models/random';
import {
  closeAll,
  expectAccounted,
  expectRefusal,
  floats,
  int64,
  one,
  open,
  plain,
  record,
  rejection,
  rowsInBatches,
  until,
  values,
} from '../helpers/model-calls';

afterAll(closeAll);

/** One lane that runs one batch at a time takes a third of a second per batch: long enough to act while it runs. */
const openSlow = (options: LoadOptions = {}): Promise<BatchedModel> =>
  open({ kind: 'busy', matmuls: 96, width: 512, rows: 256 }, { lanes: 1, intraOpThreads: 1, batchSize: 1, ...options });

const echoModel = (options: LoadOptions = {}): Promise<BatchedModel> => open({ kind: 'echo', type: 'int32' }, options);

/** A row of `length` times `n`. */
const row = (length: number, n: number): number[] => Array<number>(length).fill(n);

const batchesOf = ({ batchSizes }: ModelStats): Record<string, number> => ({ ...batchSizes });

describe('rows of different lengths in one batch', () => {
  const lengths = [3, 1, 7, 2, 5, 5, 1, 4];

  test.each(['right', 'left'] as const)('come back at their own length, padded on the %s', async (paddingSide) => {
    const echo = await echoModel({ lanes: 1, paddingSide, batchSize: 8, timeoutMs: 1e6 });
    const calls = lengths.map((length, n) => echo.acall({ x: [row(length, n + 1)] }));
    const results = (await Promise.all(calls)).map((y) => plain(one(y)));
    expect(results).toEqual(
      lengths.map((length, n) => ({ type: 'int32', dims: [1, length], data: row(length, n + 1) })),
    );
    expect(batchesOf(echo.stats)).toEqual({ 8: 1 });
    expect(echo.stats.paddingEfficiency).toBeCloseTo(28 / 56, 6);
  });

  test('a call of several rows is stacked on the side that is padded', async () => {
    const echo = await echoModel({ lanes: 1, paddingSide: 'left', batchSize: 8 });
    expect(plain(one(await echo.acall({ x: [[1, 2, 3], [4]] })))).toMatchObject({
      dims: [2, 3],
      data: [1, 2, 3, 0, 0, 4],
    });
  });

  test('left padding puts the values last: shown by a model that adds up positions', async () => {
    // The pad value is what a sum sees beside the row's own values, whichever the side.
    const sum = await open(
      { kind: 'sum' },
      { lanes: 1, paddingSide: 'left', padTokens: { x: 100 }, batchSize: 2, timeoutMs: 1e6 },
    );
    const [long, short] = (await Promise.all([sum.acall({ x: [[1, 2, 3]] }), sum.acall({ x: [[4]] })])).map(record);
    expect([...(long!.total!.data as Float32Array), ...(short!.total!.data as Float32Array)]).toEqual([6, 204]);
    expect(plain(short!.running!)).toMatchObject({ dims: [1, 1], data: [8] });
    expect(plain(long!.running!)).toMatchObject({ dims: [1, 3], data: [2, 4, 6] });
  });

  test('share none with paddingSide none: only equal shapes do', async () => {
    const echo = await echoModel({ lanes: 1, paddingSide: 'none', batchSize: 8 });
    const calls = lengths.map((length, n) => echo.acall({ x: [row(length, n)] }));
    const results = (await Promise.all(calls)).map((y) => values(y));
    expect(results).toEqual(lengths.map((length, n) => row(length, n)));
    expect(echo.stats.paddingEfficiency).toBe(1);
    // Two rows of length 1, two of 5, and four that are alone: six shapes.
    expect(echo.stats.totalBatches).toBeGreaterThanOrEqual(6);
    expect(rowsInBatches(echo.stats)).toBe(8);
  });

  test('wait for their equals with paddingSide none and a timeout', async () => {
    const echo = await echoModel({ lanes: 1, paddingSide: 'none', batchSize: 2, timeoutMs: 1e6 });
    const rows = [3, 5, 3, 5].map((length, n) => row(length, n));
    const results = await Promise.all(rows.map((x) => echo.acall({ x: [x] })));
    expect(results.map((y) => values(y))).toEqual(rows);
    expect(batchesOf(echo.stats)).toEqual({ 2: 2 });
  });
});

describe('rows of one batch', () => {
  test('keep their own state, on another batch axis, and share the scalar they share', async () => {
    const model = await open(
      { kind: 'state' },
      { shared: ['sr'], batchAxis: { state: 1, stateN: 1 }, lanes: 1, batchSize: 16 },
    );
    const random = new Random(7);
    const calls = Array.from({ length: 40 }, (_, n) => {
      const x = Array.from({ length: 4 }, () => random.below(10));
      const h = Array.from({ length: 6 }, () => random.below(10));
      const sr = n % 2 === 0 ? 8000 : 16000;
      const total = (list: number[]): number => list.reduce((sum, value) => sum + value, 0);
      const call = model.acall({ x: floats([1, 4], x), state: floats([2, 1, 3], h), sr: int64([], [sr]) });
      return call.then((output) => {
        const { y, stateN } = record(output);
        expect(plain(y!)).toEqual({ type: 'float32', dims: [1, 4], data: x.map((value) => value + total(h) + sr) });
        expect(plain(stateN!)).toEqual({
          type: 'float32',
          dims: [2, 1, 3],
          data: h.map((value) => value / 2 + total(x)),
        });
      });
    });
    await Promise.all(calls);
    // 20 rows of each rate, at most 16 at a time, and no batch with both: the least is four batches.
    expect(model.stats.totalBatches).toBeGreaterThanOrEqual(4);
    expect(rowsInBatches(model.stats)).toBe(40);
  });

  test('of one call with a state on axis 1 are taken apart and put together on that axis', async () => {
    const model = await open({ kind: 'state' }, { shared: ['sr'], batchAxis: { state: 1, stateN: 1 }, batchSize: 1 });
    const { y, stateN } = record(
      await model.acall({
        x: floats([2, 4], [1, 2, 3, 4, 10, 20, 30, 40]),
        state: floats([2, 2, 3], [0, 0, 1, 0, 0, 2, 0, 0, 4, 0, 0, 8]),
        sr: [100],
      }),
    );
    expect(plain(y!)).toEqual({ type: 'float32', dims: [2, 4], data: [106, 107, 108, 109, 120, 130, 140, 150] });
    expect(plain(stateN!)).toEqual({
      type: 'float32',
      dims: [2, 2, 3],
      data: [10, 10, 10.5, 100, 100, 101, 10, 10, 12, 100, 100, 104],
    });
  });

  test('are one where the model fixes its batch at 1', async () => {
    const model = await open({ kind: 'fixed-batch' });
    expect(model.model.fixedBatch).toBe(1);
    const calls = Array.from({ length: 20 }, (_, n) => model.acall({ x: floats([1, 4], row(4, n)) }));
    const several = model.acall({ x: floats([3, 4], [...row(4, 7), ...row(4, 8), ...row(4, 9)]) });
    expect((await Promise.all(calls)).map((y) => values(y))).toEqual(calls.map((_, n) => row(4, 2 * n)));
    expect(plain(one(await several))).toMatchObject({
      dims: [3, 4],
      data: [...row(4, 14), ...row(4, 16), ...row(4, 18)],
    });
    expect(batchesOf(model.stats)).toEqual({ 1: 23 });
  });

  test('fill up to the size that the model fixes', async () => {
    const model = await open({ kind: 'no-batch' }, { batchAxis: { x: 0, y: 0 }, lanes: 1 });
    expect(model.model.fixedBatch).toBe(3);
    const calls = [1, 2, 3, 4].map((n) => model.acall({ x: floats([1, 4], row(4, n)) }));
    expect((await Promise.all(calls)).map((y) => values(y))).toEqual([1, 2, 3, 4].map((n) => row(4, 2 * n)));
    expect(batchesOf(model.stats)).toEqual({ 1: 1, 3: 1 });
  });

  test('number at most batchSize, and their padded length at most maxBatchTokens', async () => {
    const echo = await echoModel({ lanes: 1, batchSize: 6, maxBatchTokens: 24 });
    const random = new Random(3);
    const rows = Array.from({ length: 200 }, (_, n) => row(1 + random.below(12), n));
    const results = await Promise.all(rows.map((x) => echo.acall({ x: [x] })));
    expect(results.map((y) => values(y))).toEqual(rows);
    const { stats } = echo;
    expect(Math.max(...Object.keys(stats.batchSizes).map(Number))).toBeLessThanOrEqual(6);
    expect(stats.totalBatches).toBeGreaterThanOrEqual(rows.reduce((sum, x) => sum + x.length, 0) / 24);
    // One that is longer than the budget runs alone.
    expect(values(await echo.acall({ x: [row(30, 5)] }))).toEqual(row(30, 5));
  });
});

describe('the order', () => {
  /** Submits all in one tick, and gives the order in which they settled. */
  async function orderOf(calls: (() => Promise<Output>)[]): Promise<number[]> {
    const order: number[] = [];
    await Promise.all(calls.map((call, n) => call().then(() => order.push(n))));
    return order;
  }

  test('is that of the calls', async () => {
    const echo = await echoModel({ lanes: 1, batchSize: 1 });
    expect(await orderOf([5, 5, 5, 5, 5].map((n) => () => echo.acall({ x: [row(n, 1)] })))).toEqual([0, 1, 2, 3, 4]);
  });

  test('is by priority where calls give one, lower first', async () => {
    const echo = await echoModel({ lanes: 1, batchSize: 1 });
    const priorities = [3, 1, 2, 0, 1];
    const order = await orderOf(priorities.map((priority) => () => echo.acall({ x: [[1, 2]] }, { priority })));
    expect(order).toEqual([3, 1, 4, 2, 0]);
  });

  test('lets small calls go before large ones', async () => {
    const echo = await echoModel({ lanes: 1, batchSize: 4, smallBatchThreshold: 2 });
    const order = await orderOf([
      () => echo.acall({ x: Array.from({ length: 16 }, () => [1]) }),
      () => echo.acall({ x: [[1]] }),
    ]);
    expect(order).toEqual([1, 0]);
  });
});

describe('statistics', () => {
  test('of a known load: every row is admitted and processed, and is in a batch', async () => {
    const echo = await echoModel({ batchSize: 16 });
    await Promise.all(Array.from({ length: 300 }, (_, n) => echo.acall({ x: [row(1 + (n % 9), n)] })));
    await echo.acall({ x: Array.from({ length: 50 }, (_, n) => row(3, n)) });
    const { stats } = echo;
    expectAccounted(stats);
    expect(stats).toMatchObject({
      admitted: 350,
      totalProcessed: 350,
      failed: 0,
      cancelled: 0,
      timedOut: 0,
      closed: 0,
      rejected: 0,
      heldBytes: 0,
      provider: 'cpu',
    });
    expect(rowsInBatches(stats)).toBe(350);
    expect(Object.values(stats.batchSizes).reduce((sum, count) => sum + count, 0)).toBe(stats.totalBatches);
    expect(Object.values(stats.dispatchReasons).reduce((sum, count) => sum + count, 0)).toBe(stats.totalBatches);
    expect(stats.lanes.reduce((sum, { batches }) => sum + batches, 0)).toBe(stats.totalBatches);
    expect(stats.avgBatchSize).toBeCloseTo(350 / stats.totalBatches, 9);
    expect(stats.paddingEfficiency).toBeGreaterThan(0);
    expect(stats.paddingEfficiency).toBeLessThanOrEqual(1);
    for (const time of [stats.queueTime, stats.processingTime, stats.totalTime]) {
      expect(time.p50).toBeLessThanOrEqual(time.p90);
      expect(time.p90).toBeLessThanOrEqual(time.p99);
      expect(time.p99).toBeLessThanOrEqual(time.max * 1.04); // a bucket's width
      expect(time.p50).toBeGreaterThan(0);
    }
    for (const { busy, healthy } of stats.lanes) expect([busy >= 0 && busy <= 1, healthy]).toEqual([true, true]);
    expect(echo.health).toEqual({ healthy: true });
  });

  test('start anew with clearStats', async () => {
    const echo = await echoModel();
    await echo.acall({ x: [[1]] });
    echo.clearStats();
    expect(echo.stats).toMatchObject({ admitted: 0, totalProcessed: 0, totalBatches: 0, batchSizes: {} });
    expect(echo.stats.totalTime).toEqual({ p50: 0, p90: 0, p99: 0, max: 0 });
    await echo.acall({ x: [[1]] });
    expect(echo.stats).toMatchObject({ admitted: 1, totalProcessed: 1, totalBatches: 1, batchSizes: { 1: 1 } });
  });

  test('are a snapshot, and JSON', async () => {
    const echo = await echoModel();
    const before = echo.stats;
    await echo.acall({ x: [[1]] });
    expect(before.totalProcessed).toBe(0);
    const { stats } = echo;
    expect(JSON.parse(JSON.stringify(stats))).toEqual(stats);
  });
});

describe('a full queue', () => {
  test('of rows refuses at once, and what it holds goes on', async () => {
    const echo = await echoModel({ lanes: 1, batchSize: 1, maxQueueRows: 4 });
    const calls = Array.from({ length: 10 }, (_, n) => echo.acall({ x: [[n]] }));
    const settled = await Promise.allSettled(calls);
    const refused = settled.filter(({ status }) => status === 'rejected');
    expect(settled.slice(0, 4).map(({ status }) => status)).toEqual(row(4, 0).map(() => 'fulfilled'));
    expect(refused).toHaveLength(6);
    await expectRefusal(calls[9]!, 'BATCHED_QUEUE_FULL', /queue holds 4 rows.*maxQueueRows 4/);
    expect(echo.stats).toMatchObject({ admitted: 4, totalProcessed: 4, rejected: 6 });
    expect(values(await echo.acall({ x: [[5]] }))).toEqual([5]);
    expectAccounted(echo.stats);
  });

  test('admits a call of several rows whole or not at all', async () => {
    const echo = await echoModel({ lanes: 1, batchSize: 2, maxQueueRows: 4 });
    const first = echo.acall({ x: [[1], [2]] });
    const second = echo.acall({ x: [[1], [2], [3]] });
    const third = echo.acall({ x: [[3], [4]] });
    await expectRefusal(second, 'BATCHED_QUEUE_FULL', /no room for 3 more/);
    expect([values(await first), values(await third)]).toEqual([
      [1, 2],
      [3, 4],
    ]);
    // A call that is larger than the queue has to be served by somebody: an empty queue takes it.
    expect(values(await echo.acall({ x: [[1], [2], [3], [4], [5], [6]] }))).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('of bytes does the same, and gives them back', async () => {
    const echo = await echoModel({ lanes: 1, maxQueueBytes: 100_000 });
    const big = (): Promise<Output> => echo.acall({ x: new Int32Array(10_000) });
    const settled = await Promise.allSettled([big(), big(), big(), big()]);
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'rejected']);
    await expectRefusal(
      Promise.reject((settled[2] as PromiseRejectedResult).reason),
      'BATCHED_QUEUE_FULL',
      /maxQueueBytes 100000/,
    );
    expect(echo.stats.heldBytes).toBe(0);
    await Promise.all([big(), big()]);
  });
});

describe('deadlines', () => {
  test('expire while every lane is busy, on time rather than when a lane is free', async () => {
    const slow = await openSlow();
    const order: string[] = [];
    const running = slow.acall({ x: [[1]] }).then(() => order.push('running'));
    const behind = slow.acall({ x: [[1]] }).then(() => order.push('behind'));
    const late = rejection(slow.acall({ x: [[1]] }, { deadlineMs: 20 })).then((error) => {
      expect(error).toMatchObject({ code: 'BATCHED_DEADLINE' });
      order.push('late');
    });
    await Promise.all([running, behind, late]);
    expect(order).toEqual(['late', 'running', 'behind']);
    expect(slow.stats).toMatchObject({ admitted: 3, totalProcessed: 2, timedOut: 1 });
    expectAccounted(slow.stats);
  });

  test('of 0 are refused; of ages change nothing', async () => {
    const echo = await echoModel();
    await expectRefusal(echo.acall({ x: [[1]] }, { deadlineMs: 0 }), 'BATCHED_DEADLINE', /deadline/);
    expect(values(await echo.acall({ x: [[1]] }, { deadlineMs: 1e9 }))).toEqual([1]);
  });

  test('hold for a call as a whole, also where some of its rows are done', async () => {
    const slow = await openSlow();
    await expectRefusal(slow.acall({ x: [[1], [2], [3]] }, { deadlineMs: 5 }), 'BATCHED_DEADLINE', /deadline/);
    expect(slow.stats.timedOut).toBe(3);
    expect(values(await slow.acall({ x: [[4]] }))).toEqual([4]);
    expectAccounted(slow.stats);
  });
});

describe('an abort', () => {
  test('before the call, in its tick, and while it waits', async () => {
    const slow = await openSlow();
    const running = slow.acall({ x: [[1]] });
    const [tick, waiting] = [new AbortController(), new AbortController()];
    const aborted = [
      slow.acall({ x: [[2]] }, { signal: AbortSignal.abort('before') }),
      slow.acall({ x: [[2]] }, { signal: tick.signal }),
      slow.acall({ x: [[2]] }, { signal: waiting.signal }),
    ].map(rejection);
    tick.abort('tick');
    await until(() => slow.stats.admitted === 3);
    waiting.abort('waiting');
    expect(await Promise.all(aborted)).toEqual(['before', 'tick', 'waiting']);
    expect(slow.stats.totalProcessed).toBe(0);
    expect(values(await running)).toEqual([1]);
    expect(slow.stats).toMatchObject({ totalProcessed: 1, cancelled: 2 });
    expectAccounted(slow.stats);
  });

  test('while it runs rejects at once, with the signal’s own reason, and hurts nobody else', async () => {
    const slow = await openSlow({ batchSize: 2 });
    const controller = new AbortController();
    let other = false;
    const victim = slow.acall({ x: [[1]] }, { signal: controller.signal });
    const mate = slow.acall({ x: [[2]] }).finally(() => (other = true));
    await until(() => slow.stats.admitted === 2 && slow.stats.queueSize === 0); // both are bound
    controller.abort();
    expect(await rejection(victim)).toBe(controller.signal.reason);
    expect(other).toBe(false);
    expect(values(await mate)).toEqual([2]);
    expect(slow.stats).toMatchObject({ totalProcessed: 1, cancelled: 1 });
    expectAccounted(slow.stats);
  });

  test('after the call has settled changes nothing', async () => {
    const echo = await echoModel();
    const controller = new AbortController();
    const call = echo.acall({ x: [[1]] }, { signal: controller.signal });
    await call;
    controller.abort();
    expect(values(await call)).toEqual([1]);
    expect(echo.stats.cancelled).toBe(0);
  });

  test('of one signal ends all its calls, thousands of them without a warning', async () => {
    const warnings: string[] = [];
    const listen = (warning: Error): number => warnings.push(warning.message);
    process.on('warning', listen);
    const slow = await openSlow();
    const controller = new AbortController();
    const { signal } = controller;
    const calls = Array.from({ length: 2000 }, (_, n) => rejection(slow.acall({ x: [[n]] }, { signal })));
    controller.abort();
    const reasons = new Set(await Promise.all(calls));
    expect([...reasons]).toEqual([signal.reason]);
    await until(() => slow.stats.cancelled + slow.stats.totalProcessed === 2000);
    process.off('warning', listen);
    expect(warnings).toEqual([]);
    expectAccounted(slow.stats);
  });
});

describe('timeoutMs', () => {
  test('holds a short batch until it is full', async () => {
    const echo = await echoModel({ lanes: 1, batchSize: 3, timeoutMs: 1e6 });
    const calls = [[1], [2]].map((x) => echo.acall({ x: [x] }));
    await until(() => echo.stats.admitted === 2);
    expect(echo.stats.queueSize).toBe(2);
    calls.push(echo.acall({ x: [[3]] }));
    expect((await Promise.all(calls)).map((y) => values(y))).toEqual([[1], [2], [3]]);
    expect(echo.stats).toMatchObject({ batchSizes: { 3: 1 }, dispatchReasons: { full: 1 } });
  });

  test('runs a short batch when its oldest row has waited so long', async () => {
    const echo = await echoModel({ lanes: 1, batchSize: 3, timeoutMs: 5 });
    await Promise.all([echo.acall({ x: [[1]] }), echo.acall({ x: [[2]] })]);
    expect(echo.stats).toMatchObject({ batchSizes: { 2: 1 }, dispatchReasons: { timeout: 1 } });
    expect(echo.stats.queueTime.max).toBeGreaterThanOrEqual(5);
  });
});

describe('close', () => {
  test('drains: all that was admitted settles, and calls after it are refused', async () => {
    const echo = await echoModel({ batchSize: 4 });
    const calls = Array.from({ length: 30 }, (_, n) => echo.acall({ x: [[n]] }));
    const closed = echo.close();
    const after = echo.acall({ x: [[1]] });
    await expectRefusal(after, 'BATCHED_CLOSED', /closed/);
    expect((await Promise.all(calls)).map((y) => values(y))).toEqual(calls.map((_, n) => [n]));
    await closed;
    expect(() => echo({ x: [[1]] })).toThrow(expect.objectContaining({ code: 'BATCHED_CLOSED' }));
    expect(echo.stats.totalProcessed).toBe(30);
    expectAccounted(echo.stats);
  });

  test('does not wait for a batch that is held for company', async () => {
    const echo = await echoModel({ batchSize: 4, timeoutMs: 1e6 });
    const call = echo.acall({ x: [[1]] });
    await echo.close();
    expect(values(await call)).toEqual([1]);
  });

  test('without draining: what runs ends as it would, what waits is rejected', async () => {
    const slow = await openSlow();
    const calls = Array.from({ length: 10 }, (_, n) => slow.acall({ x: [[n]] }));
    const outcomes = Promise.allSettled(calls);
    await until(() => slow.stats.admitted === 10 && slow.stats.queueSize < 10);
    await slow.close({ drain: false });
    const settled = await outcomes;
    const closed = settled.filter(({ status }) => status === 'rejected');
    expect(closed.length).toBeGreaterThanOrEqual(8);
    for (const outcome of closed)
      expect((outcome as PromiseRejectedResult).reason).toHaveProperty('code', 'BATCHED_CLOSED');
    expect(settled[0]!.status).toBe('fulfilled');
    expect(slow.stats).toMatchObject({ admitted: 10, closed: closed.length });
    expectAccounted(slow.stats);
  });

  test('twice, together and one after the other', async () => {
    const echo = await echoModel();
    const call = Promise.allSettled([echo.acall({ x: [[1]] })]);
    await Promise.all([echo.close(), echo.close({ drain: false }), echo.close()]);
    await echo.close();
    await call;
    expectAccounted(echo.stats);
  });

  test('is what asyncDispose does', async () => {
    const echo = await echoModel();
    await echo[Symbol.asyncDispose]();
    await expectRefusal(echo.acall({ x: [[1]] }), 'BATCHED_CLOSED', /closed/);
  });

  test('lets a signal go: an abort afterwards is nothing', async () => {
    const slow = await openSlow();
    const controller = new AbortController();
    const calls = [1, 2, 3, 4].map((n) => slow.acall({ x: [[n]] }, { signal: controller.signal }));
    const outcomes = Promise.allSettled(calls);
    await slow.close({ drain: false });
    controller.abort();
    for (const outcome of await outcomes) {
      if (outcome.status === 'rejected') expect(outcome.reason).toHaveProperty('code', 'BATCHED_CLOSED');
    }
  });
});

describe('isolation', () => {
  const bad = 99; // outside of the table of ten

  test('one bad row among 32: it alone fails, the others get their results', async () => {
    const gather = await open({ kind: 'gather' }, { lanes: 1, batchSize: 32, timeoutMs: 1e6 });
    const calls = Array.from({ length: 32 }, (_, n) => gather.acall({ ids: [[n === 13 ? bad : n % 10]] }));
    const settled = await Promise.allSettled(calls);
    for (const [n, outcome] of settled.entries()) {
      if (n === 13) continue;
      const id = n % 10;
      expect(outcome.status).toBe('fulfilled');
      expect(values((outcome as PromiseFulfilledResult<Output>).value)).toEqual([0, 1, 2, 3].map((j) => 10 * id + j));
    }
    await expectRefusal(calls[13]!, 'BATCHED_BACKEND', /indices element out of data bounds|out of bounds/);
    const { stats } = gather;
    expect(stats).toMatchObject({ admitted: 32, totalProcessed: 31, failed: 1, isolated: 1 });
    // 2 log2(n) + 1 runs more at the most.
    expect(stats.totalBatches).toBeLessThanOrEqual(11);
    expectAccounted(stats);
  });

  test('two bad rows among 32: the others get their results', async () => {
    const gather = await open({ kind: 'gather' }, { lanes: 1, batchSize: 32, timeoutMs: 1e6 });
    const calls = Array.from({ length: 32 }, (_, n) => gather.acall({ ids: [[n === 3 || n === 28 ? bad : n % 10]] }));
    const failed = (await Promise.allSettled(calls)).flatMap(({ status }, n) => (status === 'rejected' ? [n] : []));
    expect(failed).toEqual([3, 28]);
  });

  test('a bad row fails the call it is of, as a whole, and no other', async () => {
    const gather = await open({ kind: 'gather' }, { lanes: 1, batchSize: 8, timeoutMs: 1e6 });
    const good = gather.acall({ ids: [[1], [2], [3]] });
    const failing = gather.acall({ ids: [[4], [bad], [5]] });
    const single = gather.acall({ ids: [[6]] });
    const other = gather.acall({ ids: [[7]] });
    await expectRefusal(failing, 'BATCHED_BACKEND', /bounds/);
    expect(one(await good).dims).toEqual([3, 1, 4]);
    expect([values(await single)[0], values(await other)[0]]).toEqual([60, 70]);
    expect(gather.stats).toMatchObject({ failed: 3, totalProcessed: 5 });
    expectAccounted(gather.stats);
  });

  test('a lone bad call fails, and a sync one throws', async () => {
    const gather = await open({ kind: 'gather' });
    await expectRefusal(gather.acall({ ids: [[bad]] }), 'BATCHED_BACKEND', /bounds/);
    expect(() => gather({ ids: [[bad]] })).toThrow(expect.objectContaining({ code: 'BATCHED_BACKEND' }));
    expect(values(gather({ ids: [[2]] }))).toEqual([20, 21, 22, 23]);
    expect(gather.health).toEqual({ healthy: true });
  });
});

describe('all at once', () => {
  test('random calls, aborts, deadlines and bad rows: each ends once, and rightly', async () => {
    const gather = await open({ kind: 'gather' }, { batchSize: 8, maxQueueRows: 200 });
    const random = new Random(42);
    const outcomes: Promise<string>[] = [];
    for (let n = 0; n < 1500; n++) {
      const ids = Array.from({ length: 1 + random.below(3) }, () => row(1 + random.below(6), random.below(10)));
      const fails = random.below(50) === 0;
      if (fails) ids[random.below(ids.length)] = [99];
      const controller = random.below(10) === 0 ? new AbortController() : undefined;
      const options = {
        ...(controller && { signal: controller.signal }),
        ...(random.below(10) === 0 && { deadlineMs: random.below(5) }),
        ...(random.below(5) === 0 && { priority: random.below(3) }),
      };
      const call = gather.acall({ ids }, { ...options, stack: false }).then(
        (rows) => {
          expect(fails).toBe(false);
          expect(rows.map((y) => values(y))).toEqual(
            ids.map((list) => list.flatMap((id) => [0, 1, 2, 3].map((j) => 10 * id + j))),
          );
          return 'ok';
        },
        // Not that only bad calls fail: a batch with several bad rows may take innocent ones along (see above).
        (error: unknown) => (error instanceof BatchedError ? error.code : (error as Error).name),
      );
      outcomes.push(call);
      if (controller && random.below(2) === 0) controller.abort();
      else if (controller) setImmediate(() => controller.abort());
      if (random.below(20) === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const ends = new Set(await Promise.all(outcomes));
    for (const known of ['ok', 'BATCHED_BACKEND', 'BATCHED_DEADLINE', 'BATCHED_QUEUE_FULL', 'AbortError'])
      ends.delete(known);
    expect([...ends]).toEqual([]);
    await until(() => gather.stats.queueSize === 0 && gather.stats.heldBytes === 0);
    expectAccounted(gather.stats);
  });
});
