/** `dynamically`: calls that end before their result: aborted, late, closed. */
import { getEventListeners } from 'node:events';
import { describe, expect, test } from '@jest/globals';
import { dynamically } from '../../ts';
import { double, numbers, recorded } from '../helpers/batch-functions';
import { block, expectAccounted, gated, turn } from '../helpers/gate';

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
    const calls = [30, 5, 15].map((deadlineMs) =>
      f.acall(0, { deadlineMs }).catch(() => {
        order.push(deadlineMs);
      }),
    );
    await Promise.all(calls);
    expect(order).toEqual([5, 15, 30]);
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
