/** @jest-environment ./test/helpers/onnxruntime-environment.cjs */
/** Pooling inside the session against pooling in JavaScript, on the hidden states that onnxruntime-node gives. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type BatchedModel, inference, type LoadOptions, OnnxModel, type Tensor } from '../../ts';
import { type Encoded, loadTokenizer } from '../../scripts/data/tokenize';
import { loadGlosses } from '../../scripts/data/wordnet';
import { halvesToFloats } from '../../scripts/models/float16';
import { encodeModel, ensureModel, type ModelSpec } from '../../scripts/models/index';
import { GraphBuilder } from '../../scripts/models/onnx-builder';
import { closeAll, expectRefusal, expectThrow, floats, int64, one, open, values } from '../helpers/model-calls';
import { openReference } from '../helpers/onnxruntime';

afterAll(closeAll);

type Pooling = 'mean' | 'cls';
type Side = 'right' | 'left';

const hidden = 384;
const count = 12;
/** All texts in one batch, on purpose: of many lengths. */
const batching = { lanes: 1, batchSize: count, timeoutMs: 60_000 } as const;

let texts: Encoded[];
beforeAll(async () => {
  const tokenize = await loadTokenizer({ maxLength: 64 });
  texts = loadGlosses(count, { shuffle: true, seed: 17 }).map(tokenize);
});

/** The batch as the engine pads it. */
function paddedFeeds(side: Side): Record<string, Tensor> {
  const longest = Math.max(...texts.map(({ length }) => length));
  const padded = (value: (id: bigint) => bigint): Tensor =>
    int64(
      [count, longest],
      texts.flatMap(({ inputIds, length }) => {
        const padding = Array<bigint>(longest - length).fill(0n);
        const own = [...inputIds].map(value);
        return side === 'right' ? [...own, ...padding] : [...padding, ...own];
      }),
    );
  return { input_ids: padded((id) => id), attention_mask: padded(() => 1n), token_type_ids: padded(() => 0n) };
}

const numbersOf = ({ type, data }: Tensor): Float32Array =>
  type === 'float16' ? halvesToFloats(data as Uint16Array) : (data as Float32Array);

/** Pooling as it is written down everywhere, in double precision. */
function pooledBy(pooling: Pooling, normalize: boolean, states: Tensor, mask: Tensor): number[][] {
  const numbers = numbersOf(states);
  const length = states.dims[1]!;
  return Array.from({ length: count }, (_, row) => {
    const tokens = Array.from({ length }, (_, i) => i).filter((i) => mask.data[row * length + i] === 1n);
    const used = pooling === 'mean' ? tokens : tokens.slice(0, 1);
    const vector = Array.from({ length: hidden }, (_, j) => {
      const sum = used.reduce((total, i) => total + numbers[(row * length + i) * hidden + j]!, 0);
      return sum / used.length;
    });
    const norm = normalize ? Math.hypot(...vector) : 1;
    return vector.map((value) => value / norm);
  });
}

const furthest = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Math.max(...Array.from(a, (value, i) => Math.abs(value - b[i]!)));

describe.each([
  ['fp32', 'float32', 1e-5],
  ['fp16', 'float16', 1e-3],
] as const)('MiniLM in %s, that gives hidden states', (precision, outputType, most) => {
  const spec: ModelSpec = { kind: 'minilm', precision, outputType, lastHiddenState: 'only' };

  describe.each(['right', 'left'] as const)('padded on the %s', (paddingSide) => {
    let states: Tensor;
    let feeds: Record<string, Tensor>;
    beforeAll(async () => {
      feeds = paddedFeeds(paddingSide);
      states = (await (await openReference(await ensureModel(spec))).run(feeds))['last_hidden_state']!;
      expect(states.type).toBe(outputType);
    });

    test.each<[Pooling, boolean]>([
      ['mean', false],
      ['mean', true],
      ['cls', false],
      ['cls', true],
    ])('%s, normalize %s: every text gets its own vector', async (pooling, normalize) => {
      const model = await open(spec, { ...batching, paddingSide, pooling, normalize });
      expect(model.model.outputs).toEqual([{ name: 'sentence_embedding', type: outputType, dims: ['batch', hidden] }]);
      const outputs = await Promise.all(texts.map(({ inputIds }) => model.acall({ input_ids: inputIds })));
      expect(model.stats.batchSizes).toEqual({ [count]: 1 });
      const wanted = pooledBy(pooling, normalize, states, feeds['attention_mask']!);
      // Halves of 1 and more are further apart.
      const tolerance = most * (normalize ? 1 : Math.max(1, ...wanted.flat().map(Math.abs)));
      for (const [i, output] of outputs.entries()) {
        expect(one(output)).toMatchObject({ type: outputType, dims: [1, hidden] });
        expect(furthest(numbersOf(one(output)), wanted[i]!)).toBeLessThan(tolerance);
      }
      await model.close(); // each holds the weights
    });
  });
});

describe('MiniLM, normalized mean', () => {
  const options = { pooling: 'mean', normalize: true } as const;
  let model: BatchedModel;
  let whole: BatchedModel;
  beforeAll(async () => {
    model = await open({ kind: 'minilm', lastHiddenState: 'only' }, { ...batching, ...options });
    whole = await open({ kind: 'minilm' }, batching);
  });

  test('is what the model with its own pooling gives, row by row or in one call, sync or not', async () => {
    const input_ids = texts.map(({ inputIds }) => inputIds);
    const wanted = one(await whole.acall({ input_ids })).data as Float32Array;
    for (const output of [await model.acall({ input_ids }), model({ input_ids })]) {
      expect(one(output).dims).toEqual([count, hidden]);
      expect(furthest(one(output).data as Float32Array, wanted)).toBeLessThan(1e-5);
    }
  });

  test('a mask that the caller gives is the one that counts', async () => {
    const ids = texts.find(({ length }) => length > 6)!.inputIds;
    const mask = BigInt64Array.from(ids, (_, i) => (i < 5 ? 1n : 0n));
    const alone = await open({ kind: 'minilm', lastHiddenState: 'only' }, options);
    const masked = one(await alone.acall({ input_ids: ids, attention_mask: mask })).data as Float32Array;
    const short = one(await alone.acall({ input_ids: ids.slice(0, 5) })).data as Float32Array;
    expect(furthest(masked, short)).toBeLessThan(1e-5);
  });
});

/** Named 3-D outputs, each x times its number; with or without a mask. */
function encoder(outputs: Readonly<Record<string, number>>, mask: boolean): Uint8Array {
  const graph = new GraphBuilder('states');
  graph.input('x', 'float32', ['batch', 'sequence', 2]);
  if (mask) graph.input('attention_mask', 'int64', ['batch', 'sequence']);
  for (const [name, factor] of Object.entries(outputs)) {
    graph.node('Mul', name, ['x', graph.scalar(factor, 'float32')]);
    graph.output(name, 'float32', ['batch', 'sequence', 2]);
  }
  return encodeModel(graph.build());
}

const rows = floats([2, 2, 2], [3, 4, 0, 0, 0, 5, 1, 1]);

describe('what is pooled', () => {
  const load = (bytes: Uint8Array, options: LoadOptions): Promise<BatchedModel> =>
    inference.load(bytes, { warmup: false, ...options });

  test('of several, the output that is named', async () => {
    const bytes = encoder({ first: 1, second: 2 }, true);
    await expectRefusal(
      load(bytes, { pooling: 'mean' }),
      'BATCHED_INVALID_INPUT',
      /first, second: name one in outputs/,
    );
    const model = await load(bytes, { pooling: 'mean', outputs: ['second'] });
    const attention_mask = int64([2, 2], [1, 0, 1, 1]);
    expect(values(await model.acall({ x: rows, attention_mask }))).toEqual([6, 8, 1, 6]);
    await model.close();
  });

  test('without a mask the first place, unless padding would come before it', async () => {
    const bytes = encoder({ states: 1 }, false);
    await expectRefusal(load(bytes, { pooling: 'mean' }), 'BATCHED_INVALID_INPUT', /attention_mask.*its inputs are x/);
    const model = await OnnxModel.load(bytes, { pooling: 'cls', normalize: true, warmup: false });
    const wrong = (): unknown => inference.dynamically(model, { paddingSide: 'left' });
    expectThrow(wrong, 'BATCHED_INVALID_INPUT', /'cls' of a model without attention_mask.*paddingSide: 'left'/);
    for (const paddingSide of ['right', 'none'] as const) {
      const first = inference.dynamically(model, { paddingSide });
      expect(values(await first.acall({ x: rows }))).toEqual([Math.fround(0.6), Math.fround(0.8), 0, 1]);
      await first.close();
    }
  });

  test.each<[string, ModelSpec, LoadOptions, RegExp]>([
    ['no hidden states', { kind: 'sum' }, { pooling: 'mean' }, /no such output; it has: total, running/],
    [
      'an output of two axes',
      { kind: 'random', lastHiddenState: 'only' },
      { pooling: 'cls', outputs: ['other'] },
      /outputs names 'other', but hidden states are .*the model has: last_hidden_state/,
    ],
    [
      'a model that pools by itself',
      { kind: 'random', lastHiddenState: true },
      { pooling: 'cls' },
      /gives sentence_embedding itself: leave pooling out/,
    ],
    [
      'an axis of the output that is no more',
      { kind: 'random', lastHiddenState: 'only' },
      { pooling: 'cls', batchAxis: { last_hidden_state: 0 } },
      /batchAxis names 'last_hidden_state'.*sentence_embedding/,
    ],
  ])('refused: %s', async (_, spec, options, says) => {
    await expectRefusal(open(spec, options), 'BATCHED_INVALID_INPUT', says);
  });

  test('wrong options are refused before anything is loaded', async () => {
    const path = '/nowhere/model.onnx';
    const wrong = (options: object): Promise<unknown> => OnnxModel.load(path, options);
    await expect(wrong({ pooling: 'max' })).rejects.toThrow(RangeError);
    await expect(wrong({ pooling: 'max' })).rejects.toThrow(/'pooling' must be one of mean, cls/);
    await expect(wrong({ pooling: true })).rejects.toThrow(TypeError);
    await expect(wrong({ pooling: 'mean', normalize: 1 })).rejects.toThrow(/'normalize' must be a boolean/);
    await expect(wrong({ normalize: true })).rejects.toThrow(/'normalize' goes with option 'pooling'/);
    await expect(wrong({ pooling: 'mean', outputs: ['a', 'b'] })).rejects.toThrow(/one output, got a, b/);
  });
});
