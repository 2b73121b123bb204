/** @jest-environment ./test/helpers/onnxruntime-environment.cjs */
import { describe, expect, test } from '@jest/globals';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import * as models from '../../scripts/models/index';
import type { ModelSpec } from '../../scripts/models/index';

const openInMemory = (spec: ModelSpec): Promise<InferenceSession> =>
  InferenceSession.create(models.encodeModel(models.makeModel(spec)), { logSeverityLevel: 4 });
const floats = (values: number[], dims: number[]): Tensor => new Tensor('float32', Float32Array.from(values), dims);
const int64 = (values: number[], dims: number[]): Tensor =>
  new Tensor('int64', BigInt64Array.from(values, BigInt), dims);

describe('test models', () => {
  const values = async (spec: ModelSpec, feeds: Record<string, Tensor>): Promise<Record<string, unknown>> => {
    const result = await (await openInMemory(spec)).run(feeds);
    return Object.fromEntries(
      Object.entries(result).map(([name, { dims, data }]) => [name, { dims, data: [...(data as Float32Array)] }]),
    );
  };

  test.each(models.ELEMENT_TYPES)('echo of %s', async (type) => {
    const big = type === 'int64' || type === 'uint64';
    const x = big
      ? new Tensor(
          type,
          type === 'int64' ? BigInt64Array.of(-5n, 1n, 2n ** 62n, 0n) : BigUint64Array.of(5n, 1n, 2n ** 63n, 0n),
          [2, 2],
        )
      : new Tensor(type, type === 'float16' ? Uint16Array.of(0x3c00, 0, 0xc000, 1) : [1, 0, 0, 1], [2, 2]);
    const { y } = await (await openInMemory({ kind: 'echo', type })).run({ x });
    expect(y!.type).toBe(type);
    expect(y!.dims).toEqual([2, 2]);
    expect(y!.data).toEqual(x.data);
  });

  test('lookup gives the row of the first id', async () => {
    const spec = { kind: 'lookup', vocabulary: 5, dim: 3 } as const;
    const table = models.lookupTable(spec);
    expect(await values(spec, { ids: int64([4, 0, 1, 2], [2, 2]) })).toEqual({
      embedding: { dims: [2, 3], data: [...table.subarray(12), ...table.subarray(3, 6)] },
    });
  });

  test.each<[string, ModelSpec, Record<string, () => Tensor>, unknown]>([
    [
      'sum',
      { kind: 'sum' },
      { x: () => floats([1, 2, 3, 4, 5, 6], [2, 3]) },
      { total: { dims: [2], data: [6, 15] }, running: { dims: [2, 3], data: [2, 4, 6, 8, 10, 12] } },
    ],
    [
      'fixed-batch',
      { kind: 'fixed-batch' },
      { x: () => floats([1, 2, 3, 4], [1, 4]) },
      { y: { dims: [1, 4], data: [2, 4, 6, 8] } },
    ],
    [
      'no-batch',
      { kind: 'no-batch' },
      { x: () => floats([...Array(12).keys()], [3, 4]) },
      { y: { dims: [3, 4], data: [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22] } },
    ],
    [
      'scalar-rows',
      { kind: 'scalar-rows' },
      { x: () => floats([1, 2, 3], [3]) },
      { y: { dims: [3], data: [2, 4, 6] } },
    ],
    [
      'state',
      { kind: 'state' },
      {
        x: () => floats([1, 2, 3, 4, 10, 20, 30, 40], [2, 4]),
        state: () => floats([0, 0, 1, 0, 0, 2, 0, 0, 4, 0, 0, 8], [2, 2, 3]),
        sr: () => int64([100], []),
      },
      {
        y: { dims: [2, 4], data: [106, 107, 108, 109, 120, 130, 140, 150] },
        stateN: { dims: [2, 2, 3], data: [10, 10, 10.5, 100, 100, 101, 10, 10, 12, 100, 100, 104] },
      },
    ],
    [
      'two-inputs',
      { kind: 'two-inputs' },
      { a: () => floats([1, 2, 3, 4], [2, 2]), b: () => floats([1, 1, 1, 2, 2, 2], [2, 1, 3]) },
      { sums: { dims: [2, 2], data: [3, 3, 7, 6] } },
    ],
    [
      'gather',
      { kind: 'gather' },
      { ids: () => int64([0, 9], [1, 2]) },
      { y: { dims: [1, 2, 4], data: [0, 1, 2, 3, 90, 91, 92, 93] } },
    ],
    [
      'busy',
      { kind: 'busy', matmuls: 3, width: 8 },
      { x: () => floats([1, 2, 4, 8], [2, 2]) },
      { y: { dims: [2, 2], data: [1, 2, 4, 8] } },
    ],
    [
      'busy for a constant time',
      { kind: 'busy', matmuls: 3, width: 8, rows: 4 },
      { x: () => floats([1, 2, 4, 8], [2, 2]) },
      { y: { dims: [2, 2], data: [1, 2, 4, 8] } },
    ],
  ])('%s', async (_, spec, feeds, expected) => {
    const made = Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, tensor()]));
    expect(await values(spec, made)).toEqual(expected);
  });

  test('gather fails for an id outside its table', async () => {
    const session = await openInMemory({ kind: 'gather' });
    await expect(session.run({ ids: int64([10], [1, 1]) })).rejects.toThrow(/out of (data )?bounds/);
  });

  test('an unknown kind is refused', async () => {
    await expect(models.ensureModel({ kind: 'nothing' as 'sum' })).rejects.toThrow(/no model is called "nothing"/);
  });
});
