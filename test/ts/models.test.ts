/** @jest-environment ./test/helpers/onnxruntime-environment.cjs */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { onnx } from 'onnx-proto';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { loadTokenizer } from '../../scripts/data/tokenize';
import { loadGlosses } from '../../scripts/data/wordnet';
import { halvesToFloats } from '../../scripts/models/float16';
import * as models from '../../scripts/models/index';
import type { ModelSpec } from '../../scripts/models/index';
import { Random } from '../../scripts/models/random';
import { RANDOM_BERT_SIZES, randomBertWeights } from '../../scripts/models/random-bert';
import { bertReference } from '../helpers/bert-reference';

const SESSION = { logSeverityLevel: 3, intraOpNumThreads: 1 } as const;

const openInMemory = (spec: ModelSpec): Promise<InferenceSession> =>
  InferenceSession.create(models.encodeModel(models.makeModel(spec)), SESSION);
const int64 = (values: number[], dims: number[]): Tensor =>
  new Tensor('int64', BigInt64Array.from(values, BigInt), dims);

/** One batch: rows padded on the right to the longest. */
function feedsOf(rows: readonly number[][]): Record<string, Tensor> {
  const longest = Math.max(...rows.map((row) => row.length));
  const padded = (value: (id: number) => number): Tensor =>
    int64(
      rows.flatMap((row) => [...row.map(value), ...Array<number>(longest - row.length).fill(0)]),
      [rows.length, longest],
    );
  return { input_ids: padded((id) => id), attention_mask: padded(() => 1), token_type_ids: padded(() => 0) };
}

async function embed(session: InferenceSession, rows: readonly number[][]): Promise<number[][]> {
  const { sentence_embedding: output } = await session.run(feedsOf(rows), ['sentence_embedding']);
  const values = output!.data as Float32Array;
  const width = output!.dims[1]!;
  return rows.map((_, row) => [...values.subarray(row * width, (row + 1) * width)]);
}

const cosine = (a: readonly number[], b: readonly number[]): number =>
  a.reduce((sum, value, i) => sum + value * b[i]!, 0);
const furthest = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i]!)));

describe('random', () => {
  test('the same seed gives the same numbers, and streams differ', () => {
    const draw = (seed: number, stream: string): number[] =>
      Array.from({ length: 4 }, () => random(seed, stream).uint32());
    const random = (seed: number, stream: string): Random => new Random(seed, stream);
    expect(draw(1, 'a')).toEqual(draw(1, 'a'));
    expect(draw(1, 'a')).not.toEqual(draw(2, 'a'));
    expect(draw(1, 'a')).not.toEqual(draw(1, 'b'));
  });

  test('normal values have the mean and deviation asked for', () => {
    const values = [...new Random(7).normals(100_001, 2, 3)];
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
    expect(Math.abs(mean - 3)).toBeLessThan(0.03);
    expect(Math.abs(Math.sqrt(variance) - 2)).toBeLessThan(0.03);
  });
});

describe('random BERT', () => {
  const { micro } = RANDOM_BERT_SIZES;
  const random = new Random(5, 'ids');
  const rows = [3, 17, 9].map((length) => Array.from({ length }, () => random.below(micro.vocabularySize)));

  test('declares the inputs and outputs by their symbolic dimensions', () => {
    const bytes = models.encodeModel(models.makeModel({ kind: 'random', lastHiddenState: true }));
    const { graph, opsetImport, irVersion } = onnx.ModelProto.decode(bytes);
    const shapes = (values: onnx.IValueInfoProto[]): unknown =>
      values.map(({ name, type }) => [
        name,
        type!.tensorType!.shape!.dim!.map((dim) => dim.dimParam || Number(dim.dimValue)),
      ]);
    expect(shapes(graph!.input!)).toEqual([
      ['input_ids', ['batch', 'sequence']],
      ['attention_mask', ['batch', 'sequence']],
      ['token_type_ids', ['batch', 'sequence']],
    ]);
    expect(shapes(graph!.output!)).toEqual([
      ['sentence_embedding', ['batch', 32]],
      ['last_hidden_state', ['batch', 'sequence', 32]],
    ]);
    expect(Number(irVersion)).toBe(8);
    expect(Number(opsetImport[0]!.version)).toBe(17);
  });

  test.each<[string, ModelSpec, number]>([
    ['fp32', { kind: 'random' }, 1e-5],
    ['fp32, standard operators', { kind: 'random', operators: 'onnx' }, 1e-5],
    ['fp32, right-padded', { kind: 'random', padding: 'right' }, 1e-5],
    ['fp16', { kind: 'random', precision: 'fp16' }, 5e-3],
    ['fp16, right-padded', { kind: 'random', precision: 'fp16', padding: 'right' }, 5e-3],
    ['fp16, standard operators', { kind: 'random', precision: 'fp16', operators: 'onnx' }, 5e-3],
    ['int8', { kind: 'random', precision: 'int8' }, 5e-2],
    ['int8, right-padded', { kind: 'random', precision: 'int8', padding: 'right' }, 5e-2],
    ['int8, standard operators', { kind: 'random', precision: 'int8', operators: 'onnx' }, 5e-2],
  ])('%s gives what an independent forward pass gives, in a padded batch', async (_, spec, tolerance) => {
    const expected = rows.map((ids) => bertReference(micro, randomBertWeights(1), ids));
    const got = await embed(await openInMemory(spec), rows);
    for (const [i, embedding] of got.entries()) expect(furthest(embedding, expected[i]!)).toBeLessThan(tolerance);
  });

  test.each(['micro', 'tiny', 'mini', 'base', 'large'] as const)('%s is fused in fp32 and fp16 alike', (size) => {
    const { layers } = RANDOM_BERT_SIZES[size];
    const operators = (spec: Partial<models.BertGraphOptions>): Record<string, number> => {
      const counts: Record<string, number> = {};
      const { graph } = models.makeModel({ kind: 'random', size, ...spec });
      for (const { opType } of graph.node!) counts[opType!] = (counts[opType!] ?? 0) + 1;
      return counts;
    };
    const fused = operators({});
    expect(fused).toMatchObject({ Attention: layers, BiasGelu: layers, SkipLayerNormalization: 2 * layers });
    expect(fused['MatMul']).toBe(3 * layers + 1);
    expect(fused).not.toHaveProperty('Softmax');
    expect(fused).not.toHaveProperty('Erf');
    const inHalves = operators({ precision: 'fp16' });
    expect(inHalves).toEqual({ ...fused, Cast: fused['Cast']! + 1 });
    expect(operators({ operators: 'onnx' })).not.toHaveProperty('Attention');
  });

  test('where tokens come first, attention gets lengths and starts', async () => {
    const model = models.makeModel({ kind: 'random', padding: 'right' });
    const attention = model.graph.node!.find(({ opType }) => opType === 'Attention')!;
    const mask = attention.input![3]!;
    model.graph.output!.push({ name: mask, type: { tensorType: { elemType: onnx.TensorProto.DataType.INT32 } } });
    const session = await InferenceSession.create(models.encodeModel(model), SESSION);
    const result = await session.run(feedsOf([rows[0]!, rows[1]!.slice(0, 6)]), [mask]);
    expect([...(result[mask]!.data as Int32Array)]).toEqual([3, 6, 0, 6, 12, 0, 6, 12]);
  });

  test('a mask of any form counts, and a row of padding alone gives zeros', async () => {
    const session = await openInMemory({ kind: 'random' });
    const [left, none] = [
      [0, 0, ...rows[0]!],
      [1, 2, 3, 4, 5],
    ];
    const feeds = feedsOf([left, none]);
    feeds['attention_mask'] = int64([0, 0, 1, 1, 1, 0, 0, 0, 0, 0], [2, 5]);
    const standard = await openInMemory({ kind: 'random', operators: 'onnx' });
    const [ours, theirs] = await Promise.all([session.run(feeds), standard.run(feeds)]);
    const [a, b] = [ours, theirs].map((result) => [...(result['sentence_embedding']!.data as Float32Array)]) as [
      number[],
      number[],
    ];
    expect(furthest(a, b)).toBeLessThan(1e-5);
    expect(a.slice(32)).toEqual(Array<number>(32).fill(0));
  });

  test.each([
    ['fp32', 'float32'],
    ['fp32', 'float16'],
    ['fp16', 'float32'],
    ['fp16', 'float16'],
    ['int8', 'float32'],
  ] as const)(
    '%s gives both outputs as %s on demand, and the embedding is the mean of the states',
    async (precision, outputType) => {
      const session = await openInMemory({ kind: 'random', precision, outputType, lastHiddenState: true });
      const result = await session.run(feedsOf([rows[1]!]));
      const values = (name: string): number[] => {
        expect(result[name]!.type).toBe(outputType);
        const { data } = result[name]!;
        return [
          ...(outputType === 'float16' ? halvesToFloats(data as unknown as Uint16Array) : (data as Float32Array)),
        ];
      };
      const states = values('last_hidden_state');
      expect(result['last_hidden_state']!.dims).toEqual([1, 17, 32]);
      const sums = Array.from({ length: 32 }, (_, i) =>
        states.reduce((sum, value, j) => sum + (j % 32 === i ? value : 0), 0),
      );
      const length = Math.hypot(...sums);
      expect(
        furthest(
          values('sentence_embedding'),
          sums.map((value) => value / length),
        ),
      ).toBeLessThan(1e-3);
    },
  );

  test('a seed is a model', () => {
    const bytes = (seed: number): Uint8Array =>
      models.encodeModel(models.makeModel({ kind: 'random', seed, precision: 'int8' }));
    expect(Buffer.compare(bytes(1), bytes(1))).toBe(0);
    expect(Buffer.compare(bytes(1), bytes(2))).not.toBe(0);
  });

  test('a model over 2 GB is refused before any weight is made', () => {
    const size = { ...RANDOM_BERT_SIZES.large, layers: 48 };
    const model = models.makeModel({ kind: 'random', size });
    expect(() => models.encodeModel(model)).toThrow(/would take 2\.55 GB; .* Take a smaller size, or fp16 or int8/);
  });

  test('a hidden size that the heads do not divide is refused', () => {
    expect(() => models.makeModel({ kind: 'random', size: { ...micro, heads: 5 } })).toThrow(/no multiple of 5 heads/);
  });
});

describe('MiniLM', () => {
  const TEXTS = [
    'A man is playing a guitar on the stage.',
    'Someone performs music with a stringed instrument in front of an audience.',
    'The stock market fell sharply after the announcement.',
    'Share prices dropped on the news.',
    'Cats.',
  ];
  let rows: number[][];
  let reference: number[][];
  const open = async (spec: ModelSpec): Promise<InferenceSession> =>
    InferenceSession.create(await models.ensureModel(spec), SESSION);

  beforeAll(async () => {
    const tokenize = await loadTokenizer();
    rows = TEXTS.map((text) => [...tokenize(text).inputIds].map(Number));
    reference = await embed(await open({ kind: 'minilm' }), rows);
  });

  test('fp32 puts sentences of one meaning together', () => {
    const [guitar, music, stocks, shares] = reference as [number[], number[], number[], number[]];
    expect(cosine(guitar, music)).toBeGreaterThan(0.5);
    expect(cosine(stocks, shares)).toBeGreaterThan(0.5);
    for (const a of [guitar, music]) for (const b of [stocks, shares]) expect(Math.abs(cosine(a, b))).toBeLessThan(0.2);
    for (const embedding of reference) expect(cosine(embedding, embedding)).toBeCloseTo(1, 5);
  });

  test('fp32 gives in a padded batch what it gives alone', async () => {
    const session = await open({ kind: 'minilm' });
    for (const [i, row] of rows.entries()) {
      const [alone] = await embed(session, [row]);
      expect(furthest(alone!, reference[i]!)).toBeLessThan(1e-5);
    }
  });

  // Measured on 256 glosses: fp16 differs by 1.5e-4 at most, int8 has a cosine of 0.987 at least.
  test('fp16 is within 1e-3 of fp32', async () => {
    const got = await embed(await open({ kind: 'minilm', precision: 'fp16' }), rows);
    for (const [i, embedding] of got.entries()) expect(furthest(embedding, reference[i]!)).toBeLessThan(1e-3);
  });

  // The CPU has no float16 kernels for these operators: there, ONNX Runtime computes in float32 between casts. So
  // this holds the graphs' structure and their weights to each other, and not the arithmetic of a GPU.
  test.each([
    ['fp32', 'any', 1e-5],
    ['fp32', 'right', 1e-5],
    ['fp16', 'any', 1e-3],
    ['fp16', 'right', 1e-3],
  ] as const)(
    '%s fused, padding %s, is the plain form on real texts in padded batches',
    async (precision, padding, most) => {
      const tokenize = await loadTokenizer({ maxLength: 128 });
      const texts = loadGlosses(24, { shuffle: true, seed: 8 }).map((text) => [...tokenize(text).inputIds].map(Number));
      const [plain, fused] = await Promise.all([
        open({ kind: 'minilm', precision, operators: 'onnx' }),
        open({ kind: 'minilm', precision, padding }),
      ]);
      for (let i = 0; i < texts.length; i += 8) {
        const batch = texts.slice(i, i + 8);
        expect(new Set(batch.map(({ length }) => length)).size).toBeGreaterThan(1);
        const [wanted, got] = [await embed(plain, batch), await embed(fused, batch)];
        for (const [j, embedding] of got.entries()) {
          expect(furthest(embedding, wanted[j]!)).toBeLessThan(most);
          expect(cosine(embedding, wanted[j]!)).toBeGreaterThan(1 - most);
        }
      }
    },
  );

  test('int8 has a cosine of at least 0.97 with fp32', async () => {
    const got = await embed(await open({ kind: 'minilm', precision: 'int8' }), rows);
    for (const [i, embedding] of got.entries()) expect(cosine(embedding, reference[i]!)).toBeGreaterThan(0.97);
  });
});
