// How a process ends while a device works for it:  node ending.mjs <scenario> <micro encoder> <provider>
import { Worker } from 'node:worker_threads';
import { inference } from '../../../dist/index.mjs';

const [scenario, path, provider] = process.argv.slice(2);
const say = (text) => process.stdout.write(`${text}\n`);
const turn = () => new Promise((resolve) => setImmediate(resolve));

const text = { input_ids: BigInt64Array.from({ length: 40 }, (_, i) => BigInt(i)) };
const load = (options = {}) => inference.load(path, { executionProviders: [provider], ...options });

/** A model that 64 clients call for ever, with some batches behind it. */
async function underLoad(options = {}) {
  const model = await load({ batchSize: 8, ...options });
  const client = async () => {
    for (;;) await model.acall(text);
  };
  for (let i = 0; i < 64; i++) void client();
  while (model.stats.totalBatches < 4) await turn();
  return model;
}

class Thread {
  constructor(workerData) {
    this.worker = new Worker(new URL('worker.mjs', import.meta.url), { workerData: { path, provider, ...workerData } });
    this.worker.on('error', ({ message }) => say(`worker: ${message}`));
    this.begun = new Promise((resolve) => this.worker.once('message', resolve));
    this.exit = new Promise((resolve) => this.worker.once('exit', resolve));
  }
}

/** The model of this thread still gives what it gave at first. */
async function stillRight(model, wanted) {
  const { data } = await model.acall(text);
  say(data.every((value, i) => Math.abs(value - wanted.data[i]) <= 1e-5) ? 'main right' : 'main wrong');
}

const scenarios = {
  async 'ends by itself, not closed'() {
    const model = await load();
    await model.acall(text);
    say('called');
  },
  async 'ends by itself, once all that is pending has settled'() {
    const model = await load({ batchSize: 8 });
    let settled = 0;
    for (let i = 0; i < 64; i++) void model.acall(text).then(() => ++settled === 64 && say(`settled ${settled}`));
  },
  async 'process.exit while runs are under way'() {
    await underLoad();
    process.exit(3);
  },
  async 'process.exit while loading'() {
    void load();
    await turn();
    process.exit(3);
  },
  async 'process.exit while closing'() {
    const model = await underLoad();
    void model.close({ drain: false });
    process.exit(3);
  },
  async 'an uncaught exception'() {
    await underLoad();
    setImmediate(() => {
      throw new Error('nobody catches this');
    });
  },
  async SIGTERM() {
    await underLoad();
    process.kill(process.pid, 'SIGTERM');
  },
  async 'a sync call, then the end'() {
    const model = await load();
    model(text);
    say('called');
  },
  async 'three share the model of this thread'() {
    const model = await load({ batchSize: 8 });
    const wanted = await model.acall(text);
    const token = model.share();
    const threads = Array.from({ length: 3 }, () => new Thread({ step: 'shared', token }));
    say(`workers ${(await Promise.all(threads.map(({ exit }) => exit))).join(' ')}`);
    await stillRight(model, wanted);
    await model.close();
  },
  async 'a worker with a model of its own ends'() {
    const model = await load();
    const wanted = await model.acall(text);
    say(`workers ${await new Thread({ step: 'own' }).exit}`);
    await stillRight(model, wanted);
  },
  async 'a worker is terminated while its runs are under way'() {
    const model = await load();
    const wanted = await model.acall(text);
    for (let round = 0; round < 3; round++) {
      const thread = new Thread({ step: 'for ever' });
      await thread.begun;
      await thread.worker.terminate();
    }
    say('terminated');
    await stillRight(model, wanted);
  },
  async 'process.exit while workers call'() {
    const model = await load({ batchSize: 8 });
    const token = model.share();
    const threads = Array.from({ length: 3 }, () => new Thread({ step: 'shared for ever', token }));
    await Promise.all(threads.map(({ begun }) => begun));
    process.exit(3);
  },
};

await scenarios[scenario]();
