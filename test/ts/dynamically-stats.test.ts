/** `dynamically`: what `stats` says. */
import { describe, expect, test } from '@jest/globals';
import { dynamically } from '../../ts';
import { double } from '../helpers/batch-functions';
import { block, expectAccounted, gated, turn } from '../helpers/gate';

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
    const late = expect(f.acall(7, { deadlineMs: 1 })).rejects.toMatchObject({ code: 'BATCHED_DEADLINE' });
    await expect(f.acall([8, 9])).rejects.toMatchObject({ code: 'BATCHED_QUEUE_FULL' });
    await late;
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
