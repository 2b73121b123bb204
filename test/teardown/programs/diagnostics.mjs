// Subscribers of diagnostics channels:  node diagnostics.mjs <scenario> <quick model>
import { subscribe } from 'node:diagnostics_channel';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { dynamically, inference } from '../../../dist/index.mjs';

const say = (...parts) => process.stdout.write(`${parts.map((part) => JSON.stringify(part)).join(' ')}\n`);

const scenarios = {
  async 'one that throws'(path) {
    const uncaught = [];
    process.on('uncaughtException', ({ message }) => uncaught.push(message));
    for (const name of ['batched:batch', 'batched:request']) {
      subscribe(name, () => {
        throw new Error(name);
      });
    }
    const f = dynamically((items) => items.map((item) => 2 * item));
    const model = await inference.load(path, { lanes: 1, batchSize: 2, timeoutMs: 1e9 });
    say(await Promise.all([f.acall(1), f.acall([2, 3])]), f(4));
    const results = await Promise.all([model.acall({ x: [[1]] }), model.acall({ x: [[2]] })]);
    say(results.map(({ data }) => [...data]));
    await Promise.all([f.close(), model.close()]);
    await new Promise((resolve) => setImmediate(resolve));
    // Two batches and three calls of the function, a batch and two calls of the model.
    say(uncaught.sort());
  },

  async 'two threads'(path) {
    const messages = [];
    const model = await inference.load(path, { lanes: 1 });
    subscribe('batched:batch', ({ rows, kind }) => messages.push([rows, kind]));
    await model.acall({ x: [[1]] });
    const worker = new Worker(new URL(import.meta.url), { workerData: model.share() });
    const [own, others] = await new Promise((resolve) => worker.once('message', resolve));
    say(own, others);
    await new Promise((resolve) => worker.once('exit', resolve));
    await model.acall({ x: [[1]] });
    // Its own, the two of the worker, and one more after that has ended.
    say(messages);
    await model.close();
  },

  // What a subscriber makes of a call's promise must not take its rejection.
  async 'a rejection that nobody handles'() {
    process.on('unhandledRejection', ({ message }) => say('unhandled', message));
    subscribe('batched:request', ({ outcome }) => say(outcome));
    const broken = dynamically(() => {
      throw new Error('boom');
    });
    void broken.acall(1);
  },

  async 'the process ends by itself'(path) {
    subscribe('batched:batch', () => undefined);
    const model = await inference.load(path);
    model({ x: [[1]] });
    say('done');
  },
};

async function body() {
  const model = inference.attach(workerData);
  const messages = [];
  await model.acall({ x: [[1], [2]] });
  subscribe('batched:batch', ({ rows, lane }) => messages.push([rows, typeof lane]));
  await model.acall({ x: [[1], [2], [3]] });
  parentPort.postMessage([messages.length, messages]);
}

if (isMainThread) await scenarios[process.argv[2]](process.argv[3]);
else await body();
