/** Caches of inference: the entry is a row's outputs at its own length, and only the rows that miss run. */
import { afterAll, describe, expect, jest, test } from '@jest/globals';
import { Tensor as OrtTensor } from 'onnxruntime-node';
import { aio, type Cache, type Features, inference, MemoryCache, type Output, type Tensor } from '../../ts';
import { ensureModel, lookupTable, type ModelSpec } from '../../scripts/models/index';
import { errorOf, gate, turn } from '../helpers/gate';
import { closeAll, expectAccounted, floats, int64, one, open, plain, record } from '../helpers/model-calls';

afterAll(closeAll);

type Tensors = Record<string, Tensor>;
const given = (value: unknown): any => value; // eslint-disable-line @typescript-eslint/no-explicit-any

/** Doubles x, and remembers the rows of each batch. */
function doubling(): ((features: Tensors) => Tensor) & { batches: number[][][] } {
  const batches: number[][][] = [];
  return Object.assign(
    ({ x }: Tensors): Tensor => {
      const [rows = 0, width = 0] = x!.dims;
      const data = Float32Array.from(x!.data as Float32Array, (value) => 2 * value);
      batches.push(Array.from({ length: rows }, (_, row) => [...data.subarray(row * width, (row + 1) * width)]));
      return { type: 'float32', dims: [rows, width], data };
    },
    { batches },
  );
}

describe('functions over tensors', () => {
  test('only the rows that miss run, and everything comes back in order', async () => {
    const run = doubling();
    const f = inference.dynamically(run, { cache: new MemoryCache() });
    await f.acall({ x: floats([2, 2], [1, 2, 3, 4]) });
    const { dims, data } = await f.acall({ x: floats([3, 2], [5, 6, 3, 4, 7, 8]) });
    expect({ dims, data }).toEqual({ dims: [3, 2], data: Float32Array.of(10, 12, 6, 8, 14, 16) });
    expect(run.batches[1]).toEqual([
      [10, 12],
      [14, 16],
    ]);
    expect(f.stats).toMatchObject({ totalProcessed: 4, cacheStats: { gets: 5, hits: 1, sets: 4 } });
    expectAccounted(given(f.stats));
  });

  test('the sync call too', async () => {
    const run = doubling();
    const f = inference.dynamically(run, { cache: new MemoryCache() });
    await f.acall({ x: floats([1, 2], [3, 4]) });
    const rows = { x: floats([4, 2], [1, 2, 3, 4, 1, 2, 5, 6]) };
    expect(f(rows).data).toEqual(Float32Array.of(2, 4, 6, 8, 2, 4, 10, 12));
    expect(f(rows, { stack: false }).map(({ data }) => [...(data as Float32Array)])).toEqual([[2, 4], [6, 8], [2, 4], [10, 12]]); // prettier-ignore
    expect(run.batches.slice(1)).toEqual([
      [
        [2, 4],
        [10, 12],
      ],
    ]);
  });

  test.each<[string, (tensor: Tensor) => Tensor | Tensor[] | Tensors]>([
    ['a tensor', (tensor) => tensor],
    ['a list', (tensor) => [tensor, tensor]],
    ['a record', (tensor) => ({ a: tensor, b: tensor })],
  ])('the outputs keep their form: %s', async (_, form) => {
    const run = doubling();
    const f = inference.dynamically((features: Tensors) => form(run(features)), { cache: new MemoryCache() });
    for (const x of [floats([1, 2], [1, 2]), floats([2, 2], [1, 2, 3, 4])]) {
      const fresh = await f.acall({ x });
      expect(await f.acall({ x })).toEqual(fresh);
      expect(f({ x })).toEqual(fresh);
      expect(await f.acall({ x }, { stack: false })).toHaveLength(x.dims[0]!);
    }
    expect(run.batches).toHaveLength(2);
  });

  test('rows of different lengths, in every form of feature', async () => {
    const run = doubling();
    const f = aio.inference.dynamically(run, { cache: new MemoryCache() });
    const x = [[1, 2, 3], [4], [5, 6]];
    const fresh = await f({ x });
    expect(await f({ x })).toEqual(fresh);
    expect(await f({ x: x.slice(1) }, { stack: false })).toHaveLength(2);
    expect(run.batches.flat()).toHaveLength(3);
    const typed = { x: x.map((row) => Float32Array.from(row)) };
    expect(await f(typed)).toEqual(fresh);
    expect(run.batches.flat()).toHaveLength(6); // as given, these are other rows
    expect(await f(typed)).toEqual(fresh);
    expect(run.batches.flat()).toHaveLength(6);
  });

  test('the type and the shape of a row count, its place in memory does not', async () => {
    let rows = 0;
    const f = inference.dynamically(({ x }: Tensors) => ((rows += x!.dims[0]!), x!), { cache: new MemoryCache() });
    const bits = Uint16Array.of(1, 2, 3, 4);
    const all: Tensor[] = [
      { type: 'uint16', dims: [1, 4], data: bits },
      { type: 'float16', dims: [1, 4], data: bits },
      { type: 'uint16', dims: [1, 2, 2], data: bits },
    ];
    for (const x of all) expect(await f.acall({ x })).toEqual(x);
    expect(rows).toBe(3);
    const shifted = Uint16Array.of(0, 1, 2, 3, 4).subarray(1);
    expect(await f.acall({ x: { type: 'uint16', dims: [1, 4], data: shifted } })).toEqual(all[0]);
    expect(await f.acall({ x: new OrtTensor('uint16', bits, [1, 4]) })).toEqual(all[0]);
    expect(rows).toBe(3);
  });

  test('cacheKey gets the features of the row alone', async () => {
    const keys: Features[] = [];
    const f = inference.dynamically(doubling(), {
      cache: new MemoryCache(),
      cacheKey: (features) => {
        keys.push(features);
        return undefined;
      },
    });
    await f.acall({ x: floats([2, 2], [1, 2, 3, 4]) });
    expect(keys).toEqual([{ x: floats([1, 2], [1, 2]) }, { x: floats([1, 2], [3, 4]) }]);
    expect(f.stats.cacheStats).toMatchObject({ gets: 0, sets: 0 });
  });

  test('a row is taken when the call is made, however long the cache thinks', async () => {
    const held = gate();
    const cache: Cache = { get: () => held.promise, set: () => undefined };
    const f = inference.dynamically(doubling(), { cache });
    const x = floats([1, 2], [1, 2]);
    const call = f.acall({ x });
    (x.data as Float32Array).fill(9);
    held.open();
    expect((await call).data).toEqual(Float32Array.of(2, 4));
  });

  test('the misses of a call run together, whenever the cache answers for each', async () => {
    const gates = [gate<unknown>(), gate<unknown>(), gate<unknown>()];
    const cache: Cache = { get: (key) => gates[key as number]!.promise, set: () => undefined };
    const run = doubling();
    const cacheKey = ({ x }: Features): number => (x as unknown as { data: Float32Array }).data[0]!;
    const f = inference.dynamically(run, { cache, cacheKey });
    const call = f.acall({ x: floats([3, 1], [0, 1, 2]) });
    for (const i of [2, 0]) {
      gates[i]!.open(undefined);
      await turn();
    }
    expect(run.batches).toEqual([]);
    gates[1]!.open(floats([1, 1], [7]));
    expect((await call).data).toEqual(Float32Array.of(0, 7, 4));
    expect(run.batches).toHaveLength(1);
  });

  test('what cannot be cut into rows is refused as without a cache', async () => {
    const f = inference.dynamically(doubling(), { cache: new MemoryCache() });
    const g = inference.dynamically(doubling());
    for (const features of [
      null,
      {},
      { x: [] },
      { x: floats([2, 2], [1]) },
      { x: [[1]], y: [[1], [2]] },
      { x: [['a']] },
    ]) {
      const error = await errorOf(() => f.acall(given(features)));
      expect(error).toEqual(await errorOf(() => g.acall(given(features))));
      expect(() => f(given(features))).toThrow((error as Error).message);
    }
  });

  test('a sync call of an async function is refused, a hit too', async () => {
    const f = inference.dynamically(async ({ x }: Tensors) => x!, { cache: new MemoryCache() });
    const x = floats([1, 1], [1]);
    await f.acall({ x });
    expect(() => f({ x })).toThrow(/acall/);
  });
});

describe('ONNX models', () => {
  /** The same calls with and without a cache, twice each: the results must not differ. */
  async function expectSame(spec: ModelSpec, calls: Features[], options: object = {}): Promise<void> {
    const model = await open(spec, options);
    const cached = await open(spec, { ...options, cache: new MemoryCache() });
    const bare = (output: Output): unknown => ('dims' in output ? plain(output as Tensor) : Object.fromEntries(Object.entries(output).map(([name, tensor]) => [name, plain(tensor)]))); // prettier-ignore
    for (const features of [...calls, ...calls]) {
      const whole = bare(await model.acall(features));
      const rows = (await model.acall(features, { stack: false })).map(bare);
      expect(bare(await cached.acall(features))).toEqual(whole);
      expect((await cached.acall(features, { stack: false })).map(bare)).toEqual(rows);
      expect(bare(cached(features))).toEqual(whole);
      expect(cached(features, { stack: false }).map(bare)).toEqual(rows);
    }
    expect(cached.stats.cacheStats).toMatchObject({ errors: 0, hits: expect.any(Number) });
    expect(cached.stats.totalProcessed).toBe(cached.stats.cacheStats!.sets);
    expectAccounted(cached.stats);
  }

  test('one output: ragged rows, tensors, typed arrays, and rows seen before among new ones', () =>
    expectSame({ kind: 'gather' }, [
      { ids: [[1, 2, 3], [4]] },
      { ids: [[5], [1, 2, 3], [6, 7]] },
      { ids: int64([2, 2], [1, 2, 3, 4]) },
      { ids: int64([3, 2], [9, 9, 3, 4, 9, 9]) },
      { ids: BigInt64Array.of(1n, 2n) },
      { ids: [1, 2] },
      { ids: [[-0, 1]] },
    ]));

  test('several outputs, one of them without the padded axis', () =>
    expectSame({ kind: 'sum' }, [{ x: [[1, 2, 3], [4]] }, { x: [[4], [1, 2]] }, { x: floats([1, 2], [1, 2]) }]));

  test('a batch on another axis, and an input that all rows share', () =>
    expectSame(
      { kind: 'state' },
      [
        { x: floats([1, 4], [1, 2, 3, 4]), state: floats([2, 1, 3], [1, 2, 3, 4, 5, 6]), sr: int64([], [8]) },
        {
          x: floats([3, 4], [0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]),
          state: floats([2, 3, 3], [9, 8, 7, 1, 2, 3, 0, 0, 1, 6, 5, 4, 4, 5, 6, 1, 1, 1]),
          sr: [8],
        },
      ],
      { batchAxis: { state: 1, stateN: 1 }, shared: ['sr'] },
    ));

  test('scalar rows', () =>
    expectSame({ kind: 'scalar-rows' }, [{ x: Float32Array.of(1, 2, 3) }, { x: [3, 4] }, { x: floats([1], [2]) }]));

  test('features of several inputs', () =>
    expectSame({ kind: 'two-inputs' }, [
      { a: floats([2, 1], [1, 2]), b: floats([2, 1, 3], [1, 2, 3, 4, 5, 6]) },
      { a: [[2], [1]], b: floats([2, 1, 3], [4, 5, 6, 1, 2, 3]) },
    ]));

  test('only the rows that miss run; hits never enter the queue', async () => {
    const model = await open({ kind: 'lookup', vocabulary: 100, dim: 8 }, { cache: new MemoryCache() });
    const [name] = Object.keys(given(model.model.inputs)).length > 0 ? [model.model.inputs[0]!.name] : [''];
    const features = (rows: number[][]): Features => ({ [name]: rows });
    await model.acall(features([[1], [2]]));
    await model.acall(features([[3], [2], [1], [3]]));
    expect(model.stats).toMatchObject({ admitted: 3, cacheStats: { gets: 5, hits: 2, joined: 1, sets: 3 } });
    expect(lookupTable({ vocabulary: 100, dim: 8 }).length).toBe(800);
  });

  test('a caller that aborts leaves the run to the others; when all have, the next call runs anew', async () => {
    const model = await open({ kind: 'echo', type: 'float32' }, { cache: new MemoryCache() });
    const x = Float32Array.of(1, 2);
    const controller = new AbortController();
    const { signal } = controller;
    const given = model.acall({ x }, { signal });
    const kept = model.acall({ x });
    const alone = model.acall({ x: Float32Array.of(3) }, { signal });
    controller.abort();
    await expect(given).rejects.toBe(signal.reason);
    await expect(alone).rejects.toBe(signal.reason);
    expect(one(await kept).data).toEqual(x);
    expect(one(await model.acall({ x: Float32Array.of(3) })).data).toEqual(Float32Array.of(3));
    expect(model.stats.cacheStats).toMatchObject({ gets: 3, hits: 0, sets: 2, joined: 1, errors: 0 });
    await model.close();
    expectAccounted(model.stats);
  });

  test('an entry holds the bytes of its row, not of the batch', async () => {
    const cache = new Map<unknown, Tensor>();
    const model = await open({ kind: 'echo', type: 'float32' }, { cache });
    await Promise.all([1, 2, 3].map((value) => model.acall({ x: Float32Array.of(value, value) })));
    expect([...cache.values()].map(({ dims, data }) => [dims, data.buffer.byteLength])).toEqual(
      Array(3).fill([[1, 2], 8]),
    );
  });

  test('a caller that changes its result changes nobody else’s', async () => {
    const model = await open({ kind: 'echo', type: 'float32' }, { cache: new MemoryCache() });
    const x = Float32Array.of(1, 2);
    for (let i = 0; i < 3; i++) {
      const { data } = one(await model.acall({ x }));
      expect(data).toEqual(Float32Array.of(1, 2));
      (data as Float32Array).fill(0);
    }
  });

  test('what the model refuses it refuses with a cache too, and nothing is stored', async () => {
    const cache = new Map();
    const model = await open({ kind: 'gather' }, { cache });
    for (const features of [{ ids: [['1']] }, { id: [[1]] }, {}, { ids: [[99]] }, { ids: floats([1, 1], [1]) }, null]) {
      await expect(model.acall(given(features))).rejects.toThrow();
      expect(() => model(given(features))).toThrow();
    }
    expect(cache.size).toBe(0);
  });

  test('an entry that is not this model’s counts as missing, and is reported', async () => {
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const entries: unknown[] = ['text', 3, { dims: [1, 2] }, floats([2, 2], [1, 2, 3, 4]), { y: floats([1, 1], [1]) }];
    for (const entry of entries) {
      const model = await open(
        { kind: 'echo', type: 'float32' },
        { cache: { get: () => entry, set: () => undefined } },
      );
      expect(one(await model.acall({ x: Float32Array.of(5) })).data).toEqual(Float32Array.of(5));
      expect(model.stats.cacheStats).toMatchObject({ hits: 0, errors: 1 });
    }
    expect(warn).toHaveBeenCalledTimes(entries.length);
    warn.mockRestore();
  });

  test('inference.load and aio.inference.load take the options', async () => {
    const path = await ensureModel({ kind: 'sum' });
    const model = await aio.inference.load(path, { warmup: false, cache: new MemoryCache(), cacheKey: () => 'same' });
    const first = record(await model({ x: [[1]] }));
    expect(record(await model({ x: [[2]] }))).toEqual(first);
    await model.close();
    await expect(model({ x: [[1]] })).rejects.toMatchObject({ code: 'BATCHED_CLOSED' });
    await expect(inference.load(path, given({ cache: 3 }))).rejects.toThrow(/option 'cache' must be an object/);
  });
});
