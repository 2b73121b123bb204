/** Statistics as every batched callable gives them. */
import type { CacheStats } from './cache/cache';
import type { LaneStats, NativeCounters, NativeEngineStats, NativePercentiles } from './native';

/** Milliseconds, from a log-linear histogram (about 3 % resolution). */
export interface Percentiles {
  /** The median. */
  p50: number;
  /** The 90th percentile. */
  p90: number;
  /** The 99th percentile. */
  p99: number;
  /** The largest. */
  max: number;
}

/** Batches by why they were dispatched. A type alias, since Object.values() of an interface are `any`. */
export type DispatchReasons = {
  /** A whole budget (`batchSize`, `maxBatchTokens`) waited. */
  full: number;
  /** A lane, or the function, was free and took what there was. */
  idle: number;
  /** The oldest row had waited `timeoutMs`. */
  timeout: number;
  /** The running batch was about to end, so the next one was made ready. */
  staged: number;
};

/** Microseconds, learned from a model's own batches: tokens * perToken + rows * perRow + perBatch. */
export interface BatchCost {
  /** For each token of padded length. */
  perToken: number;
  /** For each row. */
  perRow: number;
  /** For the run itself. */
  perBatch: number;
}

/**
 * A snapshot; counts are of rows unless they say otherwise. With a cache, only what it did not have reaches the queue
 * and is counted as a row; what all callers of a row have given up (by signal or deadline) is `cancelled`.
 */
export interface BatchStats {
  /** Rows that wait now. */
  queueSize: number;
  /** Rows that have got their result. */
  totalProcessed: number;
  /** Batches that have run. */
  totalBatches: number;
  /** Rows of a batch, on average. */
  avgBatchSize: number;
  /** Milliseconds that a batch takes, on average. */
  avgProcessingTime: number;
  /** From enqueued to bound to a batch. */
  queueTime: Percentiles;
  /** Of batches: from the start of the run to its end. */
  processingTime: Percentiles;
  /** From enqueued to settled. */
  totalTime: Percentiles;
  /** Useful length / padded length, 0 to 1. */
  paddingEfficiency: number;
  /** How many batches had so many rows. */
  batchSizes: Record<number, number>;
  /** Why batches were dispatched. */
  dispatchReasons: DispatchReasons;
  /** Rows admitted; each ends as processed, failed, cancelled, timedOut or closed. */
  admitted: number;
  /** Rows whose call was rejected with an error of the function, of the run or of its outputs. */
  failed: number;
  /** Rows whose call was aborted by its signal. */
  cancelled: number;
  /** Rows whose call's `deadlineMs` passed. */
  timedOut: number;
  /** Rows that waited when it was closed without draining. */
  closed: number;
  /** Rows refused because the queue was full. */
  rejected: number;
  /** Rows that made a batch fail, found and failed alone. */
  isolated: number;
  /** Extra runs that it took to find them, or after running out of memory. */
  retries: number;
  /** Of a model; a user function has none. */
  lanes: LaneStats[];
  /** With the option `cache`. */
  cacheStats?: CacheStats;
}

/** What a model adds. */
export interface ModelStats extends BatchStats {
  /** The execution provider in use: `'cuda'` or `'cpu'`. */
  provider: string;
  /** Why it is not CUDA, where that was asked for by name or is here in part. */
  providerNote?: string;
  /** Bytes of inputs that calls in the engine hold. */
  heldBytes: number;
  /** Threads that one lane computes with. */
  laneThreads: number;
  /** Threads of the wide session, for a batch that has the machine for itself; 0: there is none. */
  wideThreads: number;
  /** Rows of every run where the model fixes them, else 0. With 1 nothing is batched: rows run one by one. */
  fixedBatch: number;
  /** What a batch costs, as learned, in microseconds: tokens * perToken + rows * perRow + perBatch. */
  cost: BatchCost;
}

function percentiles({ p50, p90, p99, max }: NativePercentiles): Percentiles {
  return { p50, p90, p99, max };
}

export function batchStats(counters: NativeCounters, lanes: LaneStats[]): BatchStats {
  return {
    queueSize: counters.queueRows,
    totalProcessed: counters.processed,
    totalBatches: counters.batches,
    avgBatchSize: counters.batches === 0 ? 0 : counters.batchRows / counters.batches,
    avgProcessingTime:
      counters.processingTime.count === 0 ? 0 : counters.processingTime.sum / counters.processingTime.count,
    queueTime: percentiles(counters.queueTime),
    processingTime: percentiles(counters.processingTime),
    totalTime: percentiles(counters.totalTime),
    paddingEfficiency: counters.paddedTokens === 0 ? 1 : counters.usefulTokens / counters.paddedTokens,
    batchSizes: counters.batchSizes,
    dispatchReasons: counters.dispatchReasons,
    admitted: counters.admitted,
    failed: counters.failed,
    cancelled: counters.cancelled,
    timedOut: counters.timedOut,
    closed: counters.closed,
    rejected: counters.rejected,
    isolated: counters.isolated,
    retries: counters.retries,
    lanes,
  };
}

export function modelStats(stats: NativeEngineStats, fixedBatch: number): ModelStats {
  const { perToken, perRow, perBatch } = stats.cost;
  return {
    ...batchStats(stats, stats.lanes),
    provider: stats.provider,
    ...(stats.providerNote === '' ? {} : { providerNote: stats.providerNote }),
    heldBytes: stats.heldBytes,
    laneThreads: stats.laneThreads,
    wideThreads: stats.wideThreads,
    fixedBatch,
    cost: { perToken: perToken / 1e3, perRow: perRow / 1e3, perBatch: perBatch / 1e3 },
  };
}
