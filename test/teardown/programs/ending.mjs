// A worker is terminated, or the process exits, with a call on its way:
//
//   node ending.mjs <terminate | exit> <function | model> <acall | sync> <slow model>
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { dynamically, inference } from '../../../dist/index.mjs';

const [how, what, kind, path] = isMainThread ? process.argv.slice(2) : workerData;
const say = (text) => process.stdout.write(`${text}\n`);
const turn = () => new Promise((resolve) => setImmediate(resolve));
const input = { x: [[1, 2, 3]] };
const load = () => inference.load(path, { lanes: 1, batchSize: 1, warmup: false });

/** Makes the calls; `begun` is called once one of them runs. */
async function calls(begun) {
  if (what === 'function' && kind === 'sync') {
    const forever = dynamically(() => {
      begun();
      for (;;);
    });
    forever(1);
  }
  const batched =
    what === 'model' ? await load() : dynamically(() => new Promise((resolve) => setTimeout(resolve, 1e6)), { batchSize: 1 }); // prettier-ignore
  const item = what === 'model' ? input : 1;
  const settlements = Array.from({ length: 8 }, (_, n) => {
    const count = { settled: 0 };
    const counts = () => count.settled++;
    batched.acall(item, n % 2 ? { signal: new AbortController().signal } : undefined).then(counts, counts);
    return count;
  });
  process.on('exit', () => {
    if (how === 'exit') say(settlements.every(({ settled }) => settled <= 1) ? 'settled once at most' : 'twice');
  });
  while (batched.stats.queueSize === 0 || batched.stats.queueSize === 8) await turn(); // until the first runs
  begun();
  if (kind === 'sync') for (;;) batched(input);
  await new Promise((resolve) => setTimeout(resolve, 1e6));
}

async function main() {
  if (how === 'exit') {
    if (what === 'function' && kind === 'sync') process.on('exit', () => say('settled once at most'));
    // From within the sync call of a function; for a model, whose sync call holds the thread, right before the next.
    await calls(() => process.exit(3));
  }
  const mine = dynamically((items) => items.map((item) => 2 * item));
  const model = await load();
  const pending = [mine.acall(2), model.acall(input)];
  const worker = new Worker(new URL(import.meta.url), { workerData: process.argv.slice(2) });
  const exited = new Promise((resolve) => worker.once('exit', resolve));
  await new Promise((resolve) => worker.once('message', resolve));
  await worker.terminate();
  say(`exit ${await exited}`);
  const [doubled, echoed] = await Promise.all([...pending, mine.acall(1), model.acall(input)]);
  for (const { stats } of [mine, model]) {
    const { admitted, totalProcessed, queueSize } = stats;
    if (admitted !== 2 || totalProcessed !== 2 || queueSize !== 0) throw new Error(JSON.stringify(stats));
  }
  if (doubled === 4 && echoed.data.join() === '1,2,3') say('the main thread goes on');
}

if (isMainThread) await main();
else await calls(() => parentPort.postMessage('begun'));
