/**
 * Whether a model runs on a provider here:  probe.js cuda|cpu
 *
 * Prints one line of JSON with what it ran on; ends with 1 and the reason where it does not run.
 */
import { inference, loadLibrary } from '../../bench/lib/batched';
import { ensureModel } from '../models';

async function main(): Promise<void> {
  const provider = process.argv[2] === 'cpu' ? 'cpu' : 'cuda';
  const path = await ensureModel({ kind: 'random', size: 'micro' });
  const begin = performance.now();
  const model = await inference.load(path, { executionProviders: [provider] });
  const loaded = performance.now();
  await model.acall({ input_ids: BigInt64Array.from([1n, 2n, 3n]) });
  const called = performance.now();
  const { lanes, provider: runsOn } = model.stats;
  await model.close();
  const { path: library, version } = loadLibrary();
  const times = { loadMs: Math.round(loaded - begin), callMs: Math.round(called - loaded) };
  console.log(JSON.stringify({ provider: runsOn, lanes: lanes.map(({ name }) => name), ...times, library, version }));
  if (runsOn !== provider) throw new Error(`the model runs on ${runsOn}, not on ${provider}`);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
