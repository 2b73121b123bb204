// How a process ends, by scenario:  node exit.mjs <scenario> <slow model> <micro model>
//
// Prints a line for everything that settles, so that the test sees what was waited for.
import { dynamically, inference } from '../../../dist/index.mjs';

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

const settles = (call) => call.then(() => say('settled'));
const doubles = (items) => items.map((item) => 2 * item);

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
  async 'close twice'() {
    const model = await slow();
    const fn = dynamically(doubles);
    for (const batched of [model, fn]) {
      batched.acall(batched === fn ? 1 : input).catch(() => {}); // the second close may reject it
      for (const drain of [true, false, true]) void batched.close({ drain }).then(() => say('closed'));
    }
  },
  async 'call after close'() {
    const model = await quick();
    const fn = dynamically(doubles);
    for (const [batched, item] of [
      [model, input],
      [fn, 1],
    ]) {
      await batched.close();
      await batched.acall(item).catch((error) => say(error.code));
      try {
        batched(item);
      } catch (error) {
        say(error.code);
      }
    }
  },
  async 'sync call while the process exits'() {
    const model = await quick();
    const fn = dynamically(doubles);
    process.on('exit', () => {
      if (model(input).data.length === 3) say('called');
      if (fn(2) === 4) say('called');
    });
  },
  async 'calls while the process exits'() {
    const model = await quick();
    const fn = dynamically(doubles);
    process.on('exit', () => {
      for (let i = 0; i < 100; i++) void settles(model.acall(input));
      void settles(fn.acall(1));
    });
  },
  async 'a call made when the process was about to end'() {
    const model = await quick();
    const fn = dynamically(async (items) => doubles(items));
    process.once('beforeExit', () => void Promise.all([settles(model.acall(input)), settles(fn.acall(1))]));
  },
  async 'uncaught exception with a handler'() {
    const { pending } = await underLoad(6);
    process.once('uncaughtException', () => say('caught'));
    setImmediate(() => {
      throw new Error('somebody catches this');
    });
    await Promise.all(pending);
  },
  async 'uncaught exception of a caller'() {
    const model = await quick();
    void settles(model.acall(input)).then(() => {
      setImmediate(() => {
        throw new Error('nobody catches this');
      });
    });
    await new Promise(() => setInterval(() => {}, 1000));
  },
  async 'process.exit when a call settles'() {
    const model = await slow();
    for (let i = 0; i < 20; i++) void settles(model.acall(input)).then(() => process.exit(3));
  },
  async 'a function, idle and not closed'() {
    const fn = dynamically(doubles, { timeoutMs: 1 });
    if ((await fn.acall(1)) === 2) say('called');
  },
  async 'a function held by a timer, its call aborted'() {
    const fn = dynamically(doubles, { timeoutMs: 600_000, batchSize: 2 });
    const controller = new AbortController();
    const call = fn.acall(1, { signal: controller.signal, deadlineMs: 500_000 }).catch((error) => say(error.name));
    await turn();
    controller.abort();
    await call;
  },
  async 'a function that never settles'() {
    const fn = dynamically(() => new Promise(() => {}));
    for (let i = 0; i < 3; i++) void settles(fn.acall(i));
  },
  async 'pending calls of a function'() {
    const fn = dynamically(async (items) => new Promise((resolve) => setTimeout(() => resolve(items), 5)), {
      batchSize: 1,
    });
    for (let i = 0; i < 3; i++) void settles(fn.acall(i));
  },
  async 'calls of a function that wait for company'() {
    const fn = dynamically(doubles, { timeoutMs: 20 });
    for (let i = 0; i < 2; i++) void settles(fn.acall(i));
  },
  async 'process.exit in a batch of a function'() {
    const fn = dynamically(() => process.exit(3));
    for (let i = 0; i < 3; i++) void settles(fn.acall(i));
  },
  async 'process.exit in a sync call of a function'() {
    dynamically(() => process.exit(3))([1, 2, 3]);
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
