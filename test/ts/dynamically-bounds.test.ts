/** `dynamically`: the bound of the queue, and the event loop that goes on. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type BatchedError, dynamically } from '../../ts';
import { Stretch } from '../../ts/function/stretch';
import { native, type NativeFunctionQueue } from '../../ts/native';
import { double, numbers, recorded } from '../helpers/batch-functions';
import { block, errorOf, expectAccounted, gated, turn } from '../helpers/gate';

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

describe('the event loop', () => {
  const turns: NodeJS.Immediate[] = [];
  const noLimit = Stretch.longestMs;
  beforeEach(() => void (Stretch.longestMs = 8));
  afterEach(() => {
    Stretch.longestMs = noLimit;
    turns.splice(0).forEach(clearImmediate);
  });

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
