/** What goes into a model comes out right: types, conversions, shapes, rows, outputs. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { BatchedModel, Feature, Tensor } from '../../ts';
import { aio, inference, OnnxModel } from '../../ts';
import { ELEMENT_TYPES, type ElementType, ensureModel } from '../../scripts/models/index';
import {
  closeAll,
  expectRefusal,
  floats,
  int64,
  one,
  open,
  plain,
  record,
  tensor,
  values,
} from '../helpers/model-calls';

afterAll(closeAll);

const max64 = 2n ** 63n - 1n;

/** For each type: elements that would not survive a conversion, or a wrong width. */
const extremes: Record<ElementType, Tensor['data']> = {
  float32: Float32Array.of(1.5, -0, 3.4e38, 1e-45, Infinity, -Infinity, NaN, 16777217),
  float64: Float64Array.of(Math.PI, -0, Number.MAX_VALUE, Number.MIN_VALUE, Infinity, -Infinity, NaN, 2 ** 53),
  float16: Uint16Array.of(0x3c00, 0x8000, 0x7bff, 0x0001, 0x7c00, 0xfc00, 0x7e00, 0x3555),
  int8: Int8Array.of(-128, 127, 0, -1, 1, 2, 3, 4),
  int16: Int16Array.of(-32768, 32767, 0, -1, 1, 2, 3, 4),
  int32: Int32Array.of(-(2 ** 31), 2 ** 31 - 1, 0, -1, 1, 2, 3, 4),
  int64: BigInt64Array.of(-max64 - 1n, max64, 0n, -1n, 2n ** 53n + 1n, 2n, 3n, 4n),
  uint8: Uint8Array.of(255, 254, 0, 128, 1, 2, 3, 4),
  uint16: Uint16Array.of(65535, 32768, 0, 1, 2, 3, 4, 5),
  uint32: Uint32Array.of(2 ** 32 - 1, 2 ** 31, 0, 1, 2, 3, 4, 5),
  uint64: BigUint64Array.of(2n ** 64n - 1n, 2n ** 63n, 0n, 1n, 2n ** 53n + 1n, 3n, 4n, 5n),
  bool: Uint8Array.of(1, 0, 0, 1, 1, 1, 0, 1),
};

describe.each(ELEMENT_TYPES)('%s', (type) => {
  let echo: BatchedModel;
  const data = extremes[type];
  beforeAll(async () => {
    echo = await open({ kind: 'echo', type });
  });

  test('a tensor comes back as it is, by acall and by the sync call', async () => {
    const x: Tensor = { type, dims: [2, 4], data };
    for (const y of [await echo.acall({ x }), echo({ x })]) {
      expect(plain(one(y))).toEqual({ type, dims: [2, 4], data: [...data] });
      expect(one(y).data.constructor.name).toBe(data.constructor.name);
    }
  });

  test('a typed array is one row, an array of them several', async () => {
    expect(one(await echo.acall({ x: data }))).toMatchObject({ type, dims: [1, 8], data });
    const x = [data.subarray(0, 5), data.subarray(5)];
    const rows = (await echo.acall({ x }, { stack: false })).map((y) => values(y));
    expect(rows).toEqual(x.map((row) => [...(row as Iterable<number>)]));
  });

  test('byteOffset and length of a subarray are honoured', async () => {
    const x: Tensor = { type, dims: [1, 3], data: data.subarray(2, 5) };
    expect(values(await echo.acall({ x }))).toEqual([...(data.subarray(2, 5) as Iterable<number>)]);
  });
});

describe('conversions', () => {
  test.each<[string, ElementType, Feature, (number | bigint)[]]>([
    ['int32 to int64', 'int64', tensor('int32', [1, 3], [-(2 ** 31), 0, 7]), [-(2n ** 31n), 0n, 7n]],
    ['uint8 to int64', 'int64', Uint8Array.of(255, 1), [255n, 1n]],
    ['number[] to int64', 'int64', [1, -2, 2 ** 53], [1n, -2n, 2n ** 53n]],
    ['bigint[] to int64', 'int64', [max64, -1n] as unknown as Feature, [max64, -1n]],
    ['rows of number[] to int64', 'int64', [[1, 2, 3]], [1n, 2n, 3n]],
    ['int64 to int32 where it fits', 'int32', int64([1, 2], [2 ** 31 - 1, -5]), [2 ** 31 - 1, -5]],
    ['int64 to uint64 where it fits', 'uint64', int64([1, 2], [max64, 0]), [max64, 0n]],
    ['uint64 to int64 where it fits', 'int64', { type: 'uint64', dims: [1, 1], data: BigUint64Array.of(5n) }, [5n]],
    ['int32 to float32', 'float32', Int32Array.of(-3, 4), [-3, 4]],
    ['float64 to float32', 'float32', Float64Array.of(0.5, 0.1), [0.5, Math.fround(0.1)]],
    ['float32 to float64', 'float64', Float32Array.of(0.5, 0.1), [0.5, Math.fround(0.1)]],
    ['number[] to float32', 'float32', [0.1, NaN, Infinity], [Math.fround(0.1), NaN, Infinity]],
    ['number[] to uint8', 'uint8', [[0, 255]], [0, 255]],
    ['number[] to bool', 'bool', [[0, 1, 1]], [0, 1, 1]],
    ['boolean[] to bool', 'bool', [true, false] as unknown as Feature, [1, 0]],
    ['Uint8Array to bool', 'bool', Uint8Array.of(1, 0), [1, 0]],
    [
      'float32 to float16',
      'float16',
      Float32Array.of(1, -0.1, 2 ** -24, 65519, NaN),
      [0x3c00, 0xae66, 1, 0x7bff, 0x7e00],
    ],
    ['float32 to float16, ties to even', 'float16', Float32Array.of(2049, 2051, 2 ** -25), [0x6800, 0x6802, 0]],
    ['a float64 tensor to float16', 'float16', tensor('float64', [1, 2], [-Infinity, 1e-9]), [0xfc00, 0]],
    ['rows of Float32Array to float16', 'float16', [Float32Array.of(0.5, -2)], [0x3800, 0xc000]],
    ['number[] to float16', 'float16', [[1, -0, Infinity]], [0x3c00, 0x8000, 0x7c00]],
    ['int64 to float16', 'float16', int64([1, 2], [-1, 2048]), [0xbc00, 0x6800]],
    [
      'float16 to float32',
      'float32',
      tensor('float16', [1, 5], [0x3c00, 1, 0x8000, 0x7bff, 0xfc00]),
      [1, 2 ** -24, -0, 65504, -Infinity],
    ],
    ['float16 to float64', 'float64', tensor('float16', [1, 2], [0xae66, 0x03ff]), [-0.0999755859375, 1023 * 2 ** -24]],
    ['Uint8ClampedArray to uint8', 'uint8', Uint8ClampedArray.of(300, -5), [255, 0]],
  ])('%s', async (_, type, x, expected) => {
    const echo = await open({ kind: 'echo', type });
    expect(values(await echo.acall({ x }))).toEqual(expected);
  });

  test.each<[string, ElementType, Feature, RegExp]>([
    ['a fraction', 'int64', [[1, 1.5]], /'x'.*row 0, element 1 is 1\.5.*does not fit int64/],
    ['NaN for an integer', 'int32', [[NaN]], /'x'.*element 0 is nan.*int32/],
    ['Infinity for an integer', 'int64', [Infinity], /'x'.*element 0 is inf.*int64/],
    ['2^63 for int64', 'int64', [[2 ** 63]], /'x'.*element 0.*int64/],
    ['-1 for an unsigned', 'uint64', [[-1]], /'x'.*element 0 is -1.*uint64/],
    ['256 for uint8', 'uint8', [[0, 256]], /'x'.*element 1 is 256.*uint8/],
    ['128 for int8 from int32', 'int8', Int32Array.of(128), /'x'.*element 0 is 128.*int8/],
    ['int64 out of int32', 'int32', int64([1, 1], [2n ** 31n]), /'x'.*2147483648.*int32/],
    [
      'uint64 out of int64',
      'int64',
      { type: 'uint64', dims: [1, 1], data: BigUint64Array.of(2n ** 63n) },
      /'x'.*int64/,
    ],
    ['2 for bool', 'bool', [[2]], /'x'.*element 0 is 2.*neither 0 nor 1/],
    ['a float32 tensor for an integer model', 'int64', floats([1, 1], [1]), /'x' is float32; the model wants int64/],
    ['a Float32Array for an integer model', 'int64', Float32Array.of(1), /'x' is float32; the model wants int64/],
    ['rows of Float32Array for an integer model', 'int64', [Float32Array.of(1)], /'x'.*float32.*int64/],
    [
      'a float16 tensor for an integer model',
      'int64',
      { type: 'float16', dims: [1, 1], data: Uint16Array.of(0x3c00) },
      /'x' is float16; the model wants int64/,
    ],
    ['70000 for float16', 'float16', Float32Array.of(1, -7e4), /'x'.*element 1 is -70000.*does not fit float16/],
    ['numbers too large for float16', 'float16', [[65520]], /'x'.*row 0, element 0 is 65520.*does not fit float16/],
    ['int64 out of float16', 'float16', int64([1, 1], [max64]), /'x'.*does not fit float16/],
    ['a string', 'int64', [['1']] as unknown as Feature, /'x'.*row 0, element 0 is not a number/],
    ['a type without a number', 'int64', { type: 'string', dims: [1, 1], data: ['a'] }, /'x' is of type.*"string"/],
  ])('refused: %s', async (_, type, x, says) => {
    const echo = await open({ kind: 'echo', type });
    await expectRefusal(echo.acall({ x }), 'BATCHED_INVALID_INPUT', says);
    expect(echo.stats.admitted).toBe(0);
  });
});

describe('the data', () => {
  let echo: BatchedModel;
  beforeAll(async () => {
    echo = await open({ kind: 'echo', type: 'float32' });
  });

  test('is copied at the call: changing or detaching it afterwards changes nothing', async () => {
    const changed = Float32Array.of(1, 2, 3);
    const detached = Float32Array.of(4, 5, 6);
    const list = [[7, 8], [9]];
    const calls = [echo.acall({ x: changed }), echo.acall({ x: detached }), echo.acall({ x: list })];
    changed.fill(-1);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    list[0]![0] = -1;
    list.pop();
    expect((await Promise.all(calls)).map(values)).toEqual([
      [1, 2, 3],
      [4, 5, 6],
      [7, 8, 9, 0],
    ]);
  });

  test('of a result is the caller’s own: calls of one batch do not see each other’s', async () => {
    const outputs = (await Promise.all([1, 2, 3].map((n) => echo.acall({ x: [[n, n]] })))).map(one);
    outputs[0]!.data.fill(9 as never);
    expect(outputs.map((y) => values(y))).toEqual([
      [9, 9],
      [2, 2],
      [3, 3],
    ]);
  });

  test.each([2, 5000])('of a result of %d elements may be sent away: those of its batch-mates stay', async (length) => {
    const model = await open({ kind: 'echo', type: 'float32' }, { lanes: 1, batchSize: 3, timeoutMs: 1e6 });
    const x = [1, 2, 3].map((n) => Array<number>(length).fill(n));
    const outputs = (await Promise.all(x.map((row) => model.acall({ x: [row] })))).map(one);
    try {
      structuredClone(outputs[0]!.data, { transfer: [outputs[0]!.data.buffer as ArrayBuffer] });
    } catch (error) {
      expect((error as Error).name).toBe('DataCloneError');
    }
    expect(outputs.map((y) => values(y))).toEqual(x);
  });

  test('may be of the form of onnxruntime-common: getters on a prototype, more members', async () => {
    class OrtTensor {
      readonly #data = Float32Array.of(1, 2);
      get type(): string {
        return 'float32';
      }
      get dims(): readonly number[] {
        return [1, 2];
      }
      get data(): Float32Array {
        return this.#data;
      }
      get size(): number {
        return 2;
      }
    }
    expect(values(await echo.acall({ x: new OrtTensor() }))).toEqual([1, 2]);
  });

  test('frozen features and tensors do', async () => {
    const x = Object.freeze({ type: 'float32', dims: Object.freeze([1, 2]), data: Float32Array.of(1, 2) });
    expect(values(await echo.acall(Object.freeze({ x })))).toEqual([1, 2]);
  });
});

describe('rows', () => {
  let echo: BatchedModel;
  beforeAll(async () => {
    echo = await open({ kind: 'echo', type: 'int32' });
  });

  test('of one length are stacked', async () => {
    const y = one(await echo.acall({ x: tensor('int32', [3, 2], [1, 2, 3, 4, 5, 6]) }));
    expect(plain(y)).toEqual({ type: 'int32', dims: [3, 2], data: [1, 2, 3, 4, 5, 6] });
  });

  test('of different lengths are stacked, padded with zeros', async () => {
    const y = one(await echo.acall({ x: [[1, 2, 3], [4], [5, 6]] }));
    expect(plain(y)).toEqual({ type: 'int32', dims: [3, 3], data: [1, 2, 3, 4, 0, 0, 5, 6, 0] });
  });

  test('come as a list with stack: false, each at its own length', async () => {
    const list = await echo.acall({ x: [[1, 2, 3], [4], [5, 6]] }, { stack: false });
    expect(list.map((y) => plain(one(y)))).toEqual([
      { type: 'int32', dims: [1, 3], data: [1, 2, 3] },
      { type: 'int32', dims: [1, 1], data: [4] },
      { type: 'int32', dims: [1, 2], data: [5, 6] },
    ]);
  });

  test('a single row with stack: false is a list of one', async () => {
    const list = await echo.acall({ x: [[1, 2]] }, { stack: false });
    expect(list.map((y) => plain(one(y)))).toEqual([{ type: 'int32', dims: [1, 2], data: [1, 2] }]);
  });

  test('more than a batch takes are split and put together again', async () => {
    const small = await open({ kind: 'echo', type: 'int32' }, { batchSize: 4 });
    const x = Array.from({ length: 11 }, (_, row) => Array.from({ length: (row % 3) + 1 }, (_, i) => 10 * row + i));
    const list = await small.acall({ x }, { stack: false });
    expect(list.map((y) => values(y))).toEqual(x);
    expect(one(await small.acall({ x })).dims).toEqual([11, 3]);
    expect(Object.keys(small.stats.batchSizes).every((rows) => Number(rows) <= 4)).toBe(true);
  });

  test('two dynamic axes: each input keeps its own', async () => {
    const model = await open({ kind: 'two-inputs' }, { lanes: 1 });
    const call = (n: number): Promise<unknown> =>
      model
        .acall({ a: [Array.from({ length: n }, () => 1)], b: floats([1, 6 - n, 3], Array(3 * (6 - n)).fill(n)) })
        .then(values);
    const results = await Promise.all([1, 2, 3, 4, 5].map(call));
    expect(results).toEqual([1, 2, 3, 4, 5].map((n) => [n, 3 * (6 - n) * n]));
  });

  test('scalar rows', async () => {
    const model = await open({ kind: 'scalar-rows' });
    expect(plain(one(await model.acall({ x: floats([3], [1, 2, 3]) })))).toMatchObject({ dims: [3], data: [2, 4, 6] });
    expect(values(await model.acall({ x: [7, 8] }))).toEqual([14, 16]);
    expect(values(await model.acall({ x: Float32Array.of(9) }))).toEqual([18]);
    expect(values(model({ x: [1.5] }))).toEqual([3]);
    const singles = await Promise.all(Array.from({ length: 50 }, (_, n) => model.acall({ x: [n] })));
    expect(singles.map((y) => values(y))).toEqual(Array.from({ length: 50 }, (_, n) => [2 * n]));
  });

  test('a fixed row shape: a flat array is one row', async () => {
    const model = await open({ kind: 'fixed-batch' });
    expect(values(await model.acall({ x: [1, 2, 3, 4] }))).toEqual([2, 4, 6, 8]);
    await expectRefusal(model.acall({ x: [1, 2, 3] }), 'BATCHED_INVALID_INPUT', /'x'.*3 elements/);
    await expectRefusal(
      model.acall({ x: Float32Array.of(1, 2, 3) }),
      'BATCHED_INVALID_INPUT',
      /'x': 3 elements do not make/,
    );
  });
});

describe('outputs', () => {
  test('one is a tensor, several are a record', async () => {
    const sum = await open({ kind: 'sum' });
    const both = record(await sum.acall({ x: [[1, 2, 3]] }));
    expect(Object.keys(both)).toEqual(['total', 'running']);
    expect(plain(both.total!)).toMatchObject({ dims: [1], data: [6] });
    expect(plain(both.running!)).toMatchObject({ dims: [1, 3], data: [2, 4, 6] });
  });

  test('of several rows: each padded where its rows differ; a list of records with stack: false', async () => {
    const sum = await open({ kind: 'sum' });
    const x = [[1, 2], [3]];
    const both = record(await sum.acall({ x }));
    expect(plain(both.total!)).toMatchObject({ dims: [2], data: [3, 3] });
    expect(plain(both.running!)).toMatchObject({ dims: [2, 2], data: [2, 4, 6, 0] });
    const list = (await sum.acall({ x }, { stack: false })).map(record);
    expect(list.map(({ total, running }) => [plain(total!).data, plain(running!).data])).toEqual([
      [[3], [2, 4]],
      [[3], [6]],
    ]);
  });

  test.each([[['running', 'total']], [['total', 'running']]])('in the order %j', async (outputs) => {
    const sum = await open({ kind: 'sum' }, { outputs });
    expect(Object.keys(record(await sum.acall({ x: [[1]] })))).toEqual(outputs);
    expect(sum.model.outputs.map(({ name }) => name)).toEqual(outputs);
  });

  test('one selected is a tensor', async () => {
    const sum = await open({ kind: 'sum' }, { outputs: ['running'] });
    expect(values(await sum.acall({ x: [[1, 5]] }))).toEqual([2, 10]);
  });
});

describe('the ways to make and call a model', () => {
  test('OnnxModel.load and inference.dynamically; a file URL; bytes', async () => {
    const path = await ensureModel({ kind: 'sum' });
    const { readFile } = await import('node:fs/promises');
    const { pathToFileURL } = await import('node:url');
    for (const source of [path, pathToFileURL(path), await readFile(path)]) {
      const model = await OnnxModel.load(source, { outputs: ['total'], warmup: false });
      expect(model.inputs).toEqual([{ name: 'x', type: 'float32', dims: ['batch', 'sequence'] }]);
      expect(model.outputs).toEqual([{ name: 'total', type: 'float32', dims: ['batch'] }]);
      expect(model.fixedBatch).toBe(0);
      const total = inference.dynamically(model);
      expect(total.model).toBe(model);
      expect(values(await total.acall({ x: [[1, 2]] }))).toEqual([3]);
      await total.close();
    }
  });

  test('curried with options', async () => {
    const model = await OnnxModel.load(await ensureModel({ kind: 'scalar-rows' }), { warmup: false });
    const double = inference.dynamically({ batchSize: 2 })(model as never) as unknown as BatchedModel;
    expect(values(await double.acall({ x: [4] }))).toEqual([8]);
    await double.close();
  });

  test('one loaded model feeds several batched callables, which close by themselves', async () => {
    const model = await OnnxModel.load(await ensureModel({ kind: 'scalar-rows' }), { warmup: false });
    const [a, b] = [inference.dynamically(model), inference.dynamically(model, { batchSize: 1 })];
    expect(values(await a.acall({ x: [1] }))).toEqual([2]);
    await a.close();
    expect(values(await b.acall({ x: [2] }))).toEqual([4]);
    await b.close();
  });

  test('aio: the call itself is a promise, acall an alias', async () => {
    const double = await aio.inference.load(await ensureModel({ kind: 'scalar-rows' }), { warmup: false });
    expect(values(await double({ x: [4] }))).toEqual([8]);
    expect(values(await double.acall({ x: [4] }))).toEqual([8]);
    expect(await double({ x: [1, 2] }, { stack: false })).toHaveLength(2);
    await double.close();
  });

  test('sync and async calls of one engine give the same, also mixed in one tick', async () => {
    const bert = await open({ kind: 'random', size: 'micro' });
    const features = { input_ids: int64([1, 5], [2, 7, 9, 4, 3]) };
    const early = bert.acall(features);
    const sync = one(bert(features));
    const late = one(await bert.acall(features));
    expect(sync.dims).toEqual(late.dims);
    for (const other of [late, one(await early)]) {
      sync.data.forEach((value, i) => expect(Number(other.data[i])).toBeCloseTo(Number(value), 5));
    }
  });

  test('attention_mask and token_type_ids that are left out equal explicit ones', async () => {
    const bert = await open({ kind: 'random', size: 'micro' }, { lanes: 1, batchSize: 1 });
    const x = [
      [2, 7, 9, 4, 3],
      [2, 5, 3],
    ];
    const input_ids = x.map((row) => BigInt64Array.from(row, BigInt));
    const ones = x.map((row) => new BigInt64Array(row.length).fill(1n));
    const zeros = x.map((row) => new BigInt64Array(row.length));
    const implicit = one(await bert.acall({ input_ids }));
    const explicit = one(await bert.acall({ input_ids, attention_mask: ones, token_type_ids: zeros }));
    const half = one(await bert.acall({ input_ids, attention_mask: ones }));
    expect(implicit.data).toEqual(explicit.data);
    expect(half.data).toEqual(explicit.data);
    // A mask that says otherwise is believed.
    const masked = one(
      await bert.acall({ input_ids, attention_mask: x.map((row) => row.map((_, i) => (i < 2 ? 1 : 0))) }),
    );
    expect(masked.data).not.toEqual(explicit.data);
  });
});
