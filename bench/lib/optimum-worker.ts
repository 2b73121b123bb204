/** One core of the offline optimum: see offline-optimum.ts. */
import os from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import * as ort from 'onnxruntime-node';
import { type PaddedBatch, type Request, type Span, type Way, Word } from './offline-optimum';

const { model, cores, wide } = workerData as { model: string; cores: number; wide: boolean };
const port = parentPort!;

function createSession(threads: number): Promise<ort.InferenceSession> {
  return ort.InferenceSession.create(model, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    // Plans of memory by shape cost more than they save: 1 to 3 % of CPU time here.
    enableMemPattern: false,
    logSeverityLevel: 3,
  });
}

function feedsOf({ rows, length, inputIds, attentionMask }: PaddedBatch): Record<string, ort.Tensor> {
  const dims = [rows, length];
  return {
    input_ids: new ort.Tensor('int64', inputIds, dims),
    attention_mask: new ort.Tensor('int64', attentionMask, dims),
    token_type_ids: new ort.Tensor('int64', new BigInt64Array(rows * length), dims),
  };
}

/** Blocks until all workers of this measurement have got here. */
function allReady(words: Int32Array, workers: number): void {
  Atomics.add(words, Word.ready, 1);
  Atomics.notify(words, Word.ready);
  for (let ready = 0; (ready = Atomics.load(words, Word.ready)) < workers;) Atomics.wait(words, Word.ready, ready);
}

async function main(): Promise<void> {
  // Our lanes run at this priority, behind the JavaScript thread. On a quiet machine it changes nothing; beside
  // another program's work the comparison would be one of priorities. 0 is the calling thread; its pools inherit it.
  if (process.platform === 'linux') os.setPriority(0, 10);
  const sessions: Partial<Record<Way, ort.InferenceSession>> = { lanes: await createSession(1) };
  if (wide) sessions.wide = await createSession(cores);

  const measure = async ({ way, batches, workers, shared }: Exclude<Request, 'close'>): Promise<void> => {
    const session = sessions[way]!;
    const feeds = batches.map(feedsOf);
    const words = new Int32Array(shared);
    allReady(words, workers);
    const start = process.hrtime.bigint();
    for (let next = Atomics.add(words, Word.next, 1); next < feeds.length; next = Atomics.add(words, Word.next, 1)) {
      await session.run(feeds[next]!);
    }
    port.postMessage({ start, end: process.hrtime.bigint() } satisfies Span);
  };

  port.on('message', (request: Request) => {
    if (request === 'close') port.close();
    else void measure(request);
  });
  port.postMessage('loaded');
}

void main();
