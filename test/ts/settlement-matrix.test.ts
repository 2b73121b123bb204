/**
 * Every way in which a call can end, for sync calls and promises, of functions and models: each call settles exactly
 * once and rightly, every row is accounted for, and whatever is still open serves the next call.
 *
 * A cell without a test says why it cannot be. How the native engine ends calls is in test/native/engine_*_test.cc.
 */
import { afterAll, afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { encodeModel, ensureModel } from '../../scripts/models/index';
import { GraphBuilder } from '../../scripts/models/onnx-builder';
import {
  type BatchedModel,
  type BatchStats,
  type CallOptions,
  dynamically,
  type Features,
  inference,
  type LoadOptions,
  OnnxModel,
} from '../../ts';
import type * as Deferred from '../../ts/deferred';
import { NativeCode } from '../../ts/errors';
import { ItemCall } from '../../ts/function/item_call';
import { decode, settleSlot, takeSlot } from '../../ts/model/slots';
import { runProgram } from '../helpers/child-program';
import { errorOf, expectAccounted, gated, turn } from '../helpers/gate';
import { closeAll, floats, int64, open, until, values } from '../helpers/model-calls';

// Both batchers make their promises with `deferred`: here how often each was settled, which a promise does not tell.
const settlements: number[] = [];
jest.mock('../../ts/deferred', () => {
  const real = jest.requireActual<typeof Deferred>('../../ts/deferred');
  /** Of the promise that was made last. */
  const counted = <V extends (value: never) => void>(settle: V): V => {
    const call = settlements.length - 1;
    return ((value: never) => {
      settlements[call]!++;
      settle(value);
    }) as V;
  };
  return {
    deferred: () => {
      settlements.push(0);
      return real.deferred();
    },
    takeResolve: () => counted(real.takeResolve()),
    takeReject: () => counted(real.takeReject()),
  };
});

beforeEach(() => void settlements.splice(0));
afterEach(async () => {
  for (let i = 0; i < 3; i++) await turn(); // for a second settlement to show
  expect(settlements).toEqual(settlements.map(() => 1));
});
afterAll(closeAll);

/** The test of a cell, or why there is none. */
type Cell = (() => Promise<void>) | string;
interface Row {
  function: { acall: Cell; sync: Cell };
  model: { acall: Cell; sync: Cell };
}

const failure = new Error('the function’s own error');
const reason = new Error('the signal’s own reason');

const notAFunction = 'a model is no function; that a run of it fails is the case below';
const notAModel = 'a function is no model; that it throws is a case above';
const oneThread = 'the call holds the only thread that could do it meanwhile';
const noOptions = 'a sync call of a function takes the items alone, and does not wait';
const neverQueued = 'a sync call runs its own rows: it does not wait in a queue';
const nothingStaged = 'the rows of a function are bound when they run, not before';

// --- What a cell is made of ------------------------------------------------------------------------------------------

interface Ending {
  readonly value?: unknown;
  /** Of a BatchedError. */
  readonly code?: string;
  /** The very error. */
  readonly error?: unknown;
  readonly type?: typeof TypeError;
}

async function expectEnding(call: () => unknown, { value, code, error, type }: Ending): Promise<void> {
  if (value !== undefined) {
    const result = await call();
    expect(typeof result === 'object' && !Array.isArray(result) ? values(result as never) : result).toEqual(value);
    return;
  }
  const found = await errorOf(call);
  if (code !== undefined) expect(found).toMatchObject({ name: 'BatchedError', code });
  else if (type !== undefined) expect(found).toBeInstanceOf(type);
  else expect(found).toBe(error);
}

/** Beside the one under test, calls that must end well. */
interface Closable {
  readonly stats: BatchStats;
  close(options?: { drain?: boolean }): Promise<void>;
}

/** Everything is accounted for, the callable serves the next calls, and is then closed. */
async function expectServes(callable: Closable, next: () => Promise<unknown>): Promise<void> {
  await until(() => callable.stats.queueSize === 0);
  expectAccounted(callable.stats);
  await next();
  await callable.close();
  expectAccounted(callable.stats);
}

async function expectClosed(callable: Closable, next: () => Promise<unknown>): Promise<void> {
  await callable.close();
  expect(await errorOf(next)).toMatchObject({ code: 'BATCHED_CLOSED' });
  expectAccounted(callable.stats);
}

const double = (item: number): number => 2 * item;

/** A function whose first batch goes wrong. */
function spoilt(first: (items: number[]) => unknown) {
  let calls = 0;
  return dynamically((items: number[]) => (calls++ === 0 ? (first(items) as number[]) : items.map(double)));
}

/** The first batch of a function goes wrong: for the promises of two calls, and for a sync call. */
function functionFails(first: (items: number[]) => unknown, ending: Ending): Row['function'] {
  return {
    acall: async () => {
      const callable = spoilt(first);
      const calls = [callable.acall(1), callable.acall([2, 3])];
      await Promise.all(calls.map((call) => expectEnding(() => call, ending)));
      expect(callable.stats).toMatchObject({ admitted: 3, failed: 3 });
      await expectServes(callable, async () => expect(await callable.acall(4)).toBe(8));
    },
    sync: async () => {
      const callable = spoilt(first);
      await expectEnding(() => callable([1, 2]), ending);
      expect(callable.stats).toMatchObject({ admitted: 2, failed: 2 });
      await expectServes(callable, async () => expect(callable(4)).toBe(8));
    },
  };
}

/** An async function that holds its batches; one runs, of one row. */
async function running(options = {}) {
  const run = gated(double);
  const callable = dynamically(run, { batchSize: 2, ...options });
  const first = callable.acall(1);
  await turn();
  expect(run.batches).toHaveLength(1);
  const finish = async (): Promise<void> => {
    await run.openAll();
    expect(await callable.acall(5)).toBe(10);
  };
  return { run, callable, first, finish };
}

const input = (...rows: number[]) => ({ x: floats([rows.length, 1], rows) });

/** A model that holds calls back until three rows wait. */
const holding = (options: LoadOptions = {}): Promise<BatchedModel> =>
  open({ kind: 'echo', type: 'float32' }, { batchSize: 3, timeoutMs: 600_000, lanes: 1, ...options });

/** A sync call with the options of an acall, which the types leave out: nobody could abort it meanwhile. */
const sync = (model: BatchedModel, features: Features, options: CallOptions): unknown =>
  (model as unknown as (features: Features, options: CallOptions) => unknown)(features, options);

const fillsBatch = (model: BatchedModel) => async (): Promise<void> => {
  const results = await Promise.all([1, 2, 3].map((n) => model.acall(input(n))));
  expect(results.map((y) => values(y))).toEqual([[1], [2], [3]]);
};

/** A run takes a tenth of a second. */
const slow = (): Promise<BatchedModel> =>
  open({ kind: 'busy', matmuls: 96, width: 512, rows: 256 }, { lanes: 1, intraOpThreads: 1, batchSize: 1 });

/** A slow model of one lane and one row a batch, and its calls: the first runs, the second is staged, others wait. */
async function busy(count: number) {
  const model = await slow();
  const controllers = Array.from({ length: count }, () => new AbortController());
  const calls = controllers.map(({ signal }, n) => model.acall(input(n), { signal }));
  await until(() => model.stats.queueSize <= count - 2);
  const others = (but: number): Promise<void> =>
    Promise.all(calls.filter((_, n) => n !== but)).then((results) =>
      expect(results.map((y) => values(y))).toEqual(calls.map((_, n) => [n]).filter((_, n) => n !== but)),
    );
  const serves = async (): Promise<void> => expect(values(await model.acall(input(7)))).toEqual([7]);
  return { model, controllers, calls, others, serves };
}

/** Call number `at` of three is aborted: 0 runs, 1 is staged, 2 waits. Its place may move on meanwhile; its end may not. */
const abortBusy = (at: number) => async (): Promise<void> => {
  const { model, controllers, calls, others, serves } = await busy(3);
  controllers[at]!.abort(reason);
  await expectEnding(() => calls[at], { error: reason });
  await others(at);
  await expectServes(model, serves);
};

/** ids [batch, 1] -> the rows whose id is positive: with another, too few. */
function dropsRows(): Uint8Array {
  const graph = new GraphBuilder('drops', 'the rows of x whose element is positive');
  graph.input('x', 'float32', ['batch', 1]);
  const flat = graph.node('Squeeze', 'flat', ['x', graph.int64([1])]);
  const positive = graph.node('Greater', 'positive', [flat, graph.scalar(0, 'float32')]);
  graph.node('Compress', 'y', ['x', positive], { axis: 0 });
  graph.output('y', 'float32', ['batch', 1]);
  return encodeModel(graph.build());
}

/** test/teardown/programs/ending.mjs, which prints what it found. */
const inChild = (how: 'terminate' | 'exit', what: 'function' | 'model', kind: 'acall' | 'sync') => async () => {
  const path = await ensureModel({ kind: 'busy', matmuls: 64, width: 512, rows: 64 });
  const ended = await runProgram('ending.mjs', [how, what, kind, path]);
  expect(ended).toMatchObject({ code: how === 'exit' ? 3 : 0, signal: null, stderr: '' });
  expect(ended.stdout).toBe(how === 'exit' ? 'settled once at most\n' : 'exit 1\nthe main thread goes on\n');
};
const inChildren = (how: 'terminate' | 'exit'): Row => ({
  function: { acall: inChild(how, 'function', 'acall'), sync: inChild(how, 'function', 'sync') },
  model: { acall: inChild(how, 'model', 'acall'), sync: inChild(how, 'model', 'sync') },
});

// --- The table -------------------------------------------------------------------------------------------------------

const matrix: Record<string, Row> = {
  'a result': {
    function: {
      acall: async () => {
        const callable = dynamically((items: number[]) => items.map(double));
        const calls = [callable.acall(1), callable.acall([2, 3])];
        expect(await Promise.all(calls)).toEqual([2, [4, 6]]);
        await expectServes(callable, async () => expect(await callable.acall(4)).toBe(8));
      },
      sync: async () => {
        const callable = dynamically((items: number[]) => items.map(double));
        await expectEnding(() => callable([1, 2]), { value: [2, 4] });
        await expectServes(callable, async () => expect(callable(4)).toBe(8));
      },
    },
    model: {
      acall: async () => {
        const model = await open({ kind: 'echo', type: 'float32' });
        await expectEnding(() => model.acall(input(1, 2)), { value: [1, 2] });
        await expectServes(model, async () => expect(values(await model.acall(input(3)))).toEqual([3]));
      },
      sync: async () => {
        const model = await open({ kind: 'echo', type: 'float32' });
        await expectEnding(() => model(input(1, 2)), { value: [1, 2] });
        await expectServes(model, async () => expect(values(model(input(3)))).toEqual([3]));
      },
    },
  },
  'the function throws': {
    function: functionFails(
      () => {
        throw failure;
      },
      { error: failure },
    ),
    model: { acall: notAFunction, sync: notAFunction },
  },
  'the function rejects': {
    function: {
      acall: functionFails(() => Promise.reject(failure), { error: failure }).acall,
      // It is refused as asynchronous; its rejection later reaches nobody.
      sync: async () => {
        const callable = spoilt(() => Promise.reject(failure));
        await expectEnding(() => callable(1), { type: TypeError });
        await turn();
        expect(callable.stats).toMatchObject({ admitted: 1, cancelled: 1 });
        await expectServes(callable, async () => expect(callable(4)).toBe(8));
      },
    },
    model: { acall: notAFunction, sync: notAFunction },
  },
  'too few results': {
    function: functionFails((items) => items.slice(1), { code: 'BATCHED_OUTPUT_MISMATCH' }),
    model: {
      acall: async () => {
        const model = inference.dynamically(await OnnxModel.load(dropsRows(), { warmup: false }), {
          batchSize: 3,
          timeoutMs: 600_000,
        });
        // Whose row is missing cannot be told, so it is an error for all of the batch.
        const calls = [1, -1, 1].map((n) => model.acall(input(n)));
        await Promise.all(calls.map((call) => expectEnding(() => call, { code: 'BATCHED_OUTPUT_MISMATCH' })));
        expect(model.stats).toMatchObject({ admitted: 3, failed: 3 });
        await expectServes(model, fillsBatch(model));
      },
      sync: async () => {
        const model = inference.dynamically(await OnnxModel.load(dropsRows(), { warmup: false }), { batchSize: 4 });
        await expectEnding(() => model(input(-1)), { code: 'BATCHED_OUTPUT_MISMATCH' });
        await expectServes(model, async () => expect(values(model(input(3)))).toEqual([3]));
      },
    },
  },
  'too many results': {
    function: functionFails((items) => [...items, 0], { code: 'BATCHED_OUTPUT_MISMATCH' }),
    model: { acall: 'the engine sees a number of rows that is not its own, as with too few', sync: 'the same' },
  },
  'a result that is no array': {
    function: functionFails(() => 'results', { code: 'BATCHED_OUTPUT_MISMATCH' }),
    model: { acall: 'ONNX Runtime gives tensors', sync: 'ONNX Runtime gives tensors' },
  },
  'a native run that fails': {
    function: { acall: notAModel, sync: notAModel },
    model: {
      acall: async () => {
        const model = await open({ kind: 'gather' });
        const [first, struck, last] = [2, 99, 3].map((id) => model.acall({ ids: int64([1, 1], [id]) }));
        await expectEnding(() => struck, { code: 'BATCHED_BACKEND' });
        await expectEnding(() => first, { value: [20, 21, 22, 23] }); // those beside it do not suffer
        await expectEnding(() => last, { value: [30, 31, 32, 33] });
        expect(model.stats).toMatchObject({ admitted: 3, failed: 1 });
        await expectServes(model, () => model.acall({ ids: [[1]] }));
      },
      sync: async () => {
        const model = await open({ kind: 'gather' });
        await expectEnding(() => model({ ids: [[99]] }), { code: 'BATCHED_BACKEND' });
        await expectServes(model, async () => expect(values(model({ ids: [[1]] }))).toEqual([10, 11, 12, 13]));
      },
    },
  },
  'a deadline that has passed at the call': {
    function: {
      acall: async () => {
        const { callable, first, finish } = await running();
        await expectEnding(() => callable.acall(2, { deadlineMs: 0 }), { code: 'BATCHED_DEADLINE' });
        await finish();
        expect(await first).toBe(2);
        await expectServes(callable, async () => expect(await callable.acall(4)).toBe(8));
      },
      // It has no deadline, but runs what waits: not that whose deadline has passed.
      sync: async () => {
        const ran: number[] = [];
        const callable = dynamically((items: number[]) => (ran.push(...items), items.map(double)));
        const late = callable.acall(1, { deadlineMs: 0 });
        await expectEnding(() => callable(2), { value: 4 });
        await expectEnding(() => late, { code: 'BATCHED_DEADLINE' });
        expect(ran).toEqual([2]);
        await expectServes(callable, async () => expect(callable(4)).toBe(8));
      },
    },
    model: {
      acall: async () => {
        const model = await holding();
        await expectEnding(() => model.acall(input(1), { deadlineMs: 0 }), { code: 'BATCHED_DEADLINE' });
        expect(model.stats.admitted).toBe(0);
        await expectServes(model, fillsBatch(model));
      },
      sync: async () => {
        const model = await holding();
        await expectEnding(() => sync(model, input(1), { deadlineMs: 0 }), { code: 'BATCHED_DEADLINE' });
        await expectServes(model, fillsBatch(model));
      },
    },
  },
  'a deadline while it waits': {
    function: {
      acall: async () => {
        const { callable, first, finish } = await running();
        await expectEnding(() => callable.acall([2, 3], { deadlineMs: 5 }), { code: 'BATCHED_DEADLINE' });
        expect(callable.stats).toMatchObject({ timedOut: 2, queueSize: 0 });
        await finish();
        expect(await first).toBe(2);
        await expectServes(callable, async () => expect(await callable.acall(4)).toBe(8));
      },
      sync: neverQueued,
    },
    model: {
      acall: async () => {
        const model = await holding();
        await expectEnding(() => model.acall(input(1, 2), { deadlineMs: 5 }), { code: 'BATCHED_DEADLINE' });
        expect(model.stats.timedOut).toBe(model.stats.admitted); // 0 where the tick took longer than that
        await expectServes(model, fillsBatch(model));
      },
      sync: async () => {
        const model = await holding();
        await expectEnding(() => sync(model, input(1, 2), { deadlineMs: 5 }), { code: 'BATCHED_DEADLINE' });
        expect(model.stats.timedOut).toBe(model.stats.admitted); // 0 where the tick took longer than that
        await expectServes(model, fillsBatch(model));
      },
    },
  },
  'a deadline while it runs': {
    function: {
      acall: async () => {
        const { run, callable, first, finish } = await running({ concurrency: 2 });
        const late = callable.acall([2, 3], { deadlineMs: 100 });
        await turn();
        expect(run.batches).toHaveLength(2);
        await expectEnding(() => late, { code: 'BATCHED_DEADLINE' });
        await finish();
        expect(await first).toBe(2);
        await expectServes(callable, async () => expect(await callable.acall(4)).toBe(8));
      },
      sync: noOptions,
    },
    model: {
      acall: async () => {
        const model = await slow();
        await expectEnding(() => model.acall(input(1), { deadlineMs: 5 }), { code: 'BATCHED_DEADLINE' });
        await expectServes(model, async () => expect(values(await model.acall(input(3)))).toEqual([3]));
      },
      sync: async () => {
        const model = await slow();
        await expectEnding(() => sync(model, input(1), { deadlineMs: 5 }), { code: 'BATCHED_DEADLINE' });
        await expectServes(model, async () => expect(values(model(input(3)))).toEqual([3]));
      },
    },
  },
  'an abort before': {
    function: {
      acall: async () => {
        const callable = dynamically((items: number[]) => items.map(double));
        await expectEnding(() => callable.acall(1, { signal: AbortSignal.abort(reason) }), { error: reason });
        expect(callable.stats.admitted).toBe(0);
        await expectServes(callable, async () => expect(await callable.acall(4)).toBe(8));
      },
      sync: noOptions,
    },
    model: {
      acall: async () => {
        const model = await holding();
        await expectEnding(() => model.acall(input(1), { signal: AbortSignal.abort(reason) }), { error: reason });
        expect(model.stats.admitted).toBe(0);
        await expectServes(model, fillsBatch(model));
      },
      sync: async () => {
        const model = await holding();
        await expectEnding(() => sync(model, input(1), { signal: AbortSignal.abort(reason) }), { error: reason });
        expect(model.stats.admitted).toBe(0);
        await expectServes(model, fillsBatch(model));
      },
    },
  },
  'an abort in the tick of the call': {
    function: {
      acall: async () => {
        const callable = dynamically((items: number[]) => items.map(double));
        const controller = new AbortController();
        const calls = [callable.acall(1), callable.acall([2, 3], { signal: controller.signal }), callable.acall(4)];
        controller.abort(reason);
        await expectEnding(() => calls[1], { error: reason });
        expect(await Promise.all([calls[0], calls[2]])).toEqual([2, 8]);
        await expectServes(callable, async () => expect(await callable.acall(4)).toBe(8));
      },
      sync: noOptions,
    },
    model: {
      acall: async () => {
        const model = await holding();
        const controller = new AbortController();
        const call = model.acall(input(1), { signal: controller.signal });
        controller.abort(reason);
        await expectEnding(() => call, { error: reason });
        await expectServes(model, fillsBatch(model));
      },
      sync: oneThread,
    },
  },
  'an abort while it waits': {
    function: {
      acall: async () => {
        const { callable, first, finish } = await running();
        const controller = new AbortController();
        const call = callable.acall([2, 3], { signal: controller.signal });
        await turn();
        expect(callable.stats.queueSize).toBe(2);
        controller.abort(reason);
        await expectEnding(() => call, { error: reason });
        expect(callable.stats).toMatchObject({ queueSize: 0, cancelled: 2 });
        await finish();
        expect(await first).toBe(2);
        await expectServes(callable, async () => expect(await callable.acall(4)).toBe(8));
      },
      sync: neverQueued,
    },
    model: { acall: abortBusy(2), sync: oneThread },
  },
  'an abort while it is staged': {
    function: { acall: nothingStaged, sync: nothingStaged },
    model: { acall: abortBusy(1), sync: oneThread },
  },
  'an abort while it runs': {
    function: {
      acall: async () => {
        const { run, callable, first, finish } = await running({ concurrency: 2 });
        const controller = new AbortController();
        const call = callable.acall([2, 3], { signal: controller.signal });
        await turn();
        expect(run.batches).toHaveLength(2);
        controller.abort(reason);
        await expectEnding(() => call, { error: reason });
        await finish();
        expect(await first).toBe(2);
        await expectServes(callable, async () => expect(await callable.acall(4)).toBe(8));
      },
      sync: noOptions,
    },
    model: { acall: abortBusy(0), sync: oneThread },
  },
  'an abort after the result': {
    function: {
      acall: async () => {
        const callable = dynamically((items: number[]) => items.map(double));
        const controller = new AbortController();
        await expectEnding(() => callable.acall([1, 2], { signal: controller.signal }), { value: [2, 4] });
        controller.abort(reason);
        expect(callable.stats).toMatchObject({ totalProcessed: 2, cancelled: 0 });
        await expectServes(callable, async () => expect(await callable.acall(4)).toBe(8));
      },
      sync: noOptions,
    },
    model: {
      acall: async () => {
        const model = await open({ kind: 'echo', type: 'float32' });
        const controller = new AbortController();
        await expectEnding(() => model.acall(input(1), { signal: controller.signal }), { value: [1] });
        controller.abort(reason);
        expect(model.stats).toMatchObject({ totalProcessed: 1, cancelled: 0 });
        await expectServes(model, async () => expect(values(await model.acall(input(3)))).toEqual([3]));
      },
      sync: async () => {
        const model = await open({ kind: 'echo', type: 'float32' });
        const controller = new AbortController();
        await expectEnding(() => sync(model, input(1), { signal: controller.signal }), { value: [1] });
        controller.abort(reason);
        await expectServes(model, async () => expect(values(model(input(3)))).toEqual([3]));
      },
    },
  },
  'close with drain': {
    function: {
      acall: async () => {
        const { run, callable, first } = await running();
        const waiting = callable.acall([2, 3]);
        const closed = callable.close();
        await run.openAll();
        await closed;
        await expectEnding(() => first, { value: 2 });
        await expectEnding(() => waiting, { value: [4, 6] });
        await expectClosed(callable, () => callable.acall(1));
      },
      sync: async () => {
        const callable = dynamically(
          (items: number[]) => {
            void callable.close();
            return items.map(double);
          },
          { batchSize: 1 },
        );
        await expectEnding(() => callable([1, 2, 3]), { value: [2, 4, 6] });
        await expectClosed(callable, () => callable.acall(1));
      },
    },
    model: {
      acall: async () => {
        const model = await holding();
        const waiting = model.acall(input(1, 2));
        await model.close();
        await expectEnding(() => waiting, { value: [1, 2] });
        await expectClosed(model, () => model.acall(input(1)));
      },
      sync: oneThread,
    },
  },
  'close without drain': {
    function: {
      acall: async () => {
        const { run, callable, first } = await running();
        const waiting = [callable.acall([2, 3]), callable.acall(4)];
        const closed = callable.close({ drain: false });
        await Promise.all(waiting.map((call) => expectEnding(() => call, { code: 'BATCHED_CLOSED' })));
        await run.openAll(); // what runs, runs
        await expectEnding(() => first, { value: 2 });
        await closed;
        expect(callable.stats).toMatchObject({ closed: 3, totalProcessed: 1 });
        await expectClosed(callable, () => callable.acall(1));
      },
      sync: async () => {
        const callable = dynamically(
          (items: number[]) => {
            void callable.close({ drain: false });
            return items.map(double);
          },
          { batchSize: 1 },
        );
        await expectEnding(() => callable([1, 2, 3]), { code: 'BATCHED_CLOSED' });
        await expectClosed(callable, () => callable.acall(1));
      },
    },
    model: {
      acall: async () => {
        const { model, calls } = await busy(5);
        const closed = model.close({ drain: false });
        const settled = await Promise.allSettled(calls);
        await closed;
        for (const [n, one] of settled.entries()) {
          if (one.status === 'fulfilled') expect(values(one.value)).toEqual([n]);
          else expect(one.reason).toMatchObject({ code: 'BATCHED_CLOSED' });
        }
        expect(settled.at(-1)).toHaveProperty('status', 'rejected');
        await expectClosed(model, () => model.acall(input(1)));
      },
      sync: oneThread,
    },
  },
  'a call after close': {
    function: {
      acall: async () => {
        const callable = dynamically((items: number[]) => items.map(double));
        const closed = callable.close();
        await expectEnding(() => callable.acall(1), { code: 'BATCHED_CLOSED' });
        await closed;
        await expectClosed(callable, () => callable.acall([1]));
      },
      sync: async () => {
        const callable = dynamically((items: number[]) => items.map(double));
        const closed = callable.close();
        await expectEnding(() => callable(1), { code: 'BATCHED_CLOSED' });
        await closed;
        await expectClosed(callable, async () => callable([1]));
      },
    },
    model: {
      acall: async () => {
        const model = await holding();
        const closed = model.close();
        await expectEnding(() => model.acall(input(1)), { code: 'BATCHED_CLOSED' });
        await closed;
        await expectClosed(model, () => model.acall(input(1)));
      },
      sync: async () => {
        const model = await holding();
        const closed = model.close();
        await expectEnding(() => model(input(1)), { code: 'BATCHED_CLOSED' });
        await closed;
        await expectClosed(model, async () => model(input(1)));
      },
    },
  },
  'a full queue': {
    function: {
      acall: async () => {
        const { callable, first, finish } = await running({ maxQueueRows: 2 });
        const waiting = callable.acall([2, 3]);
        await expectEnding(() => callable.acall(4), { code: 'BATCHED_QUEUE_FULL' });
        expect(callable.stats).toMatchObject({ rejected: 1, queueSize: 2 });
        await finish();
        expect(await Promise.all([first, waiting])).toEqual([2, [4, 6]]);
        await expectServes(callable, async () => expect(await callable.acall(4)).toBe(8));
      },
      sync: async () => {
        const callable = dynamically((items: number[]) => items.map(double), { maxQueueRows: 2 });
        const waiting = callable.acall([2, 3]);
        await expectEnding(() => callable(4), { code: 'BATCHED_QUEUE_FULL' });
        expect(await waiting).toEqual([4, 6]);
        await expectServes(callable, async () => expect(callable(4)).toBe(8));
      },
    },
    model: {
      acall: async () => {
        const model = await holding({ maxQueueRows: 2 });
        const waiting = model.acall(input(1, 2));
        await expectEnding(() => model.acall(input(3)), { code: 'BATCHED_QUEUE_FULL' });
        const controller = new AbortController();
        await expectEnding(() => model.acall(input(3), { signal: controller.signal }), { code: 'BATCHED_QUEUE_FULL' });
        expect(model.stats).toMatchObject({ rejected: 2, queueSize: 2 });
        await model.close();
        await expectEnding(() => waiting, { value: [1, 2] });
        await expectClosed(model, () => model.acall(input(1)));
      },
      sync: async () => {
        const model = await holding({ maxQueueRows: 2 });
        const waiting = model.acall(input(1, 2));
        await expectEnding(() => model(input(3)), { code: 'BATCHED_QUEUE_FULL' });
        await model.close();
        await expectEnding(() => waiting, { value: [1, 2] });
        await expectClosed(model, () => model.acall(input(1)));
      },
    },
  },
  'bad input': {
    function: {
      acall: async () => {
        const callable = dynamically((items: string[]) => items, { maxItemLength: 2 });
        const good = callable.acall('ab');
        await expectEnding(() => callable.acall(['a', 'abc']), { code: 'BATCHED_INVALID_INPUT' });
        expect(await good).toBe('ab');
        expect(callable.stats.admitted).toBe(1);
        await expectServes(callable, async () => expect(await callable.acall('c')).toBe('c'));
      },
      sync: async () => {
        const callable = dynamically((items: string[]) => items, { maxItemLength: 2 });
        await expectEnding(() => callable(['a', 'abc']), { code: 'BATCHED_INVALID_INPUT' });
        await expectServes(callable, async () => expect(callable('c')).toBe('c'));
      },
    },
    model: {
      acall: async () => {
        const model = await holding({ maxItemLength: 2 });
        const good = model.acall(input(1, 2, 3));
        const bad = { x: floats([1, 3], [1, 2, 3]) }; // refused by TypeScript is the first, by native code the second
        await expectEnding(() => model.acall({ y: bad.x }), { code: 'BATCHED_INVALID_INPUT' });
        await expectEnding(() => model.acall(bad), { code: 'BATCHED_INVALID_INPUT' });
        await expectEnding(() => good, { value: [1, 2, 3] });
        expect(model.stats.admitted).toBe(3);
        await expectServes(model, fillsBatch(model));
      },
      sync: async () => {
        const model = await holding({ maxItemLength: 2 });
        await expectEnding(() => model({ x: floats([1, 3], [1, 2, 3]) }), { code: 'BATCHED_INVALID_INPUT' });
        await expectServes(model, fillsBatch(model));
      },
    },
  },
  'its worker is terminated': inChildren('terminate'),
  'the process exits': inChildren('exit'),
};

describe.each(Object.entries(matrix))('%s', (_, row) => {
  const cells = [
    ['of a function, as a promise', row.function.acall],
    ['of a function, in a sync call', row.function.sync],
    ['of a model, as a promise', row.model.acall],
    ['of a model, in a sync call', row.model.sync],
  ] as const;
  for (const [name, cell] of cells) if (typeof cell !== 'string') test(name, cell);
});

test('every cell is a test or says why it is none', () => {
  const cells = Object.values(matrix).flatMap((row) => [...Object.values(row.function), ...Object.values(row.model)]);
  expect(cells).toHaveLength(4 * Object.keys(matrix).length);
  for (const cell of cells) expect(typeof cell === 'function' || /\w+ \w+/.test(cell)).toBe(true);
});

describe('a second settlement is an internal error, not silence', () => {
  test('of a call of a function', () => {
    const settled: unknown[] = [];
    const keep = (value: unknown): void => void settled.push(value);
    const call = new ItemCall<number, number>(1, 0, undefined, undefined, keep, keep);
    call.take(0, 2);
    expect(() => call.take(0, 3)).toThrow('settled twice');
    expect(() => call.fail(failure)).toThrow('settled twice');
    expect(settled).toEqual([2]);
  });

  test('of a slot: the other calls of the delivery settle all the same, and the slot is not free twice', () => {
    const uncaught: (() => void)[] = [];
    const { queueMicrotask: real } = globalThis;
    globalThis.queueMicrotask = (task) => void uncaught.push(task);
    try {
      const settled: string[] = [];
      const plan = { names: ['y'], types: [0] };
      const pending = (name: string) =>
        takeSlot({ plan, succeed: ([part]) => settled.push(`${name} ${part!.data[0]}`), fail: () => settled.push(`${name} failed`) }); // prettier-ignore
      const [a, b, c] = ['a', 'b', 'c'].map(pending) as [number, number, number];
      const part = [0, 1, 1]; // at 0, of rank 1, with 1 element
      const numbers = Float64Array.of(a, 0, 1, ...part, a, 0, 1, ...part, a, NativeCode.backend, 0, b, 0, 1, ...part);
      const plans = (slot: number) => (slot === a || slot === b ? plan : plan);
      decode(numbers, new Float32Array([7]).buffer, ['again'], plans, settleSlot);
      expect(settled).toEqual(['a 7', 'b 7']);
      expect(uncaught).toHaveLength(2);
      for (const task of uncaught) expect(task).toThrow('settled that is not pending');
      const [d, e] = [pending('d'), pending('e')];
      expect(new Set([c, d, e]).size).toBe(3);
      for (const slot of [c, d, e]) settleSlot(slot, NativeCode.backend, '', []);
    } finally {
      globalThis.queueMicrotask = real;
    }
  });
});
