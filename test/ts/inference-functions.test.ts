/** `inference.dynamically` over user functions: rows of tensors are padded and stacked, outputs split and stacked again. */
import { describe, expect, test } from '@jest/globals';
import { Tensor as OrtTensor } from 'onnxruntime-node';
import { aio, type BatchedError, inference, type Tensor, type TypedArray } from '../../ts';
import { arrayClasses, elementTypes, typeNumber } from '../../ts/tensor';
import { errorOf, expectAccounted, gate, gated, turn } from '../helpers/gate';
import { float, rowsOf, sums, tensor, type Tensors, valuesOf } from '../helpers/tensors';

/** Remembers what it is given, gives the sum of each row of `x`. */
function recorder(): ((features: Tensors) => Tensor) & { seen: Tensors[] } {
  const seen: Tensors[] = [];
  return Object.assign(
    (features: Tensors) => {
      seen.push(features);
      return sums(features.x ?? Object.values(features)[0]!);
    },
    { seen },
  );
}

const rows = [
  [1, 2, 3],
  [4, 5],
  [6, 7, 8, 9],
];

describe("semantics fixed by the Python library's own tests", () => {
  const padded = {
    right: ['1,2,3,0', '4,5,0,0', '6,7,8,9'],
    left: ['0,1,2,3', '0,0,4,5', '6,7,8,9'],
  };
  /** The rows of a batch come by length, so that little is padded. */
  const inAnyOrder = (given: Tensor): string[] => rowsOf(given).map(String).sort();

  test.each(['right', 'left'] as const)('rows of different lengths are padded on the %s', async (paddingSide) => {
    const run = recorder();
    const f = inference.dynamically(run, { paddingSide });
    const calls = await Promise.all(rows.map((row) => f.acall({ x: [Int32Array.from(row)] })));
    expect(calls.map((call) => valuesOf(call))).toEqual([[6], [9], [30]]);
    expect(valuesOf(await f.acall({ x: rows }))).toEqual([6, 9, 30]);
    expect(run.seen).toHaveLength(2);
    for (const { x } of run.seen) expect(inAnyOrder(x!)).toEqual([...padded[paddingSide]].sort());
  });

  test.each(['right', 'left'] as const)('padTokens by feature, several features, on the %s', async (paddingSide) => {
    const run = recorder();
    const f = inference.dynamically(run, { padTokens: { x: -1, mask: 0.5 }, paddingSide });
    await f.acall({ x: rows, mask: rows.map((row) => row.map(() => 1)), kind: rows.map((row) => row.map(() => 7)) });
    const pad = (row: number[], value: number): number[] => {
      const missing = Array<number>(4 - row.length).fill(value);
      return paddingSide === 'right' ? [...row, ...missing] : [...missing, ...row];
    };
    const { x, mask, kind } = run.seen[0]!;
    expect(inAnyOrder(x!)).toEqual(rows.map((row) => String(pad(row, -1))).sort());
    const order = rowsOf(x!).map((row) => rows.find((own) => String(pad(own, -1)) === String(row))!);
    const filled = (value: number, padding: number): number[][] =>
      order.map((row) => pad(Array<number>(row.length).fill(value), padding));
    expect(rowsOf(mask!)).toEqual(filled(1, 0.5));
    expect(rowsOf(kind!)).toEqual(filled(7, 0));
  });

  const logits = (features: Tensors): [Tensor, Tensor] => {
    const own = rowsOf(features.x!);
    return [
      float([own.length, 2], own.flatMap((row) => [row[0]!, row[0]! + 0.5])),
      float([own.length], own.map((row) => -row[0]!)),
    ]; // prettier-ignore
  };

  test('list outputs are split by row and stacked again per call', async () => {
    const f = inference.dynamically(logits, { batchSize: 3 });
    const [a, b] = await Promise.all([f.acall({ x: [[1], [2]] }), f.acall({ x: [[3], [4], [5]] })]);
    expect(Array.isArray(a)).toBe(true);
    expect(a.map((output) => output.dims)).toEqual([[2, 2], [2]]);
    expect(a.map(valuesOf)).toEqual([
      [1, 1.5, 2, 2.5],
      [-1, -2],
    ]);
    expect(b.map((output) => output.dims)).toEqual([[3, 2], [3]]);
    expect(b.map(valuesOf)).toEqual([
      [3, 3.5, 4, 4.5, 5, 5.5],
      [-3, -4, -5],
    ]);
    expect(f.stats.totalBatches).toBe(2);
  });

  test('record outputs too', async () => {
    const f = inference.dynamically((features: Tensors) => {
      const [first, second] = logits(features);
      return { first, second };
    });
    const [a, b] = await Promise.all([f.acall({ x: [[1], [2]] }), f.acall({ x: [[3]] })]);
    expect(Object.keys(a)).toEqual(['first', 'second']);
    expect(valuesOf(a.first)).toEqual([1, 1.5, 2, 2.5]);
    expect(valuesOf(b.second)).toEqual([-3]);
    expect(b.first.dims).toEqual([1, 2]);
  });
});

describe('features', () => {
  test('a tensor is rows along axis 0; more axes are padded each', async () => {
    const seen: Tensor[] = [];
    const f = inference.dynamically(({ x }: Tensors) => {
      seen.push(x!);
      return float([x!.dims[0]!], valuesOf(x!).slice(0, x!.dims[0]));
    });
    await Promise.all([
      f.acall({ x: float([2, 1, 3], [1, 2, 3, 4, 5, 6]) }),
      f.acall({ x: float([1, 2, 2], [7, 8, 9, 10]) }),
    ]);
    expect(seen).toHaveLength(1);
    expect(seen[0]!.dims).toEqual([3, 2, 3]);
    expect(valuesOf(seen[0]!)).toEqual([1, 2, 3, 0, 0, 0, 4, 5, 6, 0, 0, 0, 7, 8, 0, 9, 10, 0]);
  });

  test('several axes on the left', async () => {
    const seen: Tensor[] = [];
    const f = inference.dynamically(
      ({ x }: Tensors) => {
        seen.push(x!);
        return float([2], [0, 0]);
      },
      { paddingSide: 'left', padTokens: { x: 9 } },
    );
    await Promise.all([f.acall({ x: float([1, 1, 3], [1, 2, 3]) }), f.acall({ x: float([1, 2, 2], [4, 5, 6, 7]) })]);
    expect(valuesOf(seen[0]!)).toEqual([9, 9, 9, 1, 2, 3, 9, 4, 5, 9, 6, 7]);
  });

  test('a typed array has a scalar per row', async () => {
    const run = ({ x }: Tensors): Tensor => float([x!.dims[0]!], valuesOf(x!).map((value) => value + 1)); // prettier-ignore
    const f = inference.dynamically(run);
    const { dims, data } = await f.acall({ x: new Int16Array([1, 2, 3]) });
    expect(dims).toEqual([3]);
    expect([...(data as Float32Array)]).toEqual([2, 3, 4]);
    expect(valuesOf(await f.acall({ x: [1, 2] }))).toEqual([2, 3]);
  });

  test('lists have a typed array or numbers per row, bigints make int64', async () => {
    const run = recorder();
    const f = inference.dynamically(run);
    expect(valuesOf(await f.acall({ x: [new Float32Array([1, 2]), new Float32Array([3])] }))).toEqual([3, 3]);
    expect(valuesOf(await f.acall({ x: [[1, 2], [3]] }))).toEqual([3, 3]);
    expect(valuesOf(await f.acall({ x: [[1n, 2n], [3n]] as never }))).toEqual([3, 3]);
    expect(run.seen.map(({ x }) => x!.type)).toEqual(['float32', 'float64', 'int64']);
  });

  test('rows may be empty', async () => {
    const run = recorder();
    const f = inference.dynamically(run);
    expect(valuesOf(await f.acall({ x: [[], [1, 2]] }))).toEqual([0, 3]);
    expect(valuesOf(await f.acall({ x: [[]] }))).toEqual([0]);
    expect(run.seen[1]!.x!.dims).toEqual([1, 0]);
  });

  test("onnxruntime's tensors pass in and out", async () => {
    const f = inference.dynamically(({ x }: Tensors) => {
      const given = sums(x!);
      return new OrtTensor('float32', Float32Array.from(valuesOf(given)), given.dims);
    });
    const given = new OrtTensor('int64', BigInt64Array.from([1n, 2n, 3n, 4n]), [2, 2]);
    const result = await f.acall({ x: given });
    expect(result).toMatchObject({ type: 'float32', dims: [2] });
    expect(valuesOf(result)).toEqual([3, 7]);
    expect(valuesOf(new OrtTensor('float32', result.data, result.dims) as Tensor)).toEqual([3, 7]);
  });

  test.each(elementTypes)('%s keeps its type, its values and its pad value', async (type) => {
    const seen: Tensor[] = [];
    const f = inference.dynamically(
      ({ x }: Tensors) => {
        seen.push(x!);
        return x!;
      },
      { padTokens: { x: 1 } },
    );
    const long = tensor(type, [1, 3], [1, 0, 1]);
    const short = tensor(type, [1, 1], [0]);
    const [a, b] = await Promise.all([f.acall({ x: long }), f.acall({ x: short })]);
    expect(seen).toHaveLength(1);
    expect(seen[0]).toMatchObject({ type, dims: [2, 3] });
    expect(seen[0]!.data).toBeInstanceOf(arrayClasses[typeNumber(type)!]!);
    const one = type === 'float16' ? 0x3c00 : 1;
    expect(rowsOf(seen[0]!).sort()).toEqual([[0, one, one], [1, 0, 1]]); // prettier-ignore
    expect(a).toEqual(long);
    expect(b.type).toBe(type);
    expect(valuesOf(b)[0]).toBe(0);
  });

  test.each([
    ['int8', -128],
    ['uint8', 255],
    ['int64', -5],
    ['uint64', 2 ** 53],
    ['float32', -Infinity],
  ] as const)('%s is padded with %p', async (type, value) => {
    const seen: Tensor[] = [];
    const f = inference.dynamically(
      ({ x }: Tensors) => {
        seen.push(x!);
        return float([2], [0, 0]);
      },
      { padTokens: { x: value } },
    );
    await Promise.all([f.acall({ x: tensor(type, [1, 0], []) }), f.acall({ x: tensor(type, [1, 1], [1]) })]);
    expect(valuesOf(seen[0]!)).toEqual([value, 1]);
  });

  test.each([
    ['uint8', -1],
    ['int8', 128],
    ['uint32', 0.5],
    ['int64', Number.NaN],
    ['bool', 2],
    ['uint64', 2 ** 64],
  ] as const)('%s cannot be padded with %p: refused at the call', async (type, value) => {
    const f = inference.dynamically(({ x }: Tensors) => x!, { padTokens: { x: value } });
    const error = (await errorOf(() => f.acall({ x: tensor(type, [1, 1], [1]) }))) as BatchedError;
    expect(error.code).toBe('BATCHED_INVALID_INPUT');
    expect(error.message).toContain(`'x'`);
    expect(error.message).toContain(String(value));
  });

  test('pad values are looked up by own names', async () => {
    const f = inference.dynamically((features: Tensors) => sums(Object.values(features)[0]!));
    expect(valuesOf(await f.acall({ constructor: [[1], [1, 2]] }))).toEqual([1, 3]);
  });

  test('padding side none: only rows of equal shapes share a batch', async () => {
    const run = recorder();
    const f = inference.dynamically(run, { paddingSide: 'none' });
    const given = [[1, 2], [3], [4, 5], [6]];
    const results = await Promise.all(given.map((row) => f.acall({ x: [row] })));
    expect(results.map((result) => valuesOf(result)[0])).toEqual([3, 3, 9, 6]);
    expect(run.seen.map(({ x }) => x!.dims)).toEqual([[2, 2], [2, 1]]); // prettier-ignore
    expect(f.stats.paddingEfficiency).toBe(1);
  });
});

describe('calls of different features', () => {
  test('the order of the features does not matter', async () => {
    const f = inference.dynamically(({ a, b }: Tensors) => float([a!.dims[0]!], rowsOf(a!).map((row, i) => row[0]! - rowsOf(b!)[i]![0]!))); // prettier-ignore
    const results = await Promise.all([f.acall({ a: [[5]], b: [[1]] }), f.acall({ b: [[1]], a: [[7]] })]);
    expect(results.map((result) => valuesOf(result))).toEqual([[4], [6]]);
    expect(f.stats.totalBatches).toBe(1);
  });

  test('other names, types or ranks do not share a batch, so that they cannot fail others', async () => {
    const run = recorder();
    const f = inference.dynamically(run);
    const results = await Promise.all([
      f.acall({ x: [[1, 2]] }),
      f.acall({ y: [[9]] }),
      f.acall({ x: tensor('int32', [1, 1], [5]) }),
      f.acall({ x: [[4]], y: [[1]] }),
      f.acall({ x: [[6]] }),
    ]);
    expect(results.map((result) => valuesOf(result))).toEqual([[3], [9], [5], [4], [6]]);
    expect(run.seen.map(({ x, y }) => `${x?.type ?? 'none'} ${y?.type ?? 'none'}`).sort()).toEqual([
      'float64 float64',
      'float64 none',
      'int32 none',
      'none float64',
    ]);
    expect(f.stats.batchSizes).toEqual({ 1: 3, 2: 1 });
    expectAccounted(f.stats);
  });
});

describe('outputs', () => {
  test('rows of a call that ran in several batches are stacked, padded with zeros', async () => {
    const f = inference.dynamically(({ x }: Tensors) => x!, { batchSize: 2, paddingSide: 'none' });
    const result = await f.acall({ x: [[1, 2, 3], [4], [5, 6, 7]] });
    expect(rowsOf(result)).toEqual([[1, 2, 3], [4, 0, 0], [5, 6, 7]]); // prettier-ignore
  });

  test('on the left where features are padded there: what comes last in a row stays last', async () => {
    const f = inference.dynamically(({ x }: Tensors) => x!, { batchSize: 1, paddingSide: 'left' });
    expect(rowsOf(await f.acall({ x: [[1, 2, 3], [4]] }))).toEqual([[1, 2, 3], [0, 0, 4]]); // prettier-ignore
  });

  test('stack: false gives a list, every row at its own length', async () => {
    const f = inference.dynamically(({ x }: Tensors) => ({ out: x! }), { paddingSide: 'none' });
    const results = await f.acall({ x: [[1, 2, 3], [4]] }, { stack: false });
    expect(results.map(({ out }) => out.dims)).toEqual([[1, 3], [1, 1]]); // prettier-ignore
    expect(results.map(({ out }) => valuesOf(out))).toEqual([[1, 2, 3], [4]]);
    const sync = f({ x: [[1, 2, 3], [4]] }, { stack: false });
    expect(sync.map(({ out }) => valuesOf(out))).toEqual([[1, 2, 3], [4]]);
  });

  test('an output is never cut: a function may give any length, so a row has that of its batch', async () => {
    const f = inference.dynamically(({ x }: Tensors) => x!);
    const results = await Promise.all(rows.map((row) => f.acall({ x: [row] })));
    const longest = Math.max(...rows.map((row) => row.length));
    const padded = rows.map((row) => [...row, ...new Array<number>(longest - row.length).fill(0)]);
    expect(results.map((result) => rowsOf(result))).toEqual(padded.map((row) => [row]));
  });

  test('the caller may do what it likes with its result', async () => {
    const f = inference.dynamically(({ x }: Tensors) => x!);
    const [a, b] = await Promise.all([f.acall({ x: [[1, 2]] }), f.acall({ x: [[3, 4]] })]);
    structuredClone(a.data, { transfer: [a.data.buffer as ArrayBuffer] });
    (b.data as Float64Array).fill(0);
    expect(valuesOf(await f.acall({ x: [[1, 2]] }))).toEqual([1, 2]);
    expect(valuesOf(b)).toEqual([0, 0]);
  });

  test.each([
    ['sync', (output: Tensor) => output],
    ['async', async (output: Tensor) => output],
  ])('a %s function may use its output memory again for the next batch', async (_, give) => {
    const memory = new Float32Array(2);
    const f = inference.dynamically(
      ({ x }: Tensors): Tensor | Promise<Tensor> => {
        memory.set(valuesOf(sums(x!)));
        return give({ type: 'float32', dims: [x!.dims[0]!], data: memory.subarray(0, x!.dims[0]) });
      },
      { batchSize: 2 },
    );
    const given = Array.from({ length: 10 }, (_unused, i) => i);
    const results = await Promise.all(given.map((value) => f.acall({ x: [[value]] })));
    expect(results.map((result) => valuesOf(result)[0])).toEqual(given);
    expect(valuesOf(await f.acall({ x: given.map((value) => [value]) }))).toEqual(given);
  });

  const wrong: [string, unknown, RegExp][] = [
    ['undefined', undefined, /undefined/],
    ['null', null, /null/],
    ['a number', 3, /number 3/],
    ['an empty list', [], /no tensor/],
    ['an empty record', {}, /no tensor/],
    ['too few rows', float([1, 2], [1, 2]), /2 rows.*returned 1/],
    ['too many rows', float([3], [1, 2, 3]), /2 rows.*returned 3/],
    ['one good and one short', [float([2], [1, 2]), float([1], [1])], /returned 1 in output 1/],
    ['a record with a wrong one', { good: float([2], [1, 2]), bad: 3 }, /'bad'.*number 3/],
    ['dims that its data does not fill', { type: 'float32', dims: [2, 9], data: new Float32Array(2) }, /18 elements/],
    ['a tensor without dims', { type: 'float32', dims: [], data: new Float32Array(1) }, /1 to 8 dims/],
    ['an unknown type', { type: 'string', dims: [2], data: ['a', 'b'] }, /"string"/],
    ['data of another type', { type: 'float32', dims: [2], data: new Int8Array(2) }, /Int8Array/],
    ['plain numbers for data', { type: 'float32', dims: [2], data: [1, 2] }, /an array/],
    ['strings', ['a', 'b'], /"a"/],
  ];
  test.each(wrong)('%s is a mismatch, sync and async', async (_, output, message) => {
    for (const fn of [() => output, () => Promise.resolve(output)]) {
      const f = inference.dynamically(fn as unknown as () => Tensor);
      const error = (await errorOf(() => f.acall({ x: [[1], [2]] }))) as BatchedError;
      expect(error.code).toBe('BATCHED_OUTPUT_MISMATCH');
      expect(error.message).toMatch(message);
      expect(f.stats.failed).toBe(2);
      expectAccounted(f.stats);
    }
  });

  test.each([
    ['another rank', float([1, 1], [1])],
    ['another type', tensor('int32', [1], [1])],
    ['a list', [float([1], [1])]],
    ['a record', { out: float([1], [1]) }],
  ])('batches of one call that do not fit together: %s', async (_, second) => {
    let batch = 0;
    const f = inference.dynamically(() => (batch++ === 0 ? float([1], [1]) : second), { batchSize: 1 });
    const error = (await errorOf(() => f.acall({ x: [[1], [2]] }))) as BatchedError;
    expect(error.code).toBe('BATCHED_OUTPUT_MISMATCH');
    expect(await f.acall({ x: [[1], [2]] }, { stack: false })).toHaveLength(2);
  });
});

describe('calls', () => {
  test('sync and async, of one row and several, together', async () => {
    const run = recorder();
    const f = inference.dynamically(run);
    const waiting = [f.acall({ x: [[1]] }), f.acall({ x: [[2], [3]] })];
    expect(valuesOf(f({ x: [[4]] }))).toEqual([4]);
    expect((await Promise.all(waiting)).map((result) => valuesOf(result))).toEqual([[1], [2, 3]]);
    expect(run.seen).toHaveLength(1);
    expect(f.stats).toMatchObject({ totalProcessed: 4, batchSizes: { 4: 1 } });
  });

  test('batchSize bounds the rows of a batch, also within a call', async () => {
    const run = recorder();
    const f = inference.dynamically(run, { batchSize: 3 });
    const given = Array.from({ length: 10 }, (_, i) => [i]);
    expect(valuesOf(await f.acall({ x: given }))).toEqual(given.flat());
    expect(run.seen.map(({ x }) => x!.dims[0])).toEqual([3, 3, 3, 1]);
  });

  test('lengthOf is asked about every row of the first feature, as its caller gave it', async () => {
    const run = recorder();
    const asked: unknown[] = [];
    const lengthOf = (feature: unknown, row: number): number => {
      asked.push([feature, row]);
      return (feature as number[][])[row]![0]!; // a row of [3, …] is 3 long
    };
    const f = inference.dynamically(run, { lengthOf, maxBatchTokens: 6, maxItemLength: 4 });
    const x = [[3, 0, 0, 0, 0, 0], [2, 0], [1]]; // prettier-ignore
    await f.acall({ x, y: [[1], [2], [3]] });
    expect(asked).toEqual([0, 1, 2].map((row) => [x, row]));
    expect(run.seen.every(({ x: stacked }) => stacked!.dims[0]! <= 2)).toBe(true);
    await expect(f.acall({ x: [[5]], y: [[1]] })).rejects.toThrow(/length 5.*maxItemLength 4/);
    await expect(f.acall({ x: [[-1]], y: [[1]] })).rejects.toThrow(/lengthOf must give/);
  });

  test('maxBatchTokens and maxItemLength go by the length of the first feature', async () => {
    const run = recorder();
    const f = inference.dynamically(run, { maxBatchTokens: 6, maxItemLength: 4 });
    await f.acall({ x: [[1, 2, 3], [1, 2, 3], [1], [1], [1]] });
    for (const { x } of run.seen) expect(x!.dims[0]! * x!.dims[1]!).toBeLessThanOrEqual(6);
    const error = (await errorOf(() => f.acall({ x: [[1], [1, 2, 3, 4, 5]] }))) as BatchedError;
    expect(error.code).toBe('BATCHED_INVALID_INPUT');
    expect(error.message).toMatch(/length 5.*maxItemLength 4/);
  });

  test('spreadKwargs: the tensors as arguments, in the order of the first call', async () => {
    const f = inference.dynamically((a: Tensor, b: Tensor) => float([a.dims[0]!], rowsOf(a).map((row, i) => row[0]! - rowsOf(b)[i]![0]!)), { spreadKwargs: true }); // prettier-ignore
    expect(valuesOf(f({ a: [[5]], b: [[2]] }))).toEqual([3]);
    expect(valuesOf(f({ b: [[2]], a: [[5]] }))).toEqual([3]);
    const g = inference.dynamically({ spreadKwargs: true, batchSize: 2 })((a: Tensor) => sums(a));
    expect(valuesOf(await g.acall({ a: [[1, 2]] }))).toEqual([3]);
  });

  test('curried', async () => {
    const f = inference.dynamically({ padTokens: { x: 1 } })(({ x }: Tensors) => sums(x!));
    expect(valuesOf(await f.acall({ x: [[1], [1, 1]] }))).toEqual([2, 2]);
  });

  test('an async function: acall only', async () => {
    const f = inference.dynamically(async ({ x }: Tensors) => sums(x!));
    expect(() => f({ x: [[1]] })).toThrow(TypeError);
    expect(() => f({ x: [[1]] })).toThrow(/acall/);
    expect(valuesOf(await f.acall({ x: [[1, 2]] }))).toEqual([3]);
  });

  test('aio: the call is asynchronous, acall an alias, options come second', async () => {
    for (const fn of [({ x }: Tensors) => sums(x!), async ({ x }: Tensors) => sums(x!)]) {
      const f = aio.inference.dynamically(fn);
      const [a, b] = await Promise.all([f({ x: [[1, 2]] }), f.acall({ x: [[3], [4]] })]);
      expect([valuesOf(a), valuesOf(b)]).toEqual([[3], [3, 4]]);
      const list = await f({ x: [[3], [4]] }, { stack: false });
      expect(list.map((result) => valuesOf(result))).toEqual([[3], [4]]);
      await expect(f({ x: [[1]] }, { signal: AbortSignal.abort('why') })).rejects.toBe('why');
      await expect(f({ x: [[1]] }, { nonsense: 1 } as never)).rejects.toThrow(/unknown option 'nonsense'/);
    }
  });

  test('aio curried', async () => {
    const f = aio.inference.dynamically({ batchSize: 2 })(async ({ x }: Tensors) => sums(x!));
    expect(valuesOf(await f({ x: [[1], [2], [3]] }))).toEqual([1, 2, 3]);
    expect(f.stats.totalBatches).toBe(2);
  });

  test('abort, deadline and close as for other functions', async () => {
    const held = gate();
    const f = aio.inference.dynamically(async ({ x }: Tensors) => {
      await held.promise;
      return sums(x!);
    });
    const controller = new AbortController();
    const calls = [f({ x: [[1]] }), f({ x: [[2]] }, { signal: controller.signal }), f({ x: [[3]] }, { deadlineMs: 1 })];
    const expired = expect(calls[2]).rejects.toMatchObject({ code: 'BATCHED_DEADLINE' }); // maybe within the turn
    await turn();
    const waiting = f({ x: [[4]] });
    await expired;
    controller.abort('over');
    await expect(calls[1]).rejects.toBe('over');
    const closed = f.close({ drain: false });
    await expect(waiting).rejects.toMatchObject({ code: 'BATCHED_CLOSED' });
    held.open();
    expect(valuesOf(await calls[0]!)).toEqual([1]);
    await closed;
    await expect(f({ x: [[1]] })).rejects.toMatchObject({ code: 'BATCHED_CLOSED' });
    expectAccounted(f.stats);
  });

  test('what the function throws reaches its callers as it is', async () => {
    const error = new Error('no');
    const f = inference.dynamically(({ x }: Tensors) => {
      if (valuesOf(x!).includes(0)) throw error;
      return sums(x!);
    });
    await expect(f.acall({ x: [[0]] })).rejects.toBe(error);
    expect(() => f({ x: [[0]] })).toThrow(error);
    expect(valuesOf(f({ x: [[1]] }))).toEqual([1]);
  });

  test('concurrency', async () => {
    const run = gated((item: Tensors) => item);
    const f = aio.inference.dynamically(
      async (features: Tensors) => {
        await run([features]);
        return sums(features.x!);
      },
      { batchSize: 1, concurrency: 2 },
    );
    const call = f({ x: [[1], [2], [3]] });
    await turn();
    expect(run.batches).toHaveLength(2);
    await run.openAll();
    expect(valuesOf(await call)).toEqual([1, 2, 3]);
  });
});

describe('bad input is refused at the call', () => {
  const features: [string, unknown, RegExp][] = [
    ['nothing', undefined, /undefined/],
    ['null', null, /null/],
    ['a tensor', float([1], [1]), /features must be an object/],
    ['a typed array', new Float32Array(1), /Float32Array/],
    ['no feature', {}, /no tensors/],
    ['an empty list', { x: [] }, /'x' is an empty array/],
    ['no rows', { x: float([0, 3], []) }, /'x' has no rows/],
    ['an empty typed array', { x: new Float32Array(0) }, /'x' has no rows/],
    ['a feature that is undefined', { x: [[1]], y: undefined }, /'y'.*undefined/],
    ['a string', { x: 'text' }, /'x'.*"text"/],
    ['a DataView', { x: new DataView(new ArrayBuffer(4)) }, /'x'.*DataView/],
    ['different rows', { x: [[1], [2]], y: [[1]] }, /'x' and 'y' differ in rows: 2 and 1/],
    ['rows of different types', { x: [new Int8Array(1), new Int16Array(1)] }, /'x': rows differ in type/],
    ['a row of strings', { x: [['a']] }, /'x'.*"a"/],
    ['a row of mixed numbers', { x: [[1, 2n]] }, /'x'.*bigint 2/],
    ['a row that is a number', { x: [[1], 2] }, /'x'.*number 2/],
    ['numbers and a row', { x: [1, [2]] }, /'x'.*an array/],
    ['rows of rows', { x: [[[1]]] }, /'x'.*an array/],
    ['a tensor as a row', { x: [float([2, 1], [1, 2])] }, /'x': a row must be/],
    ['an unknown type', { x: { type: 'int4', dims: [1], data: new Int8Array(1) } }, /'x'.*"int4"/],
    ['a string tensor', { x: { type: 'string', dims: [1], data: ['a'] } }, /'x'.*"string"/],
    ['data of another type', { x: { type: 'float32', dims: [1], data: new Float64Array(1) } }, /'x'.*Float64Array/],
    ['data that is no array', { x: { type: 'float32', dims: [1], data: undefined } }, /'x'.*undefined/],
    ['no dims', { x: { type: 'float32', dims: [], data: new Float32Array(1) } }, /'x'.*1 to 8 dims/],
    ['nine dims', { x: float(Array<number>(9).fill(1), [1]) }, /'x'.*1 to 8 dims/],
    ['a negative dim', { x: float([1, -1], [1]) }, /'x'.*\[1, -1\]/],
    ['half a dim', { x: float([1, 0.5], [1]) }, /'x'.*0\.5/],
    ['a dim that is NaN', { x: float([Number.NaN], [1]) }, /'x'.*NaN/],
    ['a dim of no number', { x: float(['1'] as never, [1]) }, /'x'.*1/],
    ['less data than dims', { x: float([2, 3], [1, 2, 3]) }, /'x'.*6 elements.*3/],
    ['more data than dims', { x: float([1, 2], [1, 2, 3]) }, /'x'.*2 elements.*3/],
    ['dims beyond all memory', { x: float([2 ** 30, 2 ** 30], [1]) }, /'x'/],
  ];
  test.each(features)('%s', async (_, given, message) => {
    const f = inference.dynamically(({ x }: Tensors) => sums(x!));
    const good = f.acall({ x: [[1]] });
    const error = (await errorOf(() => f.acall(given as never))) as BatchedError;
    expect(error.code).toBe('BATCHED_INVALID_INPUT');
    expect(error.message).toMatch(message);
    expect(() => f(given as never)).toThrow(message);
    expect(valuesOf(await good)).toEqual([1]);
    expect(f.stats.admitted).toBe(1);
  });
});

describe('memory', () => {
  const detach = (array: TypedArray): void => {
    structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
  };

  test('byteOffset and length of subarrays are honoured, in features and in outputs', async () => {
    const f = inference.dynamically(({ x }: Tensors): Tensor => {
      const memory = new Float32Array([-1, -1, ...valuesOf(sums(x!)), -1]);
      return { type: 'float32', dims: x!.dims.slice(0, 1), data: memory.subarray(2, 2 + x!.dims[0]!) };
    });
    const memory = Float32Array.from({ length: 10 }, (_, i) => i);
    const dense: Tensor = { type: 'float32', dims: [2, 2], data: memory.subarray(3, 7) };
    expect(valuesOf(await f.acall({ x: dense }))).toEqual([7, 11]);
    expect(valuesOf(await f.acall({ x: [memory.subarray(1, 3), memory.subarray(9)] }))).toEqual([3, 9]);
    const odd = new Uint8Array([9, 9, 9, 1, 2, 3]).subarray(3);
    expect(valuesOf(await f.acall({ x: [odd] }))).toEqual([6]);
  });

  test('a Buffer is bytes, also one out of a pool', async () => {
    const f = inference.dynamically(({ x }: Tensors): Tensor => {
      return { type: 'uint8', dims: x!.dims, data: Buffer.from(x!.data as Uint8Array) };
    });
    const result = await f.acall({ x: [Buffer.from('abc')] });
    expect(result.type).toBe('uint8');
    expect(valuesOf(result)).toEqual([97, 98, 99]);
  });

  test('memory that is gone at the call', async () => {
    const f = inference.dynamically(({ x }: Tensors) => sums(x!));
    const given = float([1, 2], [1, 2]);
    detach(given.data);
    await expect(f.acall({ x: given })).rejects.toMatchObject({ code: 'BATCHED_INVALID_INPUT' });
    await expect(f.acall({ x: given.data })).rejects.toMatchObject({ code: 'BATCHED_INVALID_INPUT' });
  });

  test('memory that goes between call and batch fails that call alone', async () => {
    const run = recorder();
    const f = inference.dynamically(run);
    const gone = float([2, 2], [1, 2, 3, 4]);
    const [before, bad, after] = [
      f.acall({ x: float([1, 1], [1]) }),
      f.acall({ x: gone }),
      f.acall({ x: float([1, 3], [1, 2, 3]) }),
    ];
    detach(gone.data);
    const error = (await errorOf(() => bad)) as BatchedError;
    expect(error.code).toBe('BATCHED_INVALID_INPUT');
    expect(error.message).toMatch(/'x'.*transferred/);
    expect([valuesOf(await before), valuesOf(await after)]).toEqual([[1], [6]]);
    expect(run.seen[0]!.x!.dims).toEqual([2, 3]);
    const lonely = float([1, 2], [1, 2]);
    const call = f.acall({ x: lonely });
    detach(lonely.data);
    await expect(call).rejects.toMatchObject({ code: 'BATCHED_INVALID_INPUT' });
    expect(run.seen).toHaveLength(1);
    expectAccounted(f.stats);
  });

  test('an output whose memory goes at once is not read', async () => {
    const f = inference.dynamically(({ x }: Tensors) => {
      const output = sums(x!);
      detach(output.data);
      return output;
    });
    await expect(f.acall({ x: [[1]] })).rejects.toMatchObject({ code: 'BATCHED_OUTPUT_MISMATCH' });
  });

  test('dims that change after the call are never followed out of the memory', async () => {
    const run = recorder();
    const f = inference.dynamically(run);
    const dims = [1, 2];
    const call = f.acall({ x: { type: 'float32', dims, data: new Float32Array([1, 2]) } });
    dims[1] = 1_000_000;
    const outcome = await call.then(valuesOf, (error: unknown) => (error as BatchedError).code);
    expect([[3], 'BATCHED_INVALID_INPUT']).toContainEqual(outcome);
  });

  test('a large batch of large rows', async () => {
    const f = inference.dynamically(({ x }: Tensors) => x!, { batchSize: 64 });
    const size = 10_000;
    const calls = Array.from({ length: 64 }, (_, i) => f.acall({ x: [new Float32Array(size).fill(i)] }));
    const results = await Promise.all(calls);
    results.forEach((result, i) => {
      expect(result.dims).toEqual([1, size]);
      expect((result.data as Float32Array).every((value) => value === i)).toBe(true);
    });
    expect(f.stats.totalBatches).toBe(1);
  });
});
