/**
 * Twice as many requests as a small BERT encoder can run, sent in an open loop: what is refused is refused at once, what
 * is admitted is answered within the stated bound, and afterwards all is as before. Next to them calls with a short
 * deadline, and before them half the load, at which nothing may be refused.
 */
import { ensureModel } from '../../scripts/models';
import { Random } from '../../scripts/models/random';
import { inference } from '../lib/batched';
import { timedLoop } from '../lib/clients';
import { openLoop, randomTexts } from '../lib/open-loop';
import { quantile, sorted } from '../lib/statistics';
import type { Suite } from '../lib/suite';

const clients = 128;
const longest = 128;
const vocabulary = 30_522;
const batchSize = 32;
const maxQueueRows = 256;
const maxQueueBytes = 64 * 2 ** 20;
const deadlineMs = 5;
/** Of the load: it runs on the cores that are to run batches. */
const stepMs = 4;
/** Of node and ONNX Runtime for themselves: garbage not yet collected, arenas that grow to the largest batch. */
const ownMiB = 96;

export const overload: Suite = {
  about: 'twice the load that can be run, for a minute: refusals, waiting, memory, throughput, recovery',
  async run({ rounds, quick, log }, report) {
    const path = await ensureModel({ kind: 'random', size: 'tiny' });
    const seconds = quick ? 5 : 60;
    const random = new Random(1, 'overload');
    const texts = randomTexts(random, 4096, longest, vocabulary);
    const options = { batchSize, maxQueueRows, maxQueueBytes };
    for (let round = 0; round < (quick ? 1 : Math.min(rounds, 2)); round++) {
      const model = await inference.load(path, options);
      const measurePeak = () => peakOf((i) => model.acall(texts[i % texts.length]!), quick ? 2000 : 12_000);
      const peak = await measurePeak();
      const rssBefore = process.memoryUsage.rss();

      const half = new Outcomes();
      let next = 0;
      const send = (outcomes: Outcomes, deadline?: number) => (due: number) =>
        outcomes.watch(
          due,
          deadline,
          model.acall(texts[next++ % texts.length]!, deadline ? { deadlineMs: deadline } : {}),
        );
      await openLoop(peak / 2, seconds / 4, send(half));
      await half.settled();

      model.clearStats();
      const flood = new Outcomes();
      const deadlines = new Outcomes();
      const memory = new Highest(() => process.memoryUsage.rss());
      const held = new Highest(() => model.stats.heldBytes);
      const start = performance.now();
      await Promise.all([
        openLoop(2 * peak, seconds, send(flood), stepMs),
        openLoop(20, seconds, send(deadlines, deadlineMs)),
      ]);
      const during = model.stats;
      const end = performance.now();
      const throughput = (1e3 * during.totalProcessed) / (end - start);
      await Promise.all([flood.settled(), deadlines.settled()]);
      const recovery = performance.now() - end;
      const peakAfter = await measurePeak();
      memory.stop();
      held.stop();

      // engine.h, and the batch that runs: row by row at worst; by batches as large as they were.
      const batch = during.processingTime.max;
      const lanes = during.lanes.length;
      const bound = Math.ceil((maxQueueRows + 1) / lanes) * batch + batch;
      const byBatches = (Math.ceil((maxQueueRows + 1) / (lanes * during.avgBatchSize)) + 2) * batch;
      const drain = (1e3 * (during.queueSize + lanes * batchSize)) / peak + batch;
      const answered = sorted(flood.answered);
      const longest = quantile(answered, 1);
      // A shared machine is slower or faster from one minute to the next, so the peak is taken on both sides.
      report.add('overload/throughput-of-peak', '', (2 * throughput) / (peak + peakAfter), { atLeast: 0.95 });
      report.add('overload/longest-of-bound', '', longest / bound, { atMost: 1 });
      report.add('overload/longest-of-batch-bound', '', longest / byBatches, { atMost: 1 });
      report.add('overload/other-refusals', '', flood.otherRefusals, { atMost: 0 });
      report.add('overload/refusal-p99-ms', 'ms', quantile(sorted(flood.refused), 0.99), { atMost: 10 });
      report.add('overload/refused-at-half-load', '', half.refused.length + half.otherRefusals, { atMost: 0 });
      report.add('overload/held-of-max-bytes', '', held.value / maxQueueBytes, { atMost: 1 });
      report.add('overload/memory-growth-mib', 'MiB', (memory.value - rssBefore) / 2 ** 20, {
        atMost: maxQueueBytes / 2 ** 20 + ownMiB,
      });
      report.add('overload/deadline-late-p99-ms', 'ms', quantile(sorted(deadlines.late), 0.99), { atMost: 10 });
      report.add('overload/recovery-of-draining', '', recovery / drain, { atMost: 1 });
      report.add('overload/peak-after-of-before', '', peakAfter / peak);
      report.add('overload/longest-ms', 'ms', longest);
      report.add('overload/p99-ms', 'ms', quantile(answered, 0.99));
      report.add('overload/refused-part', '', flood.refused.length / (flood.refused.length + flood.answered.length));
      report.add('overload/deadlines-passed', '', deadlines.late.length);
      report.add('overload/peak-per-s', '1/s', peak);
      log(
        `peak ${peak.toFixed(0)}/s, under twice that ${throughput.toFixed(0)}/s, peak afterwards ${peakAfter.toFixed(0)}/s; ` +
          `${flood.answered.length} answered, ${flood.refused.length} refused, ${deadlines.late.length} deadlines passed`,
      );
      await model.close();
    }
  },
};

async function peakOf(request: (index: number) => Promise<unknown>, count: number): Promise<number> {
  await timedLoop(clients, count / 2, request);
  const start = performance.now();
  await timedLoop(clients, count, request);
  return (1e3 * count) / (performance.now() - start);
}

/** How requests ended, in ms. */
class Outcomes {
  /** From the time on the schedule to the result. */
  readonly answered: number[] = [];
  /** From the call to its refusal as BATCHED_QUEUE_FULL. */
  readonly refused: number[] = [];
  /** From the deadline to the error that says so. */
  readonly late: number[] = [];
  otherRefusals = 0;
  #pending = 0;
  #settled: (() => void) | undefined;

  /** Does as little as possible: what it takes of this thread, the engine does not get. */
  watch(due: number, deadline: number | undefined, result: Promise<unknown>): void {
    const sent = performance.now();
    this.#pending++;
    result.then(
      () => {
        this.answered.push(performance.now() - due);
        this.#done();
      },
      (error: unknown) => {
        const { code } = error as { code?: string };
        if (code === 'BATCHED_QUEUE_FULL') this.refused.push(performance.now() - sent);
        else if (code === 'BATCHED_DEADLINE') this.late.push(performance.now() - sent - deadline!);
        else this.otherRefusals++;
        this.#done();
      },
    );
  }

  #done(): void {
    if (--this.#pending === 0) this.#settled?.();
  }

  /** Once nothing more is sent: when the last one has ended. */
  settled(): Promise<void> {
    return new Promise((resolve) => {
      this.#settled = resolve;
      if (this.#pending === 0) resolve();
    });
  }
}

/** The highest of samples ten times a second. */
class Highest {
  value = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(sample: () => number) {
    this.#timer = setInterval(() => (this.value = Math.max(this.value, sample())), 100);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
