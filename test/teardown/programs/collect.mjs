// Models that nobody refers to any more:  node --expose-gc collect.mjs <scenario> <slow model> <quick model>
import { inference, OnnxModel } from '../../../dist/index.mjs';

const [scenario, slowPath, quickPath] = process.argv.slice(2);
const say = (text) => process.stdout.write(`${text}\n`);
const turn = () => new Promise((resolve) => setImmediate(resolve));
const input = { x: [[1, 2, 3]] };

let collected = 0;
const registry = new FinalizationRegistry(() => collected++);

/** Collects garbage until `count` registered objects are gone; the program's hang deadline ends it if they stay. */
async function gone(count) {
  while (collected < count) {
    globalThis.gc();
    await turn();
  }
}

async function watched(path, options) {
  const model = await inference.load(path, options);
  registry.register(model);
  return model;
}

const scenarios = {
  async 'idle model'() {
    await (await watched(quickPath)).acall(input);
    await gone(1);
    say('collected');
  },
  async 'many models in turn'() {
    // A function of its own: a suspended one may hold on to what was in its variables.
    const one = async () => {
      const model = await watched(quickPath, { warmup: false });
      await Promise.all([model.acall(input), model.acall(input)]);
    };
    for (let i = 0; i < 10; i++) await one();
    await gone(10);
    say('collected');
  },
  // The callable goes, the engine stays until its calls have settled.
  async 'model with pending calls'() {
    const calls = [];
    await (async () => {
      const model = await watched(slowPath, { lanes: 2, batchSize: 1, warmup: false });
      for (let i = 0; i < 10; i++) calls.push(model.acall(input).then(() => say('settled')));
    })();
    await gone(1);
    await Promise.all(calls);
    say('collected');
  },
  async 'model that is closing'() {
    const closing = await (async () => {
      const model = await watched(slowPath, { lanes: 2, batchSize: 1, warmup: false });
      for (let i = 0; i < 6; i++) void model.acall(input).then(() => say('settled'));
      await turn();
      return model.close().then(() => say('closed'));
    })();
    await gone(1);
    await closing;
  },
  async 'model whose call was aborted while it ran'() {
    await (async () => {
      const model = await watched(slowPath, { lanes: 1, warmup: false });
      const controller = new AbortController();
      const call = model.acall(input, { signal: controller.signal }).catch((error) => say(error.name));
      while (model.stats.queueSize > 0) await turn();
      controller.abort();
      await call;
    })();
    await gone(1);
    say('collected');
  },
  async 'loaded model without a callable'() {
    await (async () => {
      registry.register(await OnnxModel.load(quickPath));
    })();
    await gone(1);
    say('collected');
  },
};

await scenarios[scenario]();
