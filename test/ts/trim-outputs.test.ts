/** `trimOutputs`: rows of a user function's outputs come back at their own length. */
import { describe, expect, test } from '@jest/globals';
import { aio, type BatchedError, inference, type InferenceOptions, type Tensor } from '../../ts';
import { elementTypes } from '../../ts/tensor';
import { errorOf, expectAccounted } from '../helpers/gate';
import { float, rowsOf, tensor, type Tensors, valuesOf } from '../helpers/tensors';

const rows = [[1, 2, 3], [4, 5], [6, 7, 8, 9], [10]]; // prettier-ignore
const sides = ['right', 'left'] as const;
const lone: InferenceOptions = { trimOutputs: { 0: { 1: 'x' } } };
const echo = ({ x }: Tensors): Tensor => x!;
/** Every value twice: [rows, length, 2]. */
const twice = ({ x }: Tensors): Tensor => float([...x!.dims, 2], valuesOf(x!).flatMap((value) => [value, -value])); // prettier-ignore
const shapeAndValues = (given: Tensor): [readonly number[], number[]] => [given.dims, valuesOf(given)];

describe.each(sides)('padded on the %s', (paddingSide) => {
  test('calls of one batch have their rows back as they were', async () => {
    const f = inference.dynamically(echo, { ...lone, paddingSide });
    const results = await Promise.all(rows.map((row) => f.acall({ x: [row] })));
    expect(results.map(shapeAndValues)).toEqual(rows.map((row) => [[1, row.length], row]));
    expect(f.stats.totalBatches).toBe(1);
    expect(rowsOf(f({ x: [[1, 2]] }))).toEqual([[1, 2]]);
  });

  test('stack: false gives every row of a call at its own length', async () => {
    const f = inference.dynamically(echo, { ...lone, paddingSide });
    const results = await f.acall({ x: rows }, { stack: false });
    expect(results.map(shapeAndValues)).toEqual(rows.map((row) => [[1, row.length], row]));
    expect(f({ x: rows }, { stack: false }).map(valuesOf)).toEqual(rows);
  });

  test("a call's rows are stacked to the longest of them, with zeros on the side that is padded", async () => {
    const f = inference.dynamically(echo, { ...lone, paddingSide, padTokens: { x: -1 } });
    const [stacked, other] = await Promise.all([f.acall({ x: [[1, 2, 3], [4]] }), f.acall({ x: [[5, 6, 7, 8, 9]] })]);
    expect(rowsOf(stacked)).toEqual([[1, 2, 3], paddingSide === 'left' ? [0, 0, 4] : [4, 0, 0]]);
    expect(rowsOf(other)).toEqual([[5, 6, 7, 8, 9]]);
    expect(f.stats.totalBatches).toBe(1);
  });

  test('rows that ran in different batches, too', async () => {
    const f = inference.dynamically(echo, { ...lone, paddingSide, batchSize: 1 });
    const result = await f.acall({ x: [[1, 2, 3], [4]] });
    expect(rowsOf(result)).toEqual([[1, 2, 3], paddingSide === 'left' ? [0, 0, 4] : [4, 0, 0]]);
  });

  test('axes after the one that is cut stay whole', async () => {
    const f = inference.dynamically(twice, { ...lone, paddingSide });
    const results = await Promise.all(rows.map((row) => f.acall({ x: [row] })));
    const wanted = rows.map((row) => [[1, row.length, 2], row.flatMap((value) => [value, -value])]);
    expect(results.map(shapeAndValues)).toEqual(wanted);
  });

  test('several axes of an output, as of attention weights', async () => {
    const pairs = ({ x }: Tensors): { weights: Tensor } => {
      const values = rowsOf(x!).flatMap((row) => row.flatMap((a) => row.map((b) => a * b)));
      return { weights: float([x!.dims[0]!, 1, x!.dims[1]!, x!.dims[1]!], values) };
    };
    const f = inference.dynamically(pairs, { trimOutputs: { weights: { 2: 'x', 3: 'x' } }, paddingSide });
    const results = await Promise.all(rows.map((row) => f.acall({ x: [row] })));
    const wanted = rows.map((row) => [[1, 1, row.length, row.length], row.flatMap((a) => row.map((b) => a * b))]);
    expect(results.map(({ weights }) => shapeAndValues(weights))).toEqual(wanted);
  });
});

test('only the outputs that are named are cut, even where another is as long by chance', async () => {
  const run = ({ x }: Tensors): Record<string, Tensor> => ({ tokens: x!, pooled: float([2, 3], [1, 2, 3, 4, 5, 6]) });
  const f = inference.dynamically(run, { trimOutputs: { tokens: { 1: 'x' } } });
  const [long, short] = await Promise.all([f.acall({ x: [[7, 8, 9]] }), f.acall({ x: [[7]] })]);
  expect([long.tokens!.dims, short.tokens!.dims]).toEqual([[1, 3], [1, 1]]); // prettier-ignore
  expect([long.pooled!.dims, short.pooled!.dims]).toEqual([[1, 3], [1, 3]]); // prettier-ignore
  expect([...valuesOf(long.pooled!), ...valuesOf(short.pooled!)].sort()).toEqual([1, 2, 3, 4, 5, 6]);
});

test('features of different lengths: an axis follows the one that is named', async () => {
  const run = ({ source, target }: Tensors): Tensor[] => [source!, target!];
  const f = inference.dynamically(run, { trimOutputs: { 0: { 1: 'source' }, 1: { 1: 'target' } } });
  const calls = [
    { source: [[1, 2, 3]], target: [[4]] },
    { target: [[7, 8]], source: [[5]] },
  ];
  const results = await Promise.all(calls.map((call) => f.acall(call)));
  expect(results.map((outputs) => outputs.map(valuesOf))).toEqual([[[1, 2, 3], [4]], [[5], [7, 8]]]); // prettier-ignore
  expect(f.stats.totalBatches).toBe(1);
});

test('features in any form: tensors, typed arrays by row, rows without elements', async () => {
  const f = inference.dynamically(echo, lone);
  const dense: Tensor = { type: 'float32', dims: [2, 2], data: Float32Array.of(0, 1, 2, 3, 4).subarray(1) };
  const results = await Promise.all([
    f.acall({ x: dense }),
    f.acall({ x: [new Float32Array([5, 6, 7]), new Float32Array([])] }, { stack: false }),
  ]);
  expect(rowsOf(results[0])).toEqual([[1, 2], [3, 4]]); // prettier-ignore
  expect(results[1].map(shapeAndValues)).toEqual([[[1, 3], [5, 6, 7]], [[1, 0], []]]); // prettier-ignore
  expect(f.stats.totalBatches).toBe(1);
});

test.each(elementTypes)('%s', async (type) => {
  const f = inference.dynamically(echo, { ...lone, padTokens: { x: 1 }, paddingSide: 'left' });
  const given = [tensor(type, [1, 3], [1, 0, 1]), tensor(type, [1, 1], [0])];
  expect(await Promise.all(given.map((x) => f.acall({ x })))).toEqual(given);
  expect(f.stats.totalBatches).toBe(1);
});

test('an async function, spreadKwargs, the curried form, padding side none', async () => {
  const spread = aio.inference.dynamically(async (_: Tensor, x: Tensor) => x, { ...lone, spreadKwargs: true });
  const spreadCalls = rows.map((row) => spread({ ids: [[0]], x: [row] }));
  expect((await Promise.all(spreadCalls)).map(valuesOf)).toEqual(rows);
  expect(spread.stats.totalBatches).toBe(1);
  const curried = inference.dynamically({ ...lone, paddingSide: 'none' })(echo);
  expect((await Promise.all(rows.map((row) => curried.acall({ x: [row] })))).map(valuesOf)).toEqual(rows);
});

test('the function may do what it likes with its features', async () => {
  const run = (features: Tensors): Tensor => {
    const { type, dims, data } = features.x!;
    (features.x!.dims as number[])[1] = 0;
    delete features.x;
    return { type, dims: [dims[0]!, 4], data };
  };
  const f = inference.dynamically(run, lone);
  expect((await Promise.all(rows.map((row) => f.acall({ x: [row] })))).map(valuesOf)).toEqual(rows);
});

describe('what is wrong', () => {
  const options: [string, unknown, RegExp][] = [
    ['true', true, /'trimOutputs' must be an object.*true/],
    ['an array', [1], /'trimOutputs' must be an object.*array/],
    ['an axis alone', { out: 1 }, /'trimOutputs'.*'out'.*number 1/],
    ['a feature alone', { out: 'x' }, /'trimOutputs'.*'out'.*"x"/],
    ['null', { out: null }, /'trimOutputs'.*'out'.*null/],
    ['a feature that is no name', { out: { 1: 1 } }, /'trimOutputs'.*axis 1 of 'out'.*number 1/],
    ['the batch axis', { out: { 0: 'x' } }, /'trimOutputs' has '0' for 'out': axes are 1 to 7/],
    ['an axis from the end', { out: { [-1]: 'x' } }, /'trimOutputs' has '-1' for 'out'/],
    ['an axis beyond all tensors', { out: { 8: 'x' } }, /'trimOutputs' has '8' for 'out'/],
    ['an axis by name', { out: { length: 'x' } }, /'trimOutputs' has 'length' for 'out'/],
  ];
  test.each(options)('the option: %s', (_, trimOutputs, message) => {
    const given = { trimOutputs } as InferenceOptions;
    expect(() => inference.dynamically(echo, given)).toThrow(message);
    expect(() => inference.dynamically(given)(echo)).toThrow(message);
  });

  const features: [string, Record<string, unknown>, RegExp][] = [
    ['without the feature', { y: [[1]] }, /'x', whose length trimOutputs gives '0', is not among y/],
    ['with scalars for it', { x: [1, 2] }, /'x'.*one scalar per row/],
  ];
  test.each(features)('a call %s is refused, and no other', async (_, given, message) => {
    const f = inference.dynamically(echo, lone);
    const good = f.acall({ x: [[1]] });
    const error = (await errorOf(() => f.acall(given as never))) as BatchedError;
    expect(error.code).toBe('BATCHED_INVALID_INPUT');
    expect(error.message).toMatch(message);
    expect(() => f(given as never)).toThrow(message);
    expect(valuesOf(await good)).toEqual([1]);
    expect(f.stats.admitted).toBe(1);
  });

  const outputs: [string, unknown, InferenceOptions['trimOutputs'], RegExp][] = [
    ['an output that is not there', { out: float([2], [1, 2]) }, { logits: { 1: 'x' } }, /'logits'.*returned out$/],
    ['a list that is too short', [float([2, 3], Array(6).fill(0))], { 1: { 1: 'x' } }, /'1'.*returned 0$/],
    ['a lone tensor by name', float([2, 3], Array(6).fill(0)), { out: { 1: 'x' } }, /'out'.*returned 0$/],
    ['an axis that is not there', float([2], [1, 2]), { 0: { 1: 'x' } }, /axis 1 of '0', whose dims are \[2\]/],
    ['another length', float([2, 2], [1, 2, 3, 4]), { 0: { 1: 'x' } }, /\[2, 2\], but 'x' was padded to 3/],
  ];
  test.each(outputs)('outputs: %s', async (_, output, trimOutputs, message) => {
    for (const fn of [() => output, () => Promise.resolve(output)]) {
      const f = inference.dynamically(fn as unknown as () => Tensor, { trimOutputs: trimOutputs! });
      const error = (await errorOf(() => f.acall({ x: [[1, 2, 3], [4]] }))) as BatchedError;
      expect(error.code).toBe('BATCHED_OUTPUT_MISMATCH');
      expect(error.message).toMatch(message);
      expectAccounted(f.stats);
    }
  });
});
