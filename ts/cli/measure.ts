/** A closed loop: clients that each wait for their result before they call again. */
import type { BatchedModel } from '../inference';
import type { Percentiles } from '../stats';
import type { Tensor } from '../tensor';

export interface Figures {
  rows: number;
  rowsPerSecond: number;
  /** Milliseconds from call to result. */
  latency: Percentiles;
  /** Rows that ran together, on average. */
  avgBatchSize: number;
}

/** Of the measured time, what goes before it. */
const warmUpShare = 0.2;

/** Ascending values: the nearest rank. */
function quantile(ascending: Float64Array, part: number): number {
  return ascending[Math.max(0, Math.ceil(part * ascending.length) - 1)]!;
}

export async function measure(
  call: BatchedModel,
  rows: readonly Record<string, Tensor>[],
  clients: number,
  seconds: number,
): Promise<Figures> {
  await drive(call, rows, clients, warmUpShare * seconds);
  call.clearStats();
  const start = performance.now();
  const latencies = Float64Array.from(await drive(call, rows, clients, seconds)).sort();
  const elapsed = (performance.now() - start) / 1000;
  return {
    rows: latencies.length,
    rowsPerSecond: latencies.length / elapsed,
    latency: {
      p50: quantile(latencies, 0.5),
      p90: quantile(latencies, 0.9),
      p99: quantile(latencies, 0.99),
      max: latencies.at(-1)!,
    },
    avgBatchSize: call.stats.avgBatchSize,
  };
}

/** Every client calls at least once. Gives the milliseconds that each call took. */
async function drive(
  call: BatchedModel,
  rows: readonly Record<string, Tensor>[],
  clients: number,
  seconds: number,
): Promise<number[]> {
  const latencies: number[] = [];
  const end = performance.now() + 1000 * seconds;
  let next = 0;
  const client = async (): Promise<void> => {
    let now = performance.now();
    do {
      await call.acall(rows[next++ % rows.length]!);
      const begun = now;
      now = performance.now();
      latencies.push(now - begun);
    } while (now < end);
  };
  await Promise.all(Array.from({ length: clients }, client));
  return latencies;
}
