/**
 * The offline optimum: all texts known beforehand, sorted by length, cut into batches of the best fixed size, run by
 * plain onnxruntime sessions on as many cores as there are, with nothing else to do.
 *
 * Two ways are tried: one session with a thread per core, batch after batch, and one one-thread session per core,
 * each taking the next batch when it is done with the last. A worker thread holds the sessions of its core and has
 * its batches' tensors ready before the clock starts. Workers meet in two shared words and read the clock themselves,
 * so that no message is inside the measured time; the main thread sleeps.
 */
import { once } from 'node:events';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Encoded } from '../../scripts/data/tokenize';
import { tokensOf } from './corpus';

export const batchSizes = [1, 2, 4, 8, 16, 32, 64] as const;

/** `wide`: one session, one thread per core. `lanes`: one session of one thread per core. */
export type Way = 'wide' | 'lanes';

export interface Plan {
  readonly way: Way;
  readonly batchSize: number;
}

export interface Tried {
  readonly plan: Plan;
  readonly tokensPerMs: number;
}

/** Plans slower than this part of the fastest aren't tried again. */
const hopeless = 0.8;

/** Rows padded to the longest, ready to be a tensor's data. */
export interface PaddedBatch {
  readonly rows: number;
  readonly length: number;
  readonly inputIds: BigInt64Array;
  readonly attentionMask: BigInt64Array;
}

export interface Measured {
  readonly ms: number;
  readonly tokens: number;
  readonly texts: number;
  /** Useful tokens / padded tokens. */
  readonly efficiency: number;
}

export type Request = { way: Way; batches: PaddedBatch[]; workers: number; shared: SharedArrayBuffer } | 'close';

/** When a worker ran its part, in nanoseconds of process.hrtime, one clock for all threads. */
export interface Span {
  readonly start: bigint;
  readonly end: bigint;
}

/** Words of the shared memory: workers that are ready, and the next batch. */
export const Word = { ready: 0, next: 1, count: 2 } as const;

export function pad(texts: readonly Encoded[]): PaddedBatch {
  const rows = texts.length;
  const length = Math.max(...texts.map((text) => text.length));
  const inputIds = new BigInt64Array(rows * length);
  const attentionMask = new BigInt64Array(rows * length);
  texts.forEach((text, row) => {
    inputIds.set(text.inputIds, row * length);
    attentionMask.set(text.attentionMask, row * length);
  });
  return { rows, length, inputIds, attentionMask };
}

function cut(texts: readonly Encoded[], batchSize: number): Encoded[][] {
  // Longest first: the last batches to be shared out are then short, so that no core ends much later than another.
  const descending = [...texts].sort((a, b) => b.length - a.length);
  const batches: Encoded[][] = [];
  for (let at = 0; at < descending.length; at += batchSize) batches.push(descending.slice(at, at + batchSize));
  return batches;
}

/** A worker does not inherit tsx's hooks for its first file. */
const workerSource = `require('tsx/cjs'); require(${JSON.stringify(path.join(__dirname, 'optimum-worker.ts'))});`;

export class OfflineOptimum {
  readonly #workers: Worker[];

  private constructor(workers: Worker[]) {
    this.#workers = workers;
  }

  static async start(model: string, cores: number): Promise<OfflineOptimum> {
    const workers = Array.from({ length: cores }, (_, index) => {
      return new Worker(workerSource, { eval: true, workerData: { model, cores, wide: index === 0 } });
    });
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    return new OfflineOptimum(workers);
  }

  /** Runs all texts. */
  run(texts: readonly Encoded[], { way, batchSize }: Plan): Promise<Measured> {
    return this.#run(cut(texts, batchSize), way);
  }

  /**
   * Tries every plan, and gives them with the fastest first. Every size gets its share, about `sample` texts, of the
   * very batches that all texts make, so that a large size isn't charged for the padding of a small sample. A plan's
   * best pass counts, since a disturbance only ever makes one slower; plans that two passes found much worse drop out.
   */
  async tune(texts: readonly Encoded[], sample: number, passes: number): Promise<Tried[]> {
    const tried = (['wide', 'lanes'] as const).flatMap((way) =>
      batchSizes.map((batchSize) => ({ plan: { way, batchSize }, tokensPerMs: 0 })),
    );
    let remaining = tried;
    for (let pass = 0; pass < passes; pass++) {
      for (const candidate of remaining) {
        const all = cut(texts, candidate.plan.batchSize);
        const step = Math.max(1, texts.length / sample);
        const some: Encoded[][] = [];
        for (let at = pass % step; at < all.length; at += step) some.push(all[Math.floor(at)]!);
        const { tokens, ms } = await this.#run(some, candidate.plan.way);
        candidate.tokensPerMs = Math.max(candidate.tokensPerMs, tokens / ms);
      }
      tried.sort((a, b) => b.tokensPerMs - a.tokensPerMs);
      if (pass > 0) remaining = tried.filter(({ tokensPerMs }) => tokensPerMs > hopeless * tried[0]!.tokensPerMs);
    }
    return tried;
  }

  async #run(groups: Encoded[][], way: Way): Promise<Measured> {
    const batches = groups.map(pad);
    const workers = way === 'wide' ? this.#workers.slice(0, 1) : this.#workers;
    const shared = new SharedArrayBuffer(4 * Word.count);
    const spans = workers.map((worker) => once(worker, 'message') as Promise<[Span]>);
    for (const worker of workers) {
      worker.postMessage({ way, batches, workers: workers.length, shared } satisfies Request);
    }
    const done = (await Promise.all(spans)).map(([span]) => span);
    const first = done.reduce((a, { start }) => (start < a ? start : a), done[0]!.start);
    const last = done.reduce((a, { end }) => (end > a ? end : a), done[0]!.end);
    const ms = Number(last - first) / 1e6;
    const texts = groups.flat();
    const tokens = tokensOf(texts);
    const padded = batches.reduce((sum, { rows, length }) => sum + rows * length, 0);
    return { ms, tokens, texts: texts.length, efficiency: tokens / padded };
  }

  async close(): Promise<void> {
    const exits = this.#workers.map((worker) => once(worker, 'exit'));
    for (const worker of this.#workers) worker.postMessage('close' satisfies Request);
    await Promise.all(exits);
  }
}
