/** @jest-environment ./test/helpers/onnxruntime-environment.cjs */
/** Encoders under load give what they give alone, and what onnxruntime-node gives. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import type { BatchedModel, Features } from '../../ts';
import { ensureModel, type ModelSpec } from '../../scripts/models/index';
import { Random } from '../../scripts/models/random';
import { type Encoded, loadTokenizer, type Tokenize } from '../../scripts/data/tokenize';
import { loadGlosses } from '../../scripts/data/wordnet';
import { distance } from '../helpers/distance';
import { closeAll, expectAccounted, one, open } from '../helpers/model-calls';

afterAll(closeAll);

const encoded = (ids: readonly number[]): Encoded => ({
  inputIds: BigInt64Array.from(ids, BigInt),
  attentionMask: new BigInt64Array(ids.length).fill(1n),
  tokenTypeIds: new BigInt64Array(ids.length),
  length: ids.length,
});

const featuresOf = ({ inputIds }: Encoded): Features => ({ input_ids: inputIds });

/** The embedding by onnxruntime-node, one text at a time. */
async function reference(session: InferenceSession, text: Encoded): Promise<Float32Array> {
  const tensor = (data: BigInt64Array): OrtTensor => new OrtTensor('int64', data, [1, data.length]);
  const feeds: Record<string, OrtTensor> = {
    input_ids: tensor(text.inputIds),
    attention_mask: tensor(text.attentionMask),
    token_type_ids: tensor(text.tokenTypeIds),
  };
  const wanted = Object.fromEntries(session.inputNames.map((name) => [name, feeds[name]!]));
  return Object.values(await session.run(wanted))[0]!.data as Float32Array;
}

const embed = async (model: BatchedModel, text: Encoded): Promise<Float32Array> =>
  one(await model.acall(featuresOf(text))).data as Float32Array;

function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array): number => x.reduce((sum, value, i) => sum + value * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

const worst = (found: Float32Array[], wanted: Float32Array[]): number =>
  Math.max(...found.map((vector, i) => distance(vector, wanted[i]!)));

const openSession = async (spec: ModelSpec): Promise<InferenceSession> =>
  InferenceSession.create(await ensureModel(spec), { logSeverityLevel: 4 });

describe('a micro encoder', () => {
  const spec = { kind: 'random', size: 'micro' } as const;
  const random = new Random(11);
  const texts = Array.from({ length: 256 }, () =>
    encoded(Array.from({ length: 1 + random.below(60) }, () => random.below(90))),
  );

  test('256 concurrent texts equal onnxruntime-node and themselves alone within 1e-5', async () => {
    const [batched, alone] = [await open(spec), await open(spec, { batchSize: 1, lanes: 1 })];
    const session = await openSession(spec);
    const together = await Promise.all(texts.map((text) => embed(batched, text)));
    const singles = [];
    const references = [];
    for (const text of texts) {
      singles.push(await embed(alone, text));
      references.push(await reference(session, text));
    }
    expect(worst(together, references)).toBeLessThan(1e-5);
    expect(worst(together, singles)).toBeLessThan(1e-5);
    expect(batched.stats.avgBatchSize).toBeGreaterThan(2);
    expectAccounted(batched.stats);
  });

  test('texts called in rows of one call, and by the sync call, equal them too', async () => {
    const model = await open(spec);
    const session = await openSession(spec);
    const some = texts.slice(0, 20);
    const references = await Promise.all(some.map((text) => reference(session, text)));
    const features = { input_ids: some.map(({ inputIds }) => inputIds) };
    for (const output of [await model.acall(features), model(features)]) {
      const { dims, data } = one(output);
      expect(dims[0]).toBe(20);
      const rows = some.map((_, i) => (data as Float32Array).subarray(i * dims[1]!, (i + 1) * dims[1]!));
      expect(worst(rows, references)).toBeLessThan(1e-5);
    }
  });

  test('tensors of onnxruntime-common go in, and what comes out goes into one', async () => {
    const model = await open(spec);
    const session = await openSession(spec);
    const text = texts[0]!;
    const ids = new OrtTensor('int64', text.inputIds, [1, text.length]);
    const y = one(await model.acall({ input_ids: ids }));
    const back = new OrtTensor(y.type as 'float32', y.data as Float32Array, y.dims);
    expect(back.dims).toEqual(y.dims);
    expect(distance(back.data, await reference(session, text))).toBeLessThan(1e-5);
  });
});

describe('all-MiniLM-L6-v2', () => {
  let tokenize: Tokenize;
  let model: BatchedModel;
  beforeAll(async () => {
    tokenize = await loadTokenizer({ maxLength: 128 });
    model = await open({ kind: 'minilm', precision: 'fp32' });
  });

  test('256 concurrent glosses equal the same one by one, and some of them onnxruntime-node, within 1e-5', async () => {
    const texts = loadGlosses(256, { shuffle: true, seed: 3 }).map(tokenize);
    const together = await Promise.all(texts.map((text) => embed(model, text)));
    const session = await openSession({ kind: 'minilm', precision: 'fp32' });
    const few = texts.filter((_, i) => i % 8 === 0);
    const own = together.filter((_, i) => i % 8 === 0);
    const [alone, references] = [[] as Float32Array[], [] as Float32Array[]];
    for (const text of few) {
      alone.push(await embed(model, text));
      references.push(await reference(session, text));
    }
    expect(worst(own, references)).toBeLessThan(1e-5);
    expect(worst(own, alone)).toBeLessThan(1e-5);
    expect(together.every((vector) => vector.length === 384 && vector.every(Number.isFinite))).toBe(true);
    expect(model.stats).toMatchObject({ admitted: 288, totalProcessed: 288, failed: 0 });
  });

  test('finds the gloss that a person would', async () => {
    const all = loadGlosses();
    const named: [query: string, start: string][] = [
      ['a cat, the pet that purrs', 'feline mammal usually having thick soft fur and no ability to roar'],
      ['where people keep their money and borrow more', 'a financial institution that accepts deposits'],
      [
        'the star that our planet goes around',
        'the star that is the source of light and heat for the planets in the solar system',
      ],
      ['frozen water falling from the sky in flakes', 'precipitation falling from clouds in the form of ice crystals'],
    ];
    const targets = named.flatMap(([, start]) => all.find((gloss) => gloss.startsWith(start)) ?? []);
    expect(targets).toHaveLength(named.length);
    const glosses = [...new Set([...targets, ...loadGlosses(200, { shuffle: true, seed: 5 })])];
    const vectors = await Promise.all(glosses.map((gloss) => embed(model, tokenize(gloss))));
    for (const [i, [query]] of named.entries()) {
      const wanted = await embed(model, tokenize(query));
      const scores = vectors.map((vector) => cosine(wanted, vector));
      expect(glosses[scores.indexOf(Math.max(...scores))]).toBe(targets[i]);
    }
  });

  test.each([
    ['fp16', 0.999],
    ['int8', 0.95],
  ] as const)('in %s points the same way', async (precision, least) => {
    const other = await open({ kind: 'minilm', precision });
    const texts = loadGlosses(48, { shuffle: true, seed: 9 }).map(tokenize);
    const [exact, near] = await Promise.all(
      [model, other].map((encoder) => Promise.all(texts.map((text) => embed(encoder, text)))),
    );
    for (const [i, vector] of exact!.entries()) expect(cosine(vector, near![i]!)).toBeGreaterThan(least);
  });
});
