/** `dynamically`: functions that fail, that turn out to be asynchronous, and that call in again. */
import { describe, expect, jest, test } from '@jest/globals';
import { type BatchedError, dynamically } from '../../ts';
import { numbers } from '../helpers/batch-functions';
import { errorOf, expectAccounted, gate, gated, turn } from '../helpers/gate';

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
    // With one it cannot ever be served. A signal (or a deadline) gets the caller out.
    const controller = new AbortController();
    const call = own.f.acall(1, { signal: controller.signal });
    await turn();
    expect(own.f.stats).toMatchObject({ admitted: 2, queueSize: 1 });
    controller.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
    expect(own.f.stats).toMatchObject({ cancelled: 1, queueSize: 1 });
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
