/** What is published on diagnostics channels; with several threads in test/teardown/diagnostics.test.ts. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterAll, afterEach, describe, expect, jest, test } from '@jest/globals';
import { aio, type BatchMessage, dynamically, inference, MemoryCache, OnnxModel, type RequestMessage } from '../../ts';
import { native, type NativeEngineOptions } from '../../ts/native';
import { ensureModel } from '../../scripts/models/index';
import { errorOf, gated, turn } from '../helpers/gate';
import { closeAll, open, until, values } from '../helpers/model-calls';

const subscriptions: [channel: string, listener: (message: unknown) => void][] = [];

/** The messages of a channel from now on. */
function listen<Message>(channel: string): Message[] {
  const messages: Message[] = [];
  const listener = (message: unknown) => void messages.push(message as Message);
  subscribe(channel, listener);
  subscriptions.push([channel, listener]);
  return messages;
}
const batches = () => listen<BatchMessage>('batched:batch');
const requests = () => listen<RequestMessage>('batched:request');
const stop = () => subscriptions.splice(0).forEach(([channel, listener]) => unsubscribe(channel, listener));

afterEach(stop);
afterAll(closeAll);

const ms: unknown = expect.any(Number);
const ended = (messages: RequestMessage[]) =>
  messages.map(({ rows, outcome, code }) => [rows, outcome, ...(code === undefined ? [] : [code])]);

describe('batches of a function', () => {
  test('have their rows, lengths, reason and times', async () => {
    const messages = batches();
    const upper = dynamically((texts: string[]) => texts.map((text) => text.toUpperCase()), {
      batchSize: 2,
      lengthOf: (text) => text.length,
    });
    await upper.acall(['a', 'bcd', 'ef']);
    const common = { name: 'batched function', kind: 'function', queueMs: ms, durationMs: ms };
    expect(messages.map((message) => ({ ...message, name: 'batched function' }))).toEqual([
      { ...common, rows: 2, tokens: expect.any(Number), paddedTokens: expect.any(Number), reason: 'full' },
      { ...common, rows: 1, tokens: expect.any(Number), paddedTokens: expect.any(Number), reason: 'idle' },
    ]);
    expect(messages.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(6);
    expect(upper.stats.paddingEfficiency).toBe(6 / messages.reduce((sum, { paddedTokens }) => sum + paddedTokens, 0));
    for (const { queueMs, durationMs } of messages) {
      expect(queueMs).toBeGreaterThanOrEqual(0);
      expect(durationMs).toBeGreaterThanOrEqual(0);
    }
  });

  test('of an asynchronous one come when they end, with what it threw', async () => {
    const messages = batches();
    const run = gated((item: number) => -item);
    const negate = aio.dynamically(run, { concurrency: 2, batchSize: 2 });
    const calls = [1, 2, 3].map((item) => negate(item));
    await turn();
    expect(messages).toEqual([]);
    const boom = new Error('boom');
    run.batches[1]!.fail(boom);
    expect(await errorOf(() => calls[2]!)).toBe(boom);
    expect(messages).toMatchObject([{ rows: 1, tokens: 1, paddedTokens: 1, error: boom }]);
    await run.openAll();
    await Promise.all(calls.slice(0, 2));
    expect(messages).toMatchObject([{}, { rows: 2 }]);
    expect(messages[1]).not.toHaveProperty('error');
  });

  test('of a sync call too, and of one whose results are too few', async () => {
    const messages = batches();
    const broken = dynamically((items: number[]) => items.slice(1));
    expect(() => broken([1, 2])).toThrow('2 items and returned 1 results');
    expect(messages).toMatchObject([{ rows: 2, error: { code: 'BATCHED_OUTPUT_MISMATCH' } }]);
  });

  test('over tensors are measured in the length of the rows', async () => {
    const messages = batches();
    const same = inference.dynamically(function same({ x }: Record<string, { data: unknown }>) {
      return x as never;
    });
    await Promise.all([same.acall({ x: [[1, 2, 3]] }), same.acall({ x: [[4]] })]);
    expect(messages).toMatchObject([{ name: 'same', rows: 2, tokens: 4, paddedTokens: 6 }]);
  });

  test('that a cache answers are none', async () => {
    const [ran, calls] = [batches(), requests()];
    const cached = dynamically((items: number[]) => items, { cache: new MemoryCache() });
    await cached.acall([1, 2]);
    await cached.acall([1, 2]);
    expect(ran).toMatchObject([{ rows: 2 }]);
    expect(ended(calls)).toEqual([
      [2, 'ok'],
      [2, 'ok'],
    ]);
  });
});

describe('requests', () => {
  const held = () => {
    const run = gated((item: number) => item);
    return { run, call: aio.dynamically(run, { batchSize: 1, maxQueueRows: 2 }) };
  };

  test('have their name, rows, outcome and time, before their caller goes on', async () => {
    const messages = requests();
    async function echo(items: number[]) {
      return items;
    }
    const call = aio.dynamically(echo);
    await call([1, 2, 3]);
    expect(messages).toEqual([{ name: 'echo', rows: 3, outcome: 'ok', totalMs: ms }]);
    await call.acall(4);
    expect(ended(messages).slice(1)).toEqual([[1, 'ok']]);
  });

  test('by a sync call', () => {
    const messages = requests();
    const boom = new Error('boom');
    const f = dynamically((items: number[]) => {
      if (items.includes(13)) throw boom;
      return items;
    });
    f([1, 2]);
    expect(() => f(13)).toThrow(boom);
    expect(ended(messages)).toEqual([
      [2, 'ok'],
      [1, 'failed'],
    ]);
  });

  test('that end in every other way', async () => {
    const messages = requests();
    const { run, call } = held();
    const abort = new AbortController();
    const first = call(1);
    await turn();
    const aborted = call(2, { signal: abort.signal });
    await turn();
    abort.abort(new Error('no more'));
    expect(await errorOf(() => aborted)).toEqual(new Error('no more'));
    await errorOf(() => call(3, { deadlineMs: 1 }));
    const waiting = [call(4), call(5)];
    await turn();
    await errorOf(() => call(6));
    await errorOf(() => call(7, { deadlineMs: -1 }));
    const closed = call.close({ drain: false });
    await Promise.all(waiting.map((promise) => errorOf(() => promise)));
    run.batches[0]!.fail(new Error('boom'));
    await errorOf(() => first);
    await closed;
    expect(ended(messages)).toEqual([
      [1, 'cancelled'],
      [1, 'timedOut', 'BATCHED_DEADLINE'],
      [1, 'rejected', 'BATCHED_QUEUE_FULL'],
      [1, 'failed'],
      [1, 'closed', 'BATCHED_CLOSED'],
      [1, 'closed', 'BATCHED_CLOSED'],
      [1, 'failed'],
    ]);
  });

  test('whose input is none have no rows', async () => {
    const messages = requests();
    const same = inference.dynamically(({ x }) => x!);
    await errorOf(() => same.acall(3 as never));
    await errorOf(() =>
      same.acall({
        get x(): never {
          throw new Error('a getter');
        },
      }),
    );
    expect(ended(messages)).toEqual([
      [0, 'failed', 'BATCHED_INVALID_INPUT'],
      [0, 'failed'],
    ]);
  });
});

describe('of a model', () => {
  const row = (...numbers: number[]) => ({ x: [numbers] });

  test('batches and requests are published', async () => {
    const model = await open({ kind: 'echo', type: 'float32' }, { lanes: 1, batchSize: 2, timeoutMs: 1e9 });
    const [ran, calls] = [batches(), requests()];
    await Promise.all([model.acall(row(1, 2, 3)), model.acall(row(4))]);
    const name: unknown = expect.stringMatching(/^echo-float32.*\.onnx$/);
    const lane = model.stats.lanes[0]!.name;
    const facts = { rows: 2, tokens: 4, paddedTokens: 6, reason: 'full', queueMs: ms, durationMs: ms };
    expect(ran).toEqual([{ name, kind: 'model', ...facts, lane }]);
    expect(calls).toEqual([
      { name, rows: 1, outcome: 'ok', totalMs: ms },
      { name, rows: 1, outcome: 'ok', totalMs: ms },
    ]);
  });

  test('a sync call is one of both', async () => {
    const model = await open({ kind: 'echo', type: 'float32' });
    const [ran, calls] = [batches(), requests()];
    expect(values(model({ x: [[1], [2]] }))).toEqual([1, 2]);
    expect(ended(calls)).toEqual([[2, 'ok']]);
    await until(() => ran.length > 0);
    expect(ran).toMatchObject([{ rows: 2 }]);
  });

  test('a model from memory has no name of its own', async () => {
    const { readFile } = await import('node:fs/promises');
    const bytes = await readFile(await ensureModel({ kind: 'echo', type: 'float32' }));
    const model = inference.dynamically(await OnnxModel.load(bytes));
    const ran = batches();
    await model.acall(row(1));
    expect(ran).toMatchObject([{ name: 'model' }]);
    await model.close();
  });

  test('every run of a batch that fails is told, with its error', async () => {
    const gather = await open({ kind: 'gather' }, { lanes: 1, batchSize: 2, timeoutMs: 1e9 });
    const [ran, calls] = [batches(), requests()];
    const results = [gather.acall({ ids: [[1]] }), gather.acall({ ids: [[999]] })];
    await errorOf(() => results[1]);
    await results[0];
    const failed = { code: 'BATCHED_BACKEND' };
    expect(ran.map(({ rows, error }) => [rows, error])).toEqual([
      [2, expect.objectContaining(failed)],
      [1, undefined],
      [1, expect.objectContaining(failed)],
    ]);
    expect(ended(calls)).toEqual([
      [1, 'ok'],
      [1, 'failed', 'BATCHED_BACKEND'],
    ]);
  });

  test('calls end in every other way', async () => {
    const model = await open(
      { kind: 'echo', type: 'float32' },
      { lanes: 1, batchSize: 8, timeoutMs: 1e9, maxQueueRows: 2 },
    );
    const messages = requests();
    const abort = new AbortController();
    const aborted = model.acall(row(1), { signal: abort.signal });
    await errorOf(() => model.acall(row(2), { deadlineMs: 1 }));
    abort.abort();
    await errorOf(() => aborted);
    const waiting = model.acall({ x: [[3], [4]] });
    await errorOf(() => model.acall(row(5)));
    await errorOf(() => model.acall({ y: [[1]] }));
    await Promise.all([errorOf(() => waiting), model.close({ drain: false })]);
    expect(ended(messages)).toEqual([
      [1, 'timedOut', 'BATCHED_DEADLINE'],
      [1, 'cancelled'],
      [1, 'rejected', 'BATCHED_QUEUE_FULL'],
      [0, 'failed', 'BATCHED_INVALID_INPUT'],
      [2, 'closed', 'BATCHED_CLOSED'],
    ]);
  });

  test('one that a thread has several times is told of once', async () => {
    const model = await open({ kind: 'echo', type: 'float32' });
    const again = inference.attach(model.share());
    const ran = batches();
    await model.acall(row(1));
    await again.acall(row(2));
    await model.acall(row(3));
    expect(ran).toHaveLength(3);
    expect(new Set(ran.map(({ name }) => name)).size).toBe(1);
    await again.close();
    await model.acall(row(4));
    expect(ran).toHaveLength(4);
  });
});

describe('without subscribers', () => {
  test('a queue and an engine are asked for nothing', async () => {
    const queue = jest.fn();
    const Queue = native.FunctionQueue;
    native.FunctionQueue = class extends Queue {
      override lastBatch() {
        queue();
        return super.lastBatch();
      }
    };
    const f = dynamically((items: number[]) => items);
    native.FunctionQueue = Queue;
    const engine = jest.fn();
    const loaded = await OnnxModel.load(await ensureModel({ kind: 'echo', type: 'float32' }));
    const start = loaded.native.start.bind(loaded.native);
    const startWatched = (options: NativeEngineOptions) => {
      const started = start(options);
      const watch = started.watch.bind(started);
      return Object.defineProperty(started, 'watch', {
        value(on: boolean) {
          engine(on);
          watch(on);
        },
      });
    };
    Object.defineProperty(loaded.native, 'start', { value: startWatched });
    const model = inference.dynamically(loaded);
    const asked = [queue, engine];
    await f.acall(1);
    await model.acall({ x: [[1]] });
    const messages = batches();
    await f.acall(2);
    await model.acall({ x: [[2]] });
    expect(asked.map(({ mock }) => mock.calls)).toEqual([[[]], [[true]]]);
    expect(messages).toHaveLength(2);
    stop();
    await f.acall(3);
    await model.acall({ x: [[3]] });
    await model.acall({ x: [[4]] });
    expect(asked.map(({ mock }) => mock.calls)).toEqual([[[]], [[true], [false]]]);
    expect(messages).toHaveLength(2);
    await model.close();
  });

  test('who comes while a batch runs hears of the next one', async () => {
    const run = gated((item: number) => item);
    const f = aio.dynamically(run);
    const first = f(1);
    await turn();
    const messages = batches();
    run.batches[0]!.open();
    await first;
    expect(messages).toEqual([]);
    await run.openAll();
    await f(2);
    expect(messages).toMatchObject([{ rows: 1 }]);
  });
});
