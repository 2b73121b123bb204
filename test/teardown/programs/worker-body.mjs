// A worker thread of worker.mjs: does what `step` says, and tells the main thread when it has begun.
import { parentPort, workerData } from 'node:worker_threads';
import { dynamically, inference } from '../../../dist/index.mjs';

const { step, slow, quick } = workerData;
const input = { x: [[1, 2, 3]] };
const begun = () => parentPort.postMessage('begun');
const loadSlow = () => inference.load(slow, { lanes: 2, batchSize: 1, warmup: false });

const steps = {
  async load() {
    begun();
    await inference.load(quick);
    await new Promise(() => setInterval(() => {}, 1000));
  },
  async imports() {
    begun();
    await new Promise(() => setInterval(() => {}, 1000));
  },
  // Described and packed, but not handed over, and never to be.
  async tick() {
    const model = await inference.load(quick);
    for (let i = 0; i < 20; i++) void model.acall(input);
    begun();
    for (;;);
  },
  async aborts() {
    const model = await loadSlow();
    begun();
    const ignore = () => {};
    for (;;) {
      const controller = new AbortController();
      for (let i = 0; i < 10; i++) {
        model.acall(input, i % 2 ? { signal: controller.signal } : { deadlineMs: i }).catch(ignore);
      }
      await new Promise((resolve) => setImmediate(resolve));
      controller.abort();
    }
  },
  async refusals() {
    const model = await inference.load(slow, { lanes: 1, batchSize: 1, maxQueueRows: 2, warmup: false });
    begun();
    const loop = async () => {
      for (;;) await model.acall(input).catch(() => {});
    };
    for (let i = 0; i < 100; i++) void loop();
  },
  async functions() {
    const later = dynamically(async (items) => new Promise((resolve) => setImmediate(resolve, items)), {
      concurrency: 4,
    });
    const held = dynamically((items) => items, { timeoutMs: 600_000 });
    void held.acall(1, { deadlineMs: 500_000 });
    const loop = async () => {
      for (;;) await later.acall([1, 2]);
    };
    for (let i = 0; i < 16; i++) void loop();
    setImmediate(begun);
  },
  async 'inside a function'() {
    const forever = dynamically(() => {
      begun();
      for (;;);
    });
    void forever.acall([1, 2, 3]);
  },
  async calls() {
    const model = await loadSlow();
    for (let i = 0; i < 20; i++) void model.acall(input);
    setImmediate(begun);
    await new Promise(() => setInterval(() => {}, 1000));
  },
  async results() {
    const model = await inference.load(quick);
    const loop = async () => {
      for (;;) await model.acall(input);
    };
    for (let i = 0; i < 64; i++) void loop();
    setImmediate(begun);
  },
  // Termination finds the thread inside native code.
  async sync() {
    const model = await loadSlow();
    begun();
    for (;;) model(input);
  },
  async 'sync quickly'() {
    const model = await inference.load(quick);
    begun();
    for (;;) model(input);
  },
  async closing() {
    const model = await loadSlow();
    for (let i = 0; i < 20; i++) void model.acall(input);
    void model.close();
    setImmediate(begun);
  },
  async ends() {
    const model = await inference.load(quick);
    const y = await model.acall(input);
    parentPort.postMessage([...y.data].join());
    begun();
  },
  async 'ends after sync calls'() {
    const model = await inference.load(quick);
    begun();
    let sum = 0;
    for (let i = 0; i < 500; i++) sum += model({ x: [[i, 1]] }).data[0];
    parentPort.postMessage(String(sum));
  },
  async exits() {
    const model = await loadSlow();
    for (let i = 0; i < 20; i++) void model.acall(input);
    begun();
    process.exit(4);
  },
  async throws() {
    const model = await loadSlow();
    for (let i = 0; i < 20; i++) void model.acall(input);
    begun();
    throw new Error('nobody catches this in the worker');
  },
};

await steps[step]();
