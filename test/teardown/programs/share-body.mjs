// A worker thread of share.mjs: does what the main thread asks, one message at a time, and answers each.
import { parentPort } from 'node:worker_threads';
import { inference } from '../../../dist/index.mjs';

let model;
const values = ({ data }) => [...data];

/** Calls one after the other, each checked; tells the main thread after each. Never ends. */
async function loop(call) {
  for (let i = 0; ; i++) {
    const row = Array.from({ length: 1 + (i % 5) }, (_, at) => i + at);
    const got = values(await call({ x: [row] }));
    if (got.join() !== row.join()) throw new Error(`${row} became ${got}`);
    parentPort.postMessage({ progress: true });
  }
}

const commands = {
  attach(token) {
    model = inference.attach(token);
  },
  async load(path, options) {
    model = await inference.load(path, options);
    return model.share();
  },
  acall: async (...rows) => Promise.all(rows.map(async (row) => values(await model.acall({ x: [row] })))),
  sync: (row) => values(model({ x: [row] })),
  async both(first, second) {
    const promise = model.acall({ x: [first] });
    const sync = values(model({ x: [second] }));
    return [values(await promise), sync];
  },
  syncs(from, count) {
    const got = [];
    for (let i = 0; i < count; i++) got.push(values(model({ x: [[from + i]] }))[0]);
    return got;
  },
  embed: async (id) => (await model.acall({ ids: [[id]] })).data[0],
  async 'acall in loops'() {
    for (let i = 0; i < 8; i++) void loop((features) => model.acall(features));
  },
  async 'sync in a loop'() {
    void loop((features) => model(features));
  },
  close: (options) => model.close(options),
  forget() {
    model = undefined;
    globalThis.gc();
  },
  health: () => model.health.healthy,
  ping: () => 'pong',
  end() {
    setImmediate(() => parentPort.close());
  },
};

parentPort.on('message', async ({ id, command, args }) => {
  try {
    parentPort.postMessage({ id, value: await commands[command](...args) });
  } catch ({ code, message }) {
    parentPort.postMessage({ id, error: code ?? message });
  }
});
