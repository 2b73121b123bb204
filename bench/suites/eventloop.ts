/**
 * How late the event loop is while MiniLM fp32 is saturated: 256 clients on ours, and 64 run() in flight on
 * onnxruntime-node. Two views: Node's monitorEventLoopDelay, and the lateness of a 1 ms timer of our own.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Encoded } from '../../scripts/data/tokenize';
import { ensureModel } from '../../scripts/models';
import { inference } from '../lib/batched';
import { corpus } from '../lib/corpus';
import { feedsOf, ort } from '../lib/ort-node';
import type { Report } from '../lib/report';
import { quantile, sorted } from '../lib/statistics';
import type { Suite } from '../lib/suite';

const clients = 256;
const parallelRuns = 64;
const resolutionMs = 1;

export const eventloop: Suite = {
  about: 'event-loop delay at saturation, MiniLM fp32, 256 clients, next to onnxruntime-node',
  async run({ rounds, quick, log }, report) {
    const path = await ensureModel({ kind: 'minilm', precision: 'fp32' });
    const texts = await corpus(4096);
    const ours = await inference.load(path);
    const bare = await ort.InferenceSession.create(path);
    const seconds = quick ? 2 : 5;

    const embed = ({ inputIds, attentionMask, tokenTypeIds }: Encoded) =>
      ours.acall({ input_ids: inputIds, attention_mask: attentionMask, token_type_ids: tokenTypeIds });
    const runBare = (text: Encoded) => bare.run(feedsOf(text));
    await load(texts, clients, 1, embed);
    await load(texts, parallelRuns, 1, runBare);

    for (let round = 0; round < rounds; round++) {
      const idle = await watched(() => new Promise((resolve) => setTimeout(resolve, 1000)));
      const own = await watched(() => load(texts, clients, seconds, embed));
      const other = await watched(() => load(texts, parallelRuns, seconds, runBare));
      report.add('eventloop/p99-ms', 'ms', own.delay.p99, { atMost: 10 });
      report.add('eventloop/onnxruntime-node-p99-ms', 'ms', other.delay.p99);
      addRest(report, 'eventloop/', own);
      addRest(report, 'eventloop/onnxruntime-node-', other);
      report.add('eventloop/idle-p99-ms', 'ms', idle.delay.p99);
      log(
        `round ${round + 1}/${rounds}: p99 ours ${own.delay.p99.toFixed(2)}, ` +
          `onnxruntime-node ${other.delay.p99.toFixed(1)}, idle ${idle.delay.p99.toFixed(2)} ms`,
      );
    }
    await ours.close();
    await bare.release();
  },
};

interface Delays {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

interface Watched {
  /** Of monitorEventLoopDelay, less the resolution that it includes. */
  readonly delay: Delays;
  /** Of a timer for 1 ms. */
  readonly timer: Delays;
  readonly timerFired: number;
  readonly seconds: number;
}

function addRest(report: Report, prefix: string, { delay, timer, timerFired, seconds }: Watched): void {
  report.add(`${prefix}p50-ms`, 'ms', delay.p50);
  report.add(`${prefix}max-ms`, 'ms', delay.max);
  report.add(`${prefix}timer-p99-ms`, 'ms', timer.p99);
  report.add(`${prefix}timer-max-ms`, 'ms', timer.max);
  report.add(`${prefix}timer-fired-per-s`, '1/s', timerFired / seconds);
}

/** Keeps `count` requests in flight for so many seconds, then awaits the last ones. */
async function load(
  texts: readonly Encoded[],
  count: number,
  seconds: number,
  request: (text: Encoded) => Promise<unknown>,
): Promise<void> {
  const end = performance.now() + 1e3 * seconds;
  let next = 0;
  const client = async (): Promise<void> => {
    while (performance.now() < end) await request(texts[next++ % texts.length]!);
  };
  await Promise.all(Array.from({ length: count }, client));
}

async function watched(work: () => Promise<unknown>): Promise<Watched> {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  const late: number[] = [];
  let due = performance.now() + 1;
  const onTimer = (): void => {
    const now = performance.now();
    late.push(Math.max(0, now - due));
    due = now + 1;
    timer = setTimeout(onTimer, 1);
  };
  let timer = setTimeout(onTimer, 1);
  histogram.enable();
  const start = performance.now();
  await work();
  // A last stall ends in this very tick: let the timers see it.
  await new Promise((resolve) => setTimeout(resolve, 2));
  const seconds = (performance.now() - start) / 1e3;
  histogram.disable();
  clearTimeout(timer);
  const ms = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - resolutionMs);
  const ascending = sorted(late);
  return {
    delay: { p50: ms(histogram.percentile(50)), p99: ms(histogram.percentile(99)), max: ms(histogram.max) },
    timer: { p50: quantile(ascending, 0.5), p99: quantile(ascending, 0.99), max: quantile(ascending, 1) },
    timerFired: late.length,
    seconds,
  };
}
