/**
 * A load to look at in a profiler: 256 clients with WordNet glosses on MiniLM for a few seconds.
 *
 *   nsys profile -t nvtx -s none --cpuctxsw=none -o trace node --import tsx scripts/profile/load.ts --provider cpu
 */
import { parseArgs } from 'node:util';
import { inference } from '../../bench/lib/batched';
import { gpuModel } from '../../bench/lib/gpu-models';
import { ensureTexts } from '../data/token-texts';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      provider: { type: 'string', default: 'cuda' },
      clients: { type: 'string', default: '256' },
      seconds: { type: 'string', default: '3' },
      'batch-size': { type: 'string', default: '32' },
    },
  });
  const provider = values.provider === 'cpu' ? 'cpu' : 'cuda';
  const [clients, seconds, batchSize] = [values.clients, values.seconds, values['batch-size']].map(Number) as [
    number,
    number,
    number,
  ];
  const { path } = await gpuModel('minilm', provider);
  const texts = await ensureTexts('glosses');
  const model = await inference.load(path, { executionProviders: [provider], batchSize });
  model.clearStats();
  const end = performance.now() + 1e3 * seconds;
  let next = 0;
  const client = async (): Promise<void> => {
    while (performance.now() < end) {
      const { inputIds, attentionMask, tokenTypeIds } = texts[next++ % texts.length]!;
      await model.acall({ input_ids: inputIds, attention_mask: attentionMask, token_type_ids: tokenTypeIds });
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  const { totalProcessed, totalBatches, avgBatchSize, paddingEfficiency } = model.stats;
  console.log(
    JSON.stringify({ provider: model.stats.provider, totalProcessed, totalBatches, avgBatchSize, paddingEfficiency }),
  );
  await model.close();
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
