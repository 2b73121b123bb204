/** @jest-environment ./test/helpers/onnxruntime-environment.cjs */
/** A model that was exported for a batch of one: row by row, but off the JavaScript thread, and it says so. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { BatchedModel, Output, Tensor } from '../../ts';
import { ensureNpmModel } from '../../scripts/data/npm-models';
import { Random } from '../../scripts/models/random';
import { closeAll, expectAccounted, expectRefusal, floats, one, open } from '../helpers/model-calls';
import { difference, openReference, type Reference } from '../helpers/onnxruntime';

const INPUT = 'onnx::Flatten_0';
const ROW = 25 * 96;

const random = new Random(8);
/** `rows` made-up windows of audio embeddings, no two alike. */
const windows = (rows: number): Tensor =>
  floats(
    [rows, 25, 96],
    Float32Array.from({ length: rows * ROW }, () => random.below(4001) / 1000 - 2),
  );

/** Row `row` of a tensor with the batch on axis 0. */
function rowOf({ dims, data }: Tensor, row: number): Tensor {
  const size = data.length / dims[0]!;
  return floats([1, ...dims.slice(1)], data.subarray(row * size, (row + 1) * size) as Float32Array);
}

let path: string;
let reference: Reference;
beforeAll(async () => {
  path = await ensureNpmModel('wake-word');
  reference = await openReference(path);
});
afterAll(closeAll);

async function expectScores(output: Output, x: Tensor): Promise<void> {
  const y = one(output);
  expect(y.dims).toEqual([x.dims[0], 1]);
  for (let row = 0; row < x.dims[0]!; row++) {
    const [wanted] = Object.values(await reference.run({ [INPUT]: rowOf(x, row) }));
    expect(difference(rowOf(y, row), wanted!)).toBeLessThan(1e-5);
  }
}

describe('a batch that is fixed at 1', () => {
  let detect: BatchedModel;
  beforeAll(async () => {
    detect = await open(path, { warmup: true });
  });

  test('is said by the model and by stats', () => {
    expect(detect.model.fixedBatch).toBe(1);
    expect(detect.stats.fixedBatch).toBe(1);
    expect(detect.model.inputs[0]!.dims).toEqual([1, 25, 96]);
  });

  test('runs calls one by one, also those of several rows, and each row gives what it gives alone', async () => {
    detect.clearStats();
    const calls = [...Array.from({ length: 40 }, () => windows(1)), windows(9), windows(2)];
    const outputs = await Promise.all(calls.map((x) => detect.acall({ [INPUT]: x })));
    for (const [i, x] of calls.entries()) await expectScores(outputs[i]!, x);
    const { stats } = detect;
    expectAccounted(stats);
    expect(stats).toMatchObject({ totalProcessed: 51, totalBatches: 51, avgBatchSize: 1, batchSizes: { 1: 51 } });
  });

  test('does so for sync calls, lists of rows, and stack: false', async () => {
    const x = windows(4);
    await expectScores(detect({ [INPUT]: x }), x);
    const rows = Array.from({ length: 4 }, (_, row) => rowOf(x, row));
    const list = await detect.acall({ [INPUT]: rows.map(({ data }) => data as Float32Array) }, { stack: false });
    for (const [i, y] of list.entries()) await expectScores(y, rows[i]!);
  });

  test('leaves the event loop free meanwhile', async () => {
    detect.clearStats();
    const x = windows(2000);
    let turns = 0;
    let settled = false;
    const spin = (): void => {
      turns++;
      if (!settled) setImmediate(spin);
    };
    const call = detect.acall({ [INPUT]: x }).finally(() => (settled = true));
    setImmediate(spin);
    const y = one(await call);
    expect(y.dims).toEqual([2000, 1]);
    expect(detect.stats.totalBatches).toBe(2000);
    // Run on this thread, it would have let one pass at most.
    expect(turns).toBeGreaterThan(100);
  });

  test('refuses a row of another shape by name', async () => {
    await expectRefusal(
      detect.acall({ [INPUT]: floats([1, 24, 96], new Float32Array(24 * 96)) }),
      'BATCHED_INVALID_INPUT',
      /'onnx::Flatten_0'.*\[24, 96\].*\[25, 96\]/,
    );
  });
});
