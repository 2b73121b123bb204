// How a process ends, by scenario:  node exit.mjs <scenario> <slow model> <micro model>
//
// Prints a line for everything that settles, so that the test sees what was waited for.
import { inference } from '../../../dist/index.mjs';

const [scenario, slowPath, quickPath] = process.argv.slice(2);
const say = (text) => process.stdout.write(`${text}\n`);
const turn = () => new Promise((resolve) => setImmediate(resolve));

const input = { x: [[1, 2, 3]] };
const quick = () => inference.load(quickPath);
const slow = (options = {}) => inference.load(slowPath, { lanes: 2, batchSize: 1, warmup: false, ...options });

/** A slow model with calls on their way: some running, some staged, some waiting. */
async function underLoad(calls = 20) {
  const model = await slow();
  const pending = Array.from({ length: calls }, () => model.acall(input));
  for (const call of pending) {
    call.then(
      () => say('settled'),
      (error) => say(`failed ${error.code}`),
    );
  }
  while (model.stats.queueSize === 0 || model.stats.queueSize > calls - 2) await turn(); // until both lanes have some
  return { model, pending };
}

const scenarios = {
  async 'idle model, not closed'() {
    const model = await quick();
    await model.acall(input);
    say('called');
  },
  async 'loaded, never called'() {
    await quick();
  },
  async 'load not awaited'() {
    void quick().then(() => say('loaded'));
  },
  async 'load rejected'() {
    await inference.load('/nowhere/model.onnx').catch((error) => say(error.code));
  },
  async 'load rejected, not caught'() {
    void inference.load('/nowhere/model.onnx');
  },
  async 'pending calls are waited for'() {
    const model = await slow();
    for (let i = 0; i < 3; i++) void model.acall(input).then(() => say('settled'));
  },
  async 'pending call with a deadline'() {
    const model = await slow();
    for (let i = 0; i < 4; i++) void model.acall(input, { deadlineMs: 1 }).catch((error) => say(error.code));
  },
  async 'pending calls aborted'() {
    const model = await slow();
    const controller = new AbortController();
    for (let i = 0; i < 4; i++) {
      void model.acall(input, { signal: controller.signal }).catch((error) => say(error.name));
    }
    await turn();
    controller.abort();
  },
  async 'sync call'() {
    const model = await slow();
    model(input);
    say('called');
  },
  async 'process.exit with pending calls'() {
    await underLoad();
    process.exit(3);
  },
  async 'process.exit in the tick of the calls'() {
    const model = await slow();
    for (let i = 0; i < 20; i++) void model.acall(input);
    process.exit(3);
  },
  async 'process.exit while results arrive'() {
    const model = await quick();
    const loop = async () => {
      for (;;) await model.acall(input);
    };
    for (let i = 0; i < 64; i++) void loop();
    for (let i = 0; i < 100; i++) await turn();
    process.exit(3);
  },
  async 'process.exit while loading'() {
    void quick();
    void slow({ warmup: true });
    await turn();
    process.exit(3);
  },
  async 'process.exit while closing'() {
    const { model } = await underLoad();
    void model.close();
    process.exit(3);
  },
  async 'process.exit after a sync call'() {
    const model = await slow();
    void model.acall(input);
    model(input);
    process.exit(3);
  },
  async 'uncaught exception with pending calls'() {
    await underLoad();
    setImmediate(() => {
      throw new Error('nobody catches this');
    });
  },
  async 'unhandled rejection with pending calls'() {
    await underLoad();
    void Promise.reject(new Error('nobody catches this'));
  },
  async 'SIGTERM with pending calls'() {
    await underLoad();
    process.kill(process.pid, 'SIGTERM');
    await new Promise(() => setInterval(() => {}, 1000));
  },
  async 'SIGTERM with a handler that drains'() {
    const { model } = await underLoad(6);
    process.once('SIGTERM', () => void model.close().then(() => say('closed')));
    process.kill(process.pid, 'SIGTERM');
    await new Promise((resolve) => setTimeout(resolve, 1)); // the signal arrives by the event loop
  },
  async 'close without draining'() {
    const { model } = await underLoad();
    await model.close({ drain: false });
    say('closed');
  },
  async 'close while loading'() {
    const model = await slow();
    const another = slow({ warmup: true });
    void model.acall(input).then(() => say('settled'));
    await model.close();
    await (await another).close();
    say('closed');
  },
};

await scenarios[scenario]();
