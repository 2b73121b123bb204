// Worker threads that end in some way, one after the other and several at once:
//
//   node worker.mjs <step of worker-body.mjs> <terminate | wait> <turns> <workers> <rounds> <slow model> <quick model>
//
// `turns` of the event loop pass between a worker's word that it has begun and its termination. With `main` as an
// eighth argument this thread uses the add-on too, which then is not unloaded with the last worker.
import { Worker } from 'node:worker_threads';

const [step, how, turns, workers, rounds, slow, quick, main] = process.argv.slice(2);
const body = new URL('worker-body.mjs', import.meta.url);

async function one() {
  const worker = new Worker(body, { workerData: { step, slow, quick } });
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  let error = '';
  worker.on('error', ({ message }) => (error = message));
  await new Promise((resolve, reject) => {
    worker.on('message', (message) => (message === 'begun' ? resolve() : process.stdout.write(`${message}\n`)));
    worker.once('exit', () => reject(new Error(`the worker ended before it began: ${error}`)));
  });
  for (let i = 0; i < Number(turns); i++) await new Promise((resolve) => setImmediate(resolve));
  if (how === 'terminate') void worker.terminate();
  const code = await ended;
  process.stdout.write(`exit ${code} ${error}\n`);
}

const library = main ? await import('../../../dist/index.mjs') : undefined;
const model = await library?.inference.load(quick);
for (let round = 0; round < Number(rounds); round++) {
  await Promise.all(Array.from({ length: Number(workers) }, one));
  if (model) process.stdout.write(`main ${[...(await model.acall({ x: [[4]] })).data]}\n`);
}
process.stdout.write('all ended\n');
