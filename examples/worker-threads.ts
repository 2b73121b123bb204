/**
 * Worker threads tokenise, one engine embeds: common batches, one session in memory, a free main thread.
 *
 *   npx tsx examples/worker-threads.ts [--texts 2000 --workers 4 --clients 8]
 *
 * Each worker takes its share of the texts, first with `clients` calls in flight, then with sync calls: one at a time,
 * each blocking its own thread only. A batch with more rows than one worker has in flight is one of several threads.
 */
import { once } from 'node:events';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { loadTokenizer } from '../scripts/data/tokenize';
import { loadGlosses } from '../scripts/data/wordnet';
import { ensureModel } from '../scripts/models';
import { type BatchedModel, inference, type ModelStats, type ModelToken } from '../ts';

interface Share {
  readonly token: ModelToken;
  readonly texts: readonly string[];
  readonly clients: number;
}

async function work({ token, texts, clients }: Share): Promise<void> {
  const tokenize = await loadTokenizer();
  const embed = inference.attach(token); // nothing is loaded

  const messages = (async function* () {
    for (;;) yield ((await once(parentPort!, 'message')) as [string])[0];
  })();
  parentPort!.postMessage('ready');
  for await (const message of messages) {
    let next = 0;
    const features = (): { input_ids: BigInt64Array } => ({ input_ids: tokenize(texts[next++]!).inputIds });
    if (message === 'async') {
      const client = async (): Promise<void> => {
        while (next < texts.length) await embed.acall(features());
      };
      await Promise.all(Array.from({ length: clients }, client));
    } else {
      while (next < texts.length) embed(features());
    }
    parentPort!.postMessage('done');
  }
}

/** How many rows were in batches of each size. */
function histogram({ batchSizes }: ModelStats): string {
  const sizes = Object.entries(batchSizes).map(([size, batches]) => ({ size: Number(size), batches }));
  const most = Math.max(...sizes.map(({ batches }) => batches));
  return sizes
    .map(({ size, batches }) => `  ${String(size).padStart(3)} rows ${'█'.repeat((40 * batches) / most)} ${batches}`)
    .join('\n');
}

async function drive(title: string, embed: BatchedModel, workers: readonly Worker[], message: string): Promise<void> {
  embed.clearStats();
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const start = performance.now();
  await Promise.all(
    workers.map((worker) => {
      worker.postMessage(message);
      return once(worker, 'message');
    }),
  );
  const seconds = (performance.now() - start) / 1000;
  delay.disable();
  const { stats } = embed;
  console.log(
    `${title}: ${(stats.totalProcessed / seconds).toFixed(0)} texts/s in batches of ${stats.avgBatchSize.toFixed(1)}, ` +
      `event loop of the main thread p99 ${(delay.percentile(99) / 1e6).toFixed(1)} ms\n${histogram(stats)}`,
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      texts: { type: 'string', default: '2000' },
      workers: { type: 'string', default: '4' },
      clients: { type: 'string', default: '8' },
    },
  });
  const count = Number(values.workers);
  const clients = Number(values.clients);
  const texts = loadGlosses(Number(values.texts), { shuffle: true, seed: 1 });

  const path = await ensureModel({ kind: 'minilm', precision: 'fp32' });
  const loading = process.memoryUsage.rss();
  const embed = await inference.load(path, { outputs: ['sentence_embedding'] });
  const mebibytes = (process.memoryUsage.rss() - loading) / 2 ** 20;
  console.log(`all-MiniLM-L6-v2, loaded once (${mebibytes.toFixed(0)} MiB); ${count} workers share it\n`);

  const token = embed.share();
  const workers = Array.from({ length: count }, (_, i) => {
    const share: Share = { token, clients, texts: texts.filter((__, n) => n % count === i) };
    // Only for an example in TypeScript: tsx's hooks are not handed on to worker threads.
    return new Worker(`require('tsx/cjs'); require(${JSON.stringify(__filename)});`, { eval: true, workerData: share });
  });
  await Promise.all(workers.map((worker) => once(worker, 'message')));
  await drive(`${clients} calls in flight in each worker`, embed, workers, 'async');
  await drive('sync calls, one at a time in each worker', embed, workers, 'sync');
  await Promise.all(workers.map((worker) => worker.terminate()));
  await embed.close();
}

void (isMainThread ? main() : work(workerData as Share));
