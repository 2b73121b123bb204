/** @jest-environment ./test/helpers/onnxruntime-environment.cjs */
/** Encoders with an output per token: cut back to each text's own tokens, whatever the batch was padded to. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { BatchedModel, Tensor } from '../../ts';
import { type Encoded, loadTokenizer } from '../../scripts/data/tokenize';
import { loadGlosses } from '../../scripts/data/wordnet';
import { ensureModel, type ModelSpec } from '../../scripts/models/index';
import { Random } from '../../scripts/models/random';
import { closeAll, int64, one, open, record } from '../helpers/model-calls';
import { difference, openReference, type Reference } from '../helpers/onnxruntime';

afterAll(closeAll);

/** Everything the model takes, spelled out, for one text. */
const feedsOf = (ids: BigInt64Array): Record<'input_ids' | 'attention_mask' | 'token_type_ids', Tensor> => ({
  input_ids: int64([1, ids.length], [...ids]),
  attention_mask: int64([1, ids.length], Array<number>(ids.length).fill(1)),
  token_type_ids: int64([1, ids.length], Array<number>(ids.length).fill(0)),
});

describe('all-MiniLM-L6-v2 with both outputs', () => {
  const spec: ModelSpec = { kind: 'minilm', precision: 'fp32', lastHiddenState: true };
  let texts: Encoded[];
  let reference: Reference;
  beforeAll(async () => {
    const tokenize = await loadTokenizer({ maxLength: 64 });
    texts = loadGlosses(10, { shuffle: true, seed: 12 }).map(tokenize);
    reference = await openReference(await ensureModel(spec));
  });

  // A batch on purpose: of texts of ten lengths, all in one.
  const batching = { lanes: 1, batchSize: 10, timeoutMs: 60_000 } as const;

  test('every token and every sentence is what it is alone', async () => {
    const model = await open(spec, batching);
    const outputs = await Promise.all(texts.map(({ inputIds }) => model.acall({ input_ids: inputIds })));
    expect(model.stats.batchSizes).toEqual({ 10: 1 });
    expect(model.stats.paddingEfficiency).toBeLessThan(0.9);
    for (const [i, { inputIds, length }] of texts.entries()) {
      const found = record(outputs[i]!);
      const wanted = await reference.run(feedsOf(inputIds));
      expect(Object.keys(found).sort()).toEqual(['last_hidden_state', 'sentence_embedding']);
      expect(found.last_hidden_state!.dims).toEqual([1, length, 384]);
      expect(difference(found.last_hidden_state!, wanted.last_hidden_state!)).toBeLessThan(1e-5);
      expect(difference(found.sentence_embedding!, wanted.sentence_embedding!)).toBeLessThan(1e-5);
    }
  });

  test.each(['right', 'left'] as const)(
    'padded on the %s: attention_mask and token_type_ids that are left out are as if given',
    async (paddingSide) => {
      const model = await open(spec, { ...batching, paddingSide });
      const implicit = await Promise.all(texts.map(({ inputIds }) => model.acall({ input_ids: inputIds })));
      const explicit = await Promise.all(texts.map(({ inputIds }) => model.acall(feedsOf(inputIds))));
      expect(model.stats.batchSizes).toEqual({ 10: 2 });
      for (const [i, { length }] of texts.entries()) {
        for (const [name, found] of Object.entries(record(implicit[i]!))) {
          expect(found.dims).toEqual(name === 'last_hidden_state' ? [1, length, 384] : [1, 384]);
          expect(difference(found, record(explicit[i]!)[name]!)).toBeLessThan(1e-6);
        }
      }
    },
  );

  test('one output selected comes alone, as a tensor', async () => {
    const model = await open(spec, { ...batching, outputs: ['last_hidden_state'] });
    expect(model.model.outputs.map(({ name }) => name)).toEqual(['last_hidden_state']);
    const outputs = await Promise.all(texts.map(({ inputIds }) => model.acall({ input_ids: inputIds })));
    for (const [i, { inputIds }] of texts.slice(0, 3).entries()) {
      const { last_hidden_state: wanted } = await reference.run(feedsOf(inputIds));
      expect(difference(one(outputs[i]!), wanted!)).toBeLessThan(1e-5);
    }
  });

  test('rows of one call are padded with zeros when stacked, and cut back to themselves in a list', async () => {
    const model = await open(spec, batching);
    const input_ids = texts.map(({ inputIds }) => inputIds);
    const longest = Math.max(...texts.map(({ length }) => length));
    const stacked = record(await model.acall({ input_ids }));
    expect(stacked.sentence_embedding!.dims).toEqual([10, 384]);
    expect(stacked.last_hidden_state!.dims).toEqual([10, longest, 384]);
    const list = await model.acall({ input_ids }, { stack: false });
    for (const [i, { length }] of texts.entries()) {
      const own = record(list[i]!).last_hidden_state!;
      expect(own.dims).toEqual([1, length, 384]);
      const from = i * longest * 384;
      const row = stacked.last_hidden_state!.data.subarray(from, from + longest * 384) as Float32Array;
      expect(difference({ ...own, data: row.subarray(0, length * 384) }, own)).toBeLessThan(1e-5);
      expect(row.subarray(length * 384).every((value) => value === 0)).toBe(true);
    }
  });
});

describe('an encoder whose outputs are float16', () => {
  const spec: ModelSpec = { kind: 'random', size: 'micro', lastHiddenState: true, outputType: 'float16' };
  const random = new Random(21);
  const texts = Array.from({ length: 12 }, (_, i) =>
    BigInt64Array.from({ length: 2 + 3 * i }, () => BigInt(random.below(90))),
  );

  /** The number that the bits of a normal half mean; the tests meet no others. */
  function half(bits: number): number {
    const [sign, exponent, fraction] = [bits >> 15, (bits >> 10) & 31, bits & 1023];
    const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    return sign === 1 ? -size : size;
  }
  const widened = (tensor: Tensor): Tensor => ({
    type: 'float32',
    dims: tensor.dims,
    data: Float32Array.from(tensor.data as Uint16Array, half),
  });

  test('gives bits in a Uint16Array, cut back like any other, and as alone within the precision of a half', async () => {
    const model: BatchedModel = await open(spec, { lanes: 1, batchSize: 12, timeoutMs: 60_000 });
    const reference = await openReference(await ensureModel(spec));
    const outputs = await Promise.all(texts.map((input_ids) => model.acall({ input_ids })));
    expect(model.stats.batchSizes).toEqual({ 12: 1 });
    for (const [i, ids] of texts.entries()) {
      const found = record(outputs[i]!);
      const wanted = await reference.run(feedsOf(ids));
      for (const name of ['last_hidden_state', 'sentence_embedding']) {
        const { type, data } = found[name]!;
        expect([type, data.constructor.name]).toEqual(['float16', 'Uint16Array']);
        expect(difference(widened(found[name]!), widened(wanted[name]!))).toBeLessThan(4e-3);
      }
      expect(found.last_hidden_state!.dims[1]).toBe(ids.length);
    }
  });
});
