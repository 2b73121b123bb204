/** Sharing a model, as seen from one thread; several threads are in test/teardown/share.test.ts. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { ensureModel } from '../../scripts/models/index';
import {
  aio,
  type BatchedError,
  type BatchedModel,
  dynamically,
  inference,
  MemoryCache,
  type ModelToken,
  OnnxModel,
} from '../../ts';
import { block } from '../helpers/gate';
import {
  closeAll,
  expectAccounted,
  expectRefusal,
  expectThrow,
  one,
  open,
  until,
  values,
} from '../helpers/model-calls';

let echo: string;
beforeAll(async () => {
  echo = await ensureModel({ kind: 'echo', type: 'float32' });
});
afterAll(closeAll);

/** Waits for `batchSize` rows, for ever if need be. */
const held = (batchSize: number): Promise<BatchedModel> => open(echo, { batchSize, timeoutMs: 1e9, lanes: 1 });
const row = (...numbers: number[]) => ({ x: [numbers] });

describe('a token', () => {
  test('is plain data, the same each time, from the model and from what is attached to it', async () => {
    const model = await open(echo);
    const token = model.share();
    expect(token).toEqual({ batched: 'model', pid: process.pid, id: expect.stringMatching(/^[\da-f-]{36}$/) });
    expect(model.share()).toEqual(token);
    expect(inference.attach(token).share()).toEqual(token);
    expect((await open(echo)).share().id).not.toBe(token.id);
  });

  test.each<[string, (token: ModelToken) => unknown]>([
    ['structuredClone', structuredClone],
    ['JSON', (token) => JSON.parse(JSON.stringify(token))],
    [
      'postMessage',
      (token) => {
        const { port1, port2 } = new MessageChannel();
        port1.postMessage(token);
        const received: unknown = receiveMessageOnPort(port2)!.message;
        port1.close();
        return received;
      },
    ],
  ])('survives %s', async (_, send) => {
    const model = await open(echo);
    const attached = inference.attach(send(model.share()) as ModelToken);
    expect(values(attached(row(1, 2)))).toEqual([1, 2]);
  });

  test.each([
    ['nothing', undefined],
    ['null', null],
    ['a string', 'model'],
    ['a number', 3],
    ['an array', []],
    ['a function', () => 3],
    ['an object without an id', { batched: 'model', pid: process.pid }],
    ['an object with a wrong id', { batched: 'model', pid: process.pid, id: 3 }],
    ['an object of something else', { batched: 'queue', pid: process.pid, id: 'x' }],
  ])('is not %s', (_, token) => {
    for (const attach of [inference.attach, aio.inference.attach]) {
      expect(() => attach(token as never)).toThrow(TypeError);
      expect(() => attach(token as never)).toThrow(/inference\.attach: expected a token from share\(\), got/);
    }
  });

  test('is not a callable or a model: those stay in their thread', async () => {
    const model = await open(echo);
    expect(() => inference.attach(model as never)).toThrow(TypeError);
    expect(() => inference.attach(model.model as never)).toThrow(TypeError);
  });

  test('of another process is refused, and the refusal names both', async () => {
    const token = { ...(await open(echo)).share(), pid: 1 };
    expectThrow(() => inference.attach(token), 'BATCHED_INVALID_INPUT', RegExp(`process 1, .*process ${process.pid}`));
  });

  test('that nobody has is refused as closed', () => {
    const token: ModelToken = { batched: 'model', pid: process.pid, id: 'x\0y' };
    expectThrow(() => inference.attach(token), 'BATCHED_CLOSED', /^inference.attach: the model is closed, or/);
  });

  test('is not made of a function', () => {
    expect(dynamically((items: number[]) => items)).not.toHaveProperty('share');
    expect(inference.dynamically(() => [])).not.toHaveProperty('share');
  });
});

describe('an attached callable', () => {
  test('knows the inputs and outputs, and is no OnnxModel', async () => {
    const model = await open({ kind: 'sum' });
    const { inputs, outputs, fixedBatch } = model.model;
    const attached = inference.attach(model.share());
    expect(attached.model).toEqual({ inputs, outputs, fixedBatch });
    expect(attached.model).not.toBeInstanceOf(OnnxModel);
  });

  test('shares the batches, the queue and the statistics', async () => {
    const model = await held(6);
    const attached = inference.attach(model.share());
    const again = aio.inference.attach(model.share());
    const calls = [model, attached, again].map(async (callable, i) => {
      const [a, b] = await Promise.all([callable.acall(row(i)), callable.acall({ x: [[i, i, i]] })]);
      return [...values(a), ...values(b)];
    });
    expect(await Promise.all(calls)).toEqual([0, 1, 2].map((i) => [i, i, i, i]));
    for (const { stats } of [model, attached, again]) {
      expect(stats).toMatchObject({ batchSizes: { 6: 1 }, totalProcessed: 6, totalBatches: 1 });
    }
    attached.clearStats();
    expect(model.stats.totalProcessed).toBe(0);
  });

  test('has sync and async calls, and all that they take', async () => {
    const model = await open(echo);
    const attached = inference.attach(model.share());
    const asynchronous = aio.inference.attach(model.share());
    expect(values(attached(row(1)))).toEqual([1]);
    expect((attached({ x: [[1], [2, 3]] }, { stack: false }) as unknown[]).length).toBe(2);
    expect(one(await asynchronous({ x: [[1], [2, 3]] })).dims).toEqual([2, 2]);
    const controller = new AbortController();
    const call = attached.acall(row(1), { signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
    await expectRefusal(attached.acall({ z: [[1]] }), 'BATCHED_INVALID_INPUT', /'z'/);
    await expectRefusal(attached.acall(row(1), { deadlineMs: 0 }), 'BATCHED_DEADLINE', /deadline/);
  });

  test('keeps the limits that the model was started with', async () => {
    const model = await open(echo, { maxItemLength: 2, maxQueueRows: 1, batchSize: 2, timeoutMs: 1e9 });
    const attached = inference.attach(model.share());
    await expectRefusal(attached.acall(row(1, 2, 3)), 'BATCHED_INVALID_INPUT', /longer than maxItemLength 2/);
    const waiting = model.acall(row(1));
    await expectRefusal(attached.acall(row(1)), 'BATCHED_QUEUE_FULL', /./);
    await model.close();
    await waiting;
  });

  test('measures rows with a lengthOf of its own', async () => {
    const model = await open(echo, { lengthOf: () => 5, maxItemLength: 9 });
    const seen: number[] = [];
    const lengthOf = (_: unknown, index: number) => 10 * seen.push(index);
    const attached = inference.attach(model.share(), { lengthOf });
    await expectRefusal(attached.acall(row(1)), 'BATCHED_INVALID_INPUT', /length 10 is longer/);
    expect(seen).toEqual([0]);
    expect(values(inference.attach(model.share())(row(1, 2)))).toEqual([1, 2]);
  });

  test('looks up in a cache of its own', async () => {
    const model = await open(echo);
    const cache = new MemoryCache();
    const attached = inference.attach(model.share(), { cache });
    for (let i = 0; i < 3; i++) expect(values(await attached.acall(row(1, 2)))).toEqual([1, 2]);
    expect(values(attached(row(1, 2)))).toEqual([1, 2]);
    expect(attached.stats.cacheStats).toMatchObject({ gets: 4, hits: 3, sets: 1 });
    expect(model.stats.totalProcessed).toBe(1);
  });

  test('pads on the side of the model, with a cache too', async () => {
    const model = await open(echo, { paddingSide: 'left' });
    for (const options of [{}, { cache: new MemoryCache() }]) {
      const attached = inference.attach(model.share(), options);
      expect(values(await attached.acall({ x: [[1, 2, 3], [4]] }))).toEqual([1, 2, 3, 0, 0, 4]);
    }
  });

  test('has no other options', async () => {
    const token = (await open(echo)).share();
    expect(() => inference.attach(token, { batchSize: 3 } as never)).toThrow(/unknown option 'batchSize'/);
    expect(() => aio.inference.attach(token, { lengthOf: 3 as never })).toThrow(/'lengthOf' must be a function/);
    expect(() => inference.attach(token, null as never)).toThrow(TypeError);
  });

  test('is cancelled and refused by itself, though others use the same numbers for their calls', async () => {
    const model = await held(4);
    const attached = inference.attach(model.share());
    const controller = new AbortController();
    const kept = [model.acall(row(1), { signal: new AbortController().signal })];
    const gone = attached.acall(row(2), { signal: controller.signal });
    kept.push(attached.acall(row(3), { signal: new AbortController().signal }));
    await until(() => model.stats.queueSize === 3);
    controller.abort(new Error('enough'));
    await expect(gone).rejects.toThrow('enough');
    kept.push(model.acall(row(4)), attached.acall(row(5)));
    expect((await Promise.all(kept)).flatMap(values)).toEqual([1, 3, 4, 5]);
    expect(model.stats).toMatchObject({ batchSizes: { 4: 1 }, cancelled: 1 });
  });
});

describe('closing an attached callable', () => {
  test('refuses its later calls, and leaves the others alone', async () => {
    const model = await open(echo);
    const attached = inference.attach(model.share());
    const other = inference.attach(model.share());
    await attached.close();
    await expectRefusal(attached.acall(row(1)), 'BATCHED_CLOSED', /closed in this thread/);
    await expectRefusal(attached.acall({ x: [new Float32Array(1)] }), 'BATCHED_CLOSED', /closed in this thread/);
    expectThrow(() => attached(row(1)), 'BATCHED_CLOSED', /closed in this thread/);
    expectThrow(() => attached.share(), 'BATCHED_CLOSED', /share: the model is closed/);
    expect([attached.health, other.health, model.health].map(({ healthy }) => healthy)).toEqual([false, true, true]);
    expect(values(await other.acall(row(2)))).toEqual([2]);
    expect(values(model(row(3)))).toEqual([3]);
    await attached.close();
    await attached.close({ drain: false });
    expectAccounted(attached.stats);
  });

  test('waits for its own calls, and for no others', async () => {
    const model = await held(3);
    const attached = inference.attach(model.share());
    const idle = inference.attach(model.share());
    const order: string[] = [];
    const log = (name: string) => () => order.push(name);
    const calls = [attached.acall(row(1)).then(log('call')), model.acall(row(2))];
    const closing = attached.close().then(log('closed'));
    await idle.close();
    log('idle closed')();
    calls.push(model.acall(row(3)));
    await Promise.all([...calls, closing]);
    expect(order).toEqual(['idle closed', 'call', 'closed']);
  });

  test('rejects what waits of its own where it does not drain', async () => {
    const model = await held(5);
    const attached = inference.attach(model.share());
    const mine = model.acall(row(1));
    const refused = expectRefusal(attached.acall({ x: [[7], [8], [9]] }), 'BATCHED_CLOSED', /closed in this thread/);
    await until(() => model.stats.queueSize === 4);
    await attached.close({ drain: false });
    await refused;
    expect(model.stats).toMatchObject({ queueSize: 1, closed: 3 });
    const more = [2, 3, 4, 5].map((number) => model.acall(row(number)));
    expect((await Promise.all([mine, ...more])).flatMap(values)).toEqual([1, 2, 3, 4, 5]);
    expectAccounted(model.stats);
  });

  test('a drain can be cut short', async () => {
    const model = await held(9);
    const attached = inference.attach(model.share());
    const refused = expectRefusal(attached.acall(row(1)), 'BATCHED_CLOSED', /closed in this thread/);
    const draining = attached.close();
    await attached.close({ drain: false });
    await Promise.all([draining, refused]);
    expect(model.stats).toMatchObject({ admitted: 1, closed: 1, queueSize: 0 });
  });

  test('can be left to `await using`', async () => {
    const attached = inference.attach((await open(echo)).share());
    await attached[Symbol.asyncDispose]();
    await expectRefusal(attached.acall(row(1)), 'BATCHED_CLOSED', /./);
  });
});

describe('closing the model itself', () => {
  test.each([true, false])('closes it for all, drain: %s', async (drain) => {
    const model = await held(9);
    const attached = inference.attach(model.share());
    const token = model.share();
    const waiting = attached.acall(row(1)).then(values, (error: unknown) => (error as BatchedError).code);
    await until(() => model.stats.queueSize === 1);
    await model.close({ drain });
    expect(await waiting).toEqual(drain ? [1] : 'BATCHED_CLOSED');
    await expectRefusal(attached.acall(row(1)), 'BATCHED_CLOSED', /./);
    expectThrow(() => attached(row(1)), 'BATCHED_CLOSED', /./);
    for (const callable of [model, attached]) expectThrow(() => callable.share(), 'BATCHED_CLOSED', /share/);
    expectThrow(() => inference.attach(token), 'BATCHED_CLOSED', /attach: the model is closed/);
    expect(attached.health.healthy).toBe(false);
    await attached.close();
    expectAccounted(attached.stats);
  });

  test('while an attached callable drains, settles both', async () => {
    const model = await held(9);
    const attached = inference.attach(model.share());
    const call = attached.acall(row(1));
    const closing = attached.close();
    await model.close();
    await closing;
    expect(values(await call)).toEqual([1]);
  });
});

test('many calls of several callables in one thread come back to whoever made them', async () => {
  const model = await open({ kind: 'busy', matmuls: 4, width: 64 }, { lanes: 2 });
  const callables = [model, inference.attach(model.share()), aio.inference.attach(model.share())];
  const calls: Promise<void>[] = [];
  for (let i = 0; i < 600; i++) {
    const numbers = Array.from({ length: 1 + (i % 7) }, (_, at) => i + at);
    const call = callables[i % 3]!.acall({ x: [numbers] });
    calls.push(call.then((output) => expect(values(output)).toEqual(numbers)));
    if (i % 50 === 0) {
      expect(values(callables[i % 2]!({ x: [[i]] }) as never)).toEqual([i]);
      block(1);
    }
  }
  await Promise.all(calls);
  expectAccounted(model.stats);
});
