/**
 * Thousands of real sentences through a real model, batched by the native engine, next to plain onnxruntime-node.
 *
 *   npm run quickstart [-- --texts 5000 --clients 256 --precision fp32|int8]
 */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { SingleBar } from 'cli-progress';
import type * as Ort from 'onnxruntime-node';
import { loadGlosses } from '../scripts/data/wordnet';
import { loadTokenizer } from '../scripts/data/tokenize';
import { ensureModel } from '../scripts/models';
import { inference, loadLibrary, type Tensor } from '../ts';

interface Tokens {
  inputIds: BigInt64Array;
  attentionMask: BigInt64Array;
  tokenTypeIds: BigInt64Array;
  length: number;
}

interface Run {
  name: string;
  texts: number;
  seconds: number;
  latencies: number[];
  loopDelay: number;
  note: string;
}

const { values } = parseArgs({
  options: {
    texts: { type: 'string', default: '5000' },
    clients: { type: 'string', default: '256' },
    precision: { type: 'string', default: 'fp32' },
  },
});
const textCount = Number(values.texts);
const clientCount = Number(values.clients);
/** Plain onnxruntime-node is slow enough that a part of the texts is enough to time it. */
const plainShare = 0.1;

function percentile(sorted: readonly number[], fraction: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))] ?? NaN;
}

/** Runs `task` for every index from many clients at once, each with one call in flight, and times it. */
async function drive(name: string, count: number, clients: number, task: (i: number) => Promise<void>): Promise<Run> {
  const bar = new SingleBar({ format: `${name.padEnd(36)} {bar} {value}/{total} texts`, hideCursor: true });
  if (process.stdout.isTTY) bar.start(count, 0);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const latencies: number[] = [];
  let next = 0;
  const start = performance.now();
  const client = async (): Promise<void> => {
    while (next < count) {
      const i = next++;
      const begin = performance.now();
      await task(i);
      latencies.push(performance.now() - begin);
      if (i % 64 === 0) bar.update(latencies.length);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  const seconds = (performance.now() - start) / 1000;
  delay.disable();
  bar.stop();
  latencies.sort((a, b) => a - b);
  return { name, texts: count, seconds, latencies, loopDelay: delay.percentile(99) / 1e6, note: '' };
}

function report(runs: readonly Run[]): void {
  console.log(`\n${''.padEnd(36)}  texts/s   p50 ms   p99 ms   event loop p99 ms`);
  for (const { name, texts, seconds, latencies, loopDelay, note } of runs) {
    const figures = [
      (texts / seconds).toFixed(0).padStart(7),
      percentile(latencies, 0.5).toFixed(1).padStart(8),
      percentile(latencies, 0.99).toFixed(1).padStart(8),
      loopDelay.toFixed(1).padStart(19),
    ];
    console.log(`${name.padEnd(36)}  ${figures.join(' ')}   ${note}`);
  }
}

function similarity(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

async function main(): Promise<void> {
  const precision = values.precision as 'fp32' | 'int8';
  const model = await ensureModel({ kind: 'minilm', precision });
  const tokenize = await loadTokenizer();
  const texts = loadGlosses(textCount, { shuffle: true, seed: 1 });
  const tokens: Tokens[] = texts.map((text) => tokenize(text));

  const embed = await inference.load(model, { batchSize: 32, outputs: ['sentence_embedding'] });
  const library = loadLibrary();
  console.log(
    `${texts.length} WordNet glosses, all-MiniLM-L6-v2 ${precision}, ONNX Runtime ${library.version} (${embed.stats.provider})\n`,
  );
  const embeddings = new Array<Float32Array>(texts.length);
  const embedOne = async ({ inputIds }: Tokens): Promise<Float32Array> => {
    const output = (await embed.acall({ input_ids: inputIds })) as Tensor<Float32Array>;
    return output.data;
  };

  const batched = await drive(`batched, ${clientCount} clients`, texts.length, clientCount, async (i) => {
    embeddings[i] = await embedOne(tokens[i]!);
  });
  const { avgBatchSize, paddingEfficiency } = embed.stats;
  batched.note = `batches of ${avgBatchSize.toFixed(1)}, ${(100 * paddingEfficiency).toFixed(0)} % useful`;

  const ort = await import('onnxruntime-node');
  const session = await ort.InferenceSession.create(model);
  const few = Math.max(64, Math.floor(texts.length * plainShare));
  const runPlain = async (i: number): Promise<void> => {
    await session.run(feedsOf(ort, tokens[i]!), ['sentence_embedding']);
  };
  const serial = await drive('onnxruntime-node, one by one', few, 1, runPlain);
  const parallel = await drive('onnxruntime-node, 64 in parallel', few, 64, runPlain);
  report([batched, serial, parallel]);

  console.log('\nNearest neighbours of a few queries:');
  for (const query of ['a large musical instrument', 'to move quickly on foot', 'a disease of the lungs']) {
    const target = await embedOne(tokenize(query));
    const best = embeddings
      .map((embedding, i) => ({ score: similarity(embedding, target), text: texts[i]! }))
      .sort((a, b) => b.score - a.score)
      .slice(0, 3);
    console.log(`  ${query}`);
    for (const { score, text } of best) console.log(`    ${score.toFixed(3)}  ${text}`);
  }
  await session.release();
  await embed.close();
}

function feedsOf(ort: typeof Ort, tokens: Tokens): Record<string, Ort.Tensor> {
  const tensor = (data: BigInt64Array): Ort.Tensor => new ort.Tensor('int64', data, [1, tokens.length]);
  return {
    input_ids: tensor(tokens.inputIds),
    attention_mask: tensor(tokens.attentionMask),
    token_type_ids: tensor(tokens.tokenTypeIds),
  };
}

void main();
