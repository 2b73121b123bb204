// A worker thread of ending.mjs: calls a model in the way that `step` says, and says 'begun' when it has.
import { parentPort, workerData } from 'node:worker_threads';
import { inference } from '../../../dist/index.mjs';

const { step, path, provider, token } = workerData;
const text = { input_ids: BigInt64Array.from({ length: 40 }, (_, i) => BigInt(i)) };
const own = () => inference.load(path, { executionProviders: [provider], batchSize: 8 });

const many = (model) => Promise.all(Array.from({ length: 200 }, () => model.acall(text)));

async function forEver(model) {
  const client = async () => {
    for (;;) await model.acall(text);
  };
  for (let i = 0; i < 32; i++) void client();
  await model.acall(text);
  parentPort.postMessage('begun');
}

const steps = {
  shared: async () => many(inference.attach(token)),
  own: async () => many(await own()),
  'for ever': async () => forEver(await own()),
  'shared for ever': async () => forEver(inference.attach(token)),
};

await steps[step]();
