/** @jest-environment ./test/helpers/onnxruntime-environment.cjs */
/**
 * silero VAD: a recurrent model whose state has its batch on axis 1, in and out, and whose sampling rate is one scalar
 * for all rows. Every stream feeds its own state forward, and streams share batches.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { OnnxModel, type BatchedModel, type LoadOptions, type Output, type Tensor } from '../../ts';
import { ensureNpmModel } from '../../scripts/data/npm-models';
import { babble } from '../../scripts/data/speech';
import { Random } from '../../scripts/models/random';
import { closeAll, expectAccounted, expectRefusal, floats, int64, open, record } from '../helpers/model-calls';
import { difference, openReference, type Reference } from '../helpers/onnxruntime';

const options: LoadOptions = { shared: ['sr'], batchAxis: { state: 1, stateN: 1 }, paddingSide: 'none' };

let path: string;
let reference: Reference;
beforeAll(async () => {
  path = await ensureNpmModel('silero-vad');
  reference = await openReference(path);
});
afterAll(closeAll);

type Run = (feeds: { input: Tensor; state: Tensor; sr: Tensor }) => Promise<Output>;

interface Heard {
  probabilities: number[];
  state: Tensor;
}

/** Listens to a stream, 32 ms at a time: with each frame goes the end of the one before it, and the state. */
async function listen(run: Run, samples: Float32Array, rate = 16_000): Promise<Heard> {
  const frame = rate / 31.25;
  const context = rate / 250;
  const sr = int64([], [rate]);
  let state = floats([2, 1, 128], new Float32Array(256));
  const probabilities: number[] = [];
  const padded = new Float32Array(context + samples.length);
  padded.set(samples, context);
  for (let at = 0; at + frame <= samples.length; at += frame) {
    const input = floats([1, context + frame], padded.subarray(at, at + context + frame));
    const { output, stateN } = record(await run({ input, state, sr }));
    probabilities.push(output!.data[0] as number);
    state = stateN!;
  }
  return { probabilities, state };
}

const seconds = 1.5;
const random = new Random(4);
const noise = Float32Array.from({ length: 16_000 * seconds }, () => (random.below(2001) - 1000) / 10_000);
const sounds: Record<string, Float32Array> = {
  'a low voice': babble(seconds, { pitch: 110 }),
  'a high voice': babble(seconds, { pitch: 200, vowels: 'oaie' }),
  'another voice': babble(seconds, { pitch: 140, vowels: 'auie' }),
  silence: new Float32Array(16_000 * seconds),
  noise,
  'a tone': Float32Array.from(noise, (_, n) => 0.5 * Math.sin((2 * Math.PI * 440 * n) / 16_000)),
  'a voice after silence': Float32Array.of(...new Float32Array(12_000), ...babble(0.75)),
  'silence after a voice': Float32Array.of(...babble(0.75), ...new Float32Array(12_000)),
};

const mean = (list: number[]): number => list.reduce((sum, value) => sum + value, 0) / list.length;

/** That a batched stream is what it is alone: every probability, and the state in the end. */
function expectSame(found: Heard, wanted: Heard): void {
  const column = ({ probabilities }: Heard): Tensor => floats([probabilities.length], probabilities);
  expect(difference(column(found), column(wanted))).toBeLessThan(1e-5);
  expect(difference(found.state, wanted.state)).toBeLessThan(1e-5);
}

describe('streams at once', () => {
  test.each([1, 2])('over %d lanes: each hears what it hears alone', async (lanes) => {
    const vad = await open(path, { ...options, lanes });
    const run: Run = (feeds) => vad.acall({ ...feeds });
    // Twice over: equal streams in one batch must not get each other's state either.
    const streams = [...Object.values(sounds), ...Object.values(sounds)];
    const heard = await Promise.all(streams.map((samples) => listen(run, samples)));
    const alone: Heard[] = [];
    for (const samples of Object.values(sounds)) alone.push(await listen((feeds) => reference.run(feeds), samples));
    for (const [i, found] of heard.entries()) expectSame(found, alone[i % alone.length]!);
    const { stats } = vad;
    expectAccounted(stats);
    expect(stats.totalProcessed).toBe(streams.length * Math.floor(seconds * 31.25));
    expect(stats.avgBatchSize).toBeGreaterThan(2);
    expect(stats).toMatchObject({ fixedBatch: 0, paddingEfficiency: 1 });
  });

  test('of two sampling rates share no batch, and disturb each other nowhere', async () => {
    const vad = await open(path, { ...options, lanes: 1 });
    const run: Run = (feeds) => vad.acall({ ...feeds });
    const voices = [110, 140, 200].map((pitch) => babble(seconds, { pitch }));
    // Half the samples at half the rate: the same sound, but for what a narrower band loses.
    const halves = voices.map((samples) => samples.filter((_, n) => n % 2 === 0));
    const heard = await Promise.all([
      ...voices.map((samples) => listen(run, samples)),
      ...halves.map((samples) => listen(run, samples, 8000)),
    ]);
    for (let i = 0; i < 3; i++) {
      expectSame(heard[i]!, await listen((feeds) => reference.run(feeds), voices[i]!));
      expectSame(heard[3 + i]!, await listen((feeds) => reference.run(feeds), halves[i]!, 8000));
    }
    expect(Math.max(...Object.keys(vad.stats.batchSizes).map(Number))).toBeLessThanOrEqual(3);
    expect(vad.stats.avgBatchSize).toBeGreaterThan(1);
  });

  test('as rows of one call: the state goes in, comes out and goes in again with all its rows', async () => {
    const vad = await open(path, options);
    const voices = [110, 140, 200].map((pitch) => babble(0.2, { pitch }));
    const frames = Math.floor((0.2 * 16_000) / 576);
    let together = floats([2, 3, 128], new Float32Array(768));
    const alone = voices.map(() => floats([2, 1, 128], new Float32Array(256)));
    for (let frame = 0; frame < frames; frame++) {
      const parts = voices.map((samples) => samples.subarray(frame * 576, (frame + 1) * 576));
      const { output, stateN } = record(await vad.acall({ input: parts, state: together, sr: [16_000] }));
      expect([output!.dims, stateN!.dims]).toEqual([
        [3, 1],
        [2, 3, 128],
      ]);
      for (const [i, input] of parts.entries()) {
        // The sync call, and the ways to give a scalar and a single row.
        const one = record(vad({ input, state: alone[i]!, sr: BigInt64Array.of(16_000n) }));
        expect(output!.data[i]).toBeCloseTo(one.output!.data[0] as number, 5);
        alone[i] = one.stateN!;
      }
      together = stateN!;
    }
  });
});

describe('the probability of speech', () => {
  let vad: BatchedModel;
  beforeAll(async () => {
    vad = await open(path, { ...options, outputs: ['output', 'stateN'], warmup: true });
  });
  const hear = (name: string): Promise<Heard> => listen((feeds) => vad.acall({ ...feeds }), sounds[name]!);

  test.each(['a low voice', 'a high voice', 'another voice'])('is high for %s', async (name) => {
    expect(mean((await hear(name)).probabilities.slice(8))).toBeGreaterThan(0.85);
  });

  test.each(['silence', 'noise', 'a tone'])('is low for %s', async (name) => {
    expect(Math.max(...(await hear(name)).probabilities.slice(2))).toBeLessThan(0.2);
  });

  test('rises when a voice sets in, and falls when it ends', async () => {
    const [rising, falling] = await Promise.all([hear('a voice after silence'), hear('silence after a voice')]);
    for (const [quiet, loud] of [
      [rising.probabilities.slice(5, 20), rising.probabilities.slice(32)],
      [falling.probabilities.slice(32), falling.probabilities.slice(8, 20)],
    ]) {
      expect(mean(quiet!)).toBeLessThan(0.2);
      expect(mean(loud!)).toBeGreaterThan(0.7);
    }
  });
});

test('each thing that has to be said is asked for, with what to say', async () => {
  const load = (given: Partial<LoadOptions>): Promise<unknown> => OnnxModel.load(path, given);
  const shared = ['sr'];
  await expectRefusal(load({}), 'BATCHED_INVALID_INPUT', /input 'sr' int64 \[\].*say shared: \['sr'\]/);
  await expectRefusal(
    load({ shared }),
    'BATCHED_INVALID_INPUT',
    /input 'state' float32 \[2, \?, 128\].*batchAxis: \{ 'state': 1 \}/,
  );
  // A wrong guess here would give every stream a part of its neighbours' states.
  await expectRefusal(
    load({ shared, batchAxis: { state: 1 } }),
    'BATCHED_INVALID_INPUT',
    /output 'stateN' float32 \[\?, \?, \?\] has several axes that may be the batch.*batchAxis: \{ 'stateN': axis \}/,
  );
  const { inputs, outputs } = await OnnxModel.load(path, { shared, batchAxis: { state: 1, stateN: 1 }, warmup: false });
  expect(inputs.map(({ name, dims }) => [name, dims])).toEqual([
    ['input', ['?', '?']],
    ['state', [2, '?', 128]],
    ['sr', []],
  ]);
  expect(outputs.map(({ name }) => name)).toEqual(['output', 'stateN']);
});
