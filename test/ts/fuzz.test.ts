/**
 * Whatever callers hand over as options, call options and features: it works, or it is refused with a TypeError, a
 * RangeError or a BatchedError. Nothing crashes, and nothing is left unsettled.
 */
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { aio, type BatchedControls, dynamically, inference } from '../../ts';
import { ensureModel } from '../../scripts/models/index';
import { closeAll, open } from '../helpers/model-calls';

/** A run that takes longer has hung. */
const settings = { seed: 20_260_101, timeout: 5_000 };
const any = <T>(value: T): any => value; // eslint-disable-line @typescript-eslint/no-explicit-any

const refusals = ['TypeError', 'RangeError', 'BatchedError'];

/** By name: native code's errors are of another realm in jest. */
function expectRefusal(error: unknown): void {
  const { name, message } = error as Error;
  if (!refusals.includes(name)) throw error;
  expect(message).not.toBe('');
}

/** What the work gives, or undefined where it was refused. */
async function orRefused<T>(work: () => T): Promise<Awaited<T> | undefined> {
  try {
    return await work();
  } catch (error) {
    expectRefusal(error);
    return undefined;
  }
}

const weird = fc.oneof(
  fc.anything({
    withBigInt: true,
    withBoxedValues: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
  }),
  fc.constantFrom<unknown>(NaN, Infinity, -0, 2 ** 31, 2 ** 32, 2 ** 53, -1, 1e-9, Symbol('weird'), () => 1, [], {}),
);
const count = fc.oneof(fc.integer({ min: 1, max: 8 }), fc.constantFrom(2 ** 31, 2 ** 53 - 1));
const finite = fc.double({ noNaN: true, noDefaultInfinity: true });
const names = fc.constantFrom('x', 'y', '', 'attention_mask', 'constructor', '__proto__');
const function_ = fc.func(weird);

type Arbitraries = Record<string, fc.Arbitrary<unknown>>;

/** Some of these, mostly as they should be: in every third one of them is something weird, or it is weird as a whole. */
function mostlyRight(values: Arbitraries): fc.Arbitrary<unknown> {
  const right = fc.record(values, { requiredKeys: [] });
  const wrong = fc.tuple(right, fc.constantFrom(...Object.keys(values)), weird);
  return fc.oneof(
    { weight: 6, arbitrary: right },
    { weight: 3, arbitrary: wrong.map(([given, name, value]) => ({ ...given, [name]: value })) },
    { weight: 1, arbitrary: weird },
  );
}

const optionValues: Arbitraries = {
  batchSize: count,
  timeoutMs: fc.constantFrom(0, 1, 1e9),
  smallBatchThreshold: fc.oneof(count, finite),
  priorityStrategy: fc.constantFrom('none', 'length', 'priority'),
  maxBatchTokens: count,
  maxQueueRows: count,
  maxItemLength: count,
  concurrency: count,
  lengthOf: function_,
  cacheKey: function_,
  cache: fc.record({ get: function_, set: function_ }),
};
const tensorOptionValues: Arbitraries = {
  ...optionValues,
  padTokens: fc.dictionary(fc.constant('x'), fc.integer({ min: 0, max: 1 })),
  paddingSide: fc.constantFrom('right', 'left', 'none'),
  spreadKwargs: fc.boolean(),
};
const modelOptionValues: Arbitraries = {
  ...optionValues,
  padTokens: tensorOptionValues['padTokens']!,
  paddingSide: tensorOptionValues['paddingSide']!,
  executionProviders: fc.constant(['cpu']),
  lanes: fc.integer({ min: 1, max: 2 }),
  intraOpThreads: fc.integer({ min: 1, max: 2 }),
  outputs: fc.constantFrom([], ['y']),
  batchAxis: fc.constantFrom({}, { x: 0 }, { x: 0, y: 0 }, { x: 1, y: 1 }),
  shared: fc.constant([]),
  warmup: fc.boolean(),
  maxQueueBytes: count,
};
delete modelOptionValues['concurrency'];
const callOptions = fc.oneof(
  fc.constant(undefined),
  mostlyRight({
    signal: fc.constantFrom(new AbortController().signal, AbortSignal.abort(new TypeError('aborted'))),
    deadlineMs: fc.constantFrom(0, 1, 1e12),
    priority: finite,
  }),
);

/** Tensors that are right, or whose parts do not go together. */
const types = ['float32', 'float64', 'float16', 'int8', 'int32', 'int64', 'uint8', 'uint64', 'bool', 'string'];
const data = fc.oneof(
  fc.float32Array({ maxLength: 12 }),
  fc.float64Array({ maxLength: 12 }),
  fc.int32Array({ maxLength: 12 }),
  fc.bigInt64Array({ maxLength: 12 }),
  fc.uint8Array({ maxLength: 12 }),
  fc.array(fc.double(), { maxLength: 12 }),
);
const dims = fc.array(fc.oneof(fc.nat(4), fc.constantFrom(-1, 0.5, NaN, 2 ** 32, 2 ** 53)), { maxLength: 10 });
const rows = fc.array(fc.oneof(data, fc.array(fc.array(fc.double())), weird), { maxLength: 5 });
const numbers = fc.array(fc.array(fc.constantFrom(0, 1), { minLength: 1, maxLength: 5 }), {
  minLength: 1,
  maxLength: 5,
});
const tensor = fc
  .tuple(fc.nat(3), fc.nat(4))
  .map(([rows, length]) => ({ type: 'float32', dims: [rows, length], data: new Float32Array(rows * length) }));
const feature = fc.oneof(
  { weight: 3, arbitrary: numbers },
  { weight: 2, arbitrary: tensor },
  rows,
  data,
  mostlyRight({ type: fc.constantFrom(...types), dims, data }),
  weird,
);
const features = fc.oneof(
  { weight: 9, arbitrary: fc.record({ x: feature }) },
  { weight: 3, arbitrary: fc.dictionary(names, feature, { maxKeys: 3 }) },
  { weight: 1, arbitrary: weird },
);

type AnyBatched = BatchedControls<unknown> & {
  acall?: (input: unknown, options?: unknown) => Promise<unknown>;
};

/** A call, and then the end, which settles what `timeoutMs` would hold for days. */
async function callOnce(batched: AnyBatched, input: unknown, options?: unknown): Promise<void> {
  const acall = batched.acall ?? any(batched);
  const outcome = orRefused(() => acall(input, options));
  await batched.close({ drain: false });
  await outcome;
}

// A cache that fails says so once for each callable, and there are hundreds of both.
beforeAll(() => void jest.spyOn(process, 'emitWarning').mockImplementation(() => {}));
afterAll(closeAll);

describe('arbitrary options', () => {
  const items = (items: unknown[]): unknown[] => items;
  const echo = (features: Record<string, unknown>): unknown => Object.values(features)[0];
  const entryPoints: [string, (given: unknown) => AnyBatched, Arbitraries, fc.Arbitrary<unknown>][] = [
    ['dynamically', (given) => any(dynamically(items, any(given))), optionValues, weird],
    ['aio.dynamically', (given) => any(aio.dynamically(items, any(given))), optionValues, weird],
    [
      'inference.dynamically',
      (given) => any(inference.dynamically(any(echo), any(given))),
      tensorOptionValues,
      features,
    ],
    [
      'aio.inference.dynamically',
      (given) => any(aio.inference.dynamically(any(echo), any(given))),
      tensorOptionValues,
      features,
    ],
  ];

  test.each(entryPoints)('of %s', async (_, wrap, values, inputs) => {
    const property = fc.asyncProperty(mostlyRight(values), inputs, callOptions, async (given, input, callGiven) => {
      const batched = await orRefused(() => wrap(given));
      if (typeof batched === 'function') await callOnce(batched, input, callGiven);
    });
    await fc.assert(property, { ...settings, numRuns: 400 });
  });

  test('of a model', async () => {
    const path = await ensureModel({ kind: 'echo', type: 'float32' });
    const values = mostlyRight(modelOptionValues);
    const property = fc.asyncProperty(values, features, callOptions, async (given, input, callGiven) => {
      const batched = await orRefused(() => inference.load(path, any(given)));
      if (typeof batched === 'function') await callOnce(any(batched), input, callGiven);
    });
    await fc.assert(property, { ...settings, numRuns: 200 });
  });
});

describe('arbitrary features', () => {
  test.each(['right', 'left', 'none'] as const)('of a function, padding %s', async (paddingSide) => {
    const echo = inference.dynamically(
      any((features: object) => Object.values(features)[0]),
      { paddingSide },
    );
    const property = fc.asyncProperty(features, callOptions, async (input, callGiven) => {
      await orRefused(() => echo.acall(any(input), any(callGiven)));
    });
    await fc.assert(property, { ...settings, numRuns: 500 });
    await echo.close();
  });

  test.each(['float32', 'int64', 'bool'] as const)('of a model of %s', async (type) => {
    const model = await open({ kind: 'echo', type });
    const property = fc.asyncProperty(features, callOptions, async (input, callGiven) => {
      await orRefused(() => model.acall(any(input), any(callGiven)));
    });
    await fc.assert(property, { ...settings, numRuns: 700 });
    expect(model.health.healthy).toBe(true);
  });

  test('blocking calls too', async () => {
    const model = await open({ kind: 'echo', type: 'float32' });
    const property = fc.asyncProperty(features, (input) => orRefused(() => model(any(input))).then(() => {}));
    await fc.assert(property, { ...settings, numRuns: 300 });
  });
});
