/** What comes out of batches on a device equals what the CPU gives, row by row. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Encoded } from '../../scripts/data/tokenize';
import { ELEMENT_TYPES, type ElementType, ensureModel, type EncoderOptions } from '../../scripts/models';
import type { Tensor as AnyTensor } from '../../ts/tensor';
import { embed, featuresOf, madeUpTexts, type Model, onGpu, open, openReference, realTexts, worst } from './support';

/** DESIGN.md's: of embeddings of length 1. */
const tolerance = { fp32: 1e-5, fp16: 1e-3 } as const;

/** A CPU runs halves slowly: few texts there, and none of the long ones. */
const count = (gpu: number): number => (onGpu ? gpu : 12);
const someTexts = async (gpu: number): Promise<Encoded[]> =>
  (await realTexts(count(gpu))).filter(({ length }) => onGpu || length <= 160);

const embedAll = (model: Model, all: readonly Encoded[]): Promise<Float32Array[]> =>
  Promise.all(all.map((text) => embed(model, text)));

describe('all-MiniLM-L6-v2 over real texts of 1 to 512 tokens equals the CPU', () => {
  const forms: [string, EncoderOptions][] = [
    ['fp32, standard operators', { precision: 'fp32', operators: 'onnx' }],
    ['fp32', { precision: 'fp32' }],
    ['fp32, masks as lengths', { precision: 'fp32', padding: 'right' }],
    ['fp16', { precision: 'fp16' }],
    ['fp16, masks as lengths', { precision: 'fp16', padding: 'right' }],
  ];
  for (const [name, encoder] of forms) {
    test(name, async () => {
      const path = await ensureModel({ kind: 'minilm', ...encoder });
      const some = await someTexts(512);
      const model = await open(path, { batchSize: 64 });
      const reference = await openReference(path);
      const checked = onGpu ? some.filter((_, i) => i % 4 === 0) : some;
      const wanted = await embedAll(reference, checked);
      const got = await embedAll(model, some);
      const own = onGpu ? got.filter((_, i) => i % 4 === 0) : got;
      const difference = worst(own, wanted);
      assert.ok(difference <= tolerance[encoder.precision as 'fp32' | 'fp16'], `differs by ${difference}`);
      assert.ok(model.stats.avgBatchSize > 1);
    });
  }
});

test('halves equal single precision within the tolerance of halves', async () => {
  const some = await someTexts(64);
  const half = await open(await ensureModel({ kind: 'minilm', precision: 'fp16' }));
  const single = await openReference(await ensureModel({ kind: 'minilm', precision: 'fp32' }));
  const difference = worst(await embedAll(half, some), await embedAll(single, some));
  assert.ok(difference <= 2e-3, `differs by ${difference}`);
});

test('a batch equals its rows alone, on the device itself', async () => {
  const path = await ensureModel({ kind: 'minilm', precision: 'fp32' });
  const some = await someTexts(64);
  const [together, alone] = [await open(path), await open(path, { batchSize: 1 })];
  const difference = worst(await embedAll(together, some), await embedAll(alone, some));
  assert.ok(difference <= tolerance.fp32, `differs by ${difference}`);
});

test('every token of every row, at its own length, where hidden states are asked for', async () => {
  const path = await ensureModel({ kind: 'random', size: 'micro', lastHiddenState: true });
  const some = madeUpTexts(64, 100, 1000);
  const [model, reference] = [await open(path), await openReference(path)];
  const outputs = await Promise.all(some.map((text) => model.acall(featuresOf(text))));
  for (const [i, text] of some.entries()) {
    const wanted = (await reference.acall(featuresOf(text))) as Record<string, AnyTensor>;
    const got = outputs[i] as Record<string, AnyTensor>;
    assert.deepEqual(Object.keys(got), Object.keys(wanted));
    for (const [name, tensor] of Object.entries(wanted)) {
      assert.deepEqual(got[name]!.dims, tensor.dims);
      const difference = worst([got[name]!.data as Float32Array], [tensor.data as Float32Array]);
      assert.ok(difference <= 1e-4, `${name} of row ${i} differs by ${difference}`); // of values around 1
    }
  }
});

describe('bytes go to the device and back as they were', () => {
  for (const type of ELEMENT_TYPES) {
    test(type, async () => {
      const model = await open(await ensureModel({ kind: 'echo', type }), { warmup: false });
      const rows = Array.from({ length: 100 }, (_, i) => elements(type, 1 + ((7 * i) % 50), i));
      const calls = rows.map((data) => model.acall({ x: { type, dims: [1, data.length], data } }));
      const outputs = (await Promise.all(calls)) as AnyTensor[];
      for (const [i, { type: given, data }] of outputs.entries()) {
        assert.equal(given, type);
        assert.deepEqual(data, rows[i]);
      }
    });
  }
});

function elements(type: ElementType, length: number, seed: number): AnyTensor['data'] {
  const value = (i: number): number => (type === 'bool' ? (seed + i) % 2 : (31 * seed + i) % 100);
  const numbers = Array.from({ length }, (_, i) => value(i));
  switch (type) {
    case 'int64':
      return BigInt64Array.from(numbers, BigInt);
    case 'uint64':
      return BigUint64Array.from(numbers, BigInt);
    case 'float16':
      return Uint16Array.from(numbers);
    case 'bool':
      return Uint8Array.from(numbers);
    default:
      return classes[type].from(numbers);
  }
}

const classes = {
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
} as const;
