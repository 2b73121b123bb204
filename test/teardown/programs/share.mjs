// Several threads and one model:  node --expose-gc share.mjs <scenario> <quick model> <slow model> <big model>
//
// Prints what the test looks for. Nothing sleeps: the statistics of the shared engine tell what waits where.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { inference } from '../../../dist/index.mjs';

const [scenario, quickPath, slowPath, bigPath] = process.argv.slice(2);
const say = (...parts) => process.stdout.write(`${parts.map((part) => JSON.stringify(part)).join(' ')}\n`);
const turn = () => new Promise((resolve) => setImmediate(resolve));
const values = ({ data }) => [...data];
const row = (...numbers) => ({ x: [numbers] });

async function until(condition) {
  while (!condition()) await turn();
}

/** Collects garbage until `condition` holds; the program's hang deadline ends it if something stays. */
async function collect(condition) {
  while (!condition()) {
    globalThis.gc();
    await turn();
  }
}

/** A thread that runs share-body.mjs. */
class Thread {
  #answers = new Map();
  #asked = 0;
  progress = 0;

  constructor() {
    this.worker = new Worker(new URL('share-body.mjs', import.meta.url));
    this.exit = new Promise((resolve) => this.worker.once('exit', resolve));
    this.worker.on('message', ({ progress, id, ...answer }) => {
      if (progress) this.progress++;
      else this.#answers.get(id)(answer);
    });
  }

  /** Rejects with the code of the error, or its message. */
  ask(command, ...args) {
    const id = this.#asked++;
    this.worker.postMessage({ id, command, args });
    return new Promise((resolve, reject) => {
      this.#answers.set(id, ({ error, value }) => (error === undefined ? resolve(value) : reject(error)));
    });
  }

  async end() {
    await this.ask('end');
    await this.exit;
  }
}

async function threads(count, token) {
  const all = Array.from({ length: count }, () => new Thread());
  await Promise.all(all.map((thread) => (token ? thread.ask('attach', token) : thread.ask('ping'))));
  return all;
}

const endAll = (all) => Promise.all(all.map((thread) => thread.end()));

/** Runs a batch when it has `batchSize` rows, never earlier. */
const held = (batchSize) => inference.load(quickPath, { batchSize, timeoutMs: 1e9, lanes: 1 });
const slow = (options) => inference.load(slowPath, { warmup: false, ...options });

function sayAccounts({ admitted, totalProcessed, failed, cancelled, timedOut, closed, queueSize }) {
  const settled = totalProcessed + failed + cancelled + timedOut + closed;
  say('unaccounted', admitted - settled, 'queued', queueSize, 'failed', failed);
}

/** What the process has open and runs, where the system tells. */
const entries = (folder) => (process.platform === 'linux' ? readdirSync(`/proc/self/${folder}`) : []);
const lanes = () => entries('task').filter((id) => nameOf(id).startsWith('batched-cpu')).length;
function nameOf(thread) {
  try {
    return readFileSync(`/proc/self/task/${thread}/comm`, 'utf8');
  } catch {
    return ''; // it has ended since
  }
}
const lanesAre = (count) => process.platform !== 'linux' || lanes() === count;

const scenarios = {
  async 'one batch of five threads'() {
    const model = await held(10);
    const all = await threads(4, model.share());
    const asked = all.map((thread, i) => thread.ask('both', [i], [10 + i, i]));
    await until(() => model.stats.queueSize === 8);
    const promise = model.acall(row(4));
    say(values(model(row(14, 4))), values(await promise));
    say(await Promise.all(asked));
    say(model.stats.batchSizes, model.stats.lanes.length);
    await endAll(all);
  },

  // One call at a time from each thread: a batch of several rows is one of several threads.
  async 'sync calls of four threads'() {
    const model = await slow({ lanes: 1, batchSize: 8 });
    const all = await threads(4, model.share());
    const got = await Promise.all(all.map((thread, i) => thread.ask('syncs', 1000 * i, 25)));
    say(got.every((numbers, i) => numbers.every((number, n) => number === 1000 * i + n) && numbers.length === 25));
    const sizes = Object.entries(model.stats.batchSizes).map(([rows, batches]) => [Number(rows), batches]);
    say(sizes.reduce((sum, [rows, batches]) => sum + rows * batches, 0));
    say('in common batches', sizes.reduce((sum, [rows, batches]) => sum + (rows > 1 ? rows * batches : 0), 0) > 0);
    say('most', Math.max(...sizes.map(([rows]) => rows)) <= 4);
    await endAll(all);
  },

  async 'a sync call blocks its own thread'() {
    const model = await held(3);
    const [blocked, free] = await threads(2, model.share());
    let answered = false;
    const asked = blocked.ask('sync', [1]).finally(() => (answered = true));
    const behind = blocked.ask('ping');
    await until(() => model.stats.queueSize === 1);
    say(await free.ask('ping'));
    const waiting = free.ask('acall', [2]);
    await until(() => model.stats.queueSize === 2);
    say(await free.ask('ping'), answered);
    say(values(await model.acall(row(3))), await asked, await waiting, await behind);
    await endAll([blocked, free]);
  },

  async 'one session in memory'() {
    const all = await threads(4);
    const folder = mkdtempSync(join(tmpdir(), 'batched-share-'));
    const path = join(folder, 'model.onnx');
    copyFileSync(bigPath, path);
    const { size } = statSync(path);
    const rss = () => {
      globalThis.gc();
      return process.memoryUsage.rss();
    };
    const before = rss();
    const model = await inference.load(path, { warmup: false });
    const own = (await model.acall({ ids: [[7]] })).data[0];
    rmSync(folder, { recursive: true });
    const loaded = rss();
    const lanesBefore = lanes();
    await Promise.all(all.map((thread) => thread.ask('attach', model.share())));
    const got = await Promise.all(all.map((thread) => thread.ask('embed', 7)));
    const attached = rss();
    say(
      'same',
      got.every((value) => value === own),
    );
    say('one copy', loaded - before > 0.8 * size, 'no more', attached - loaded < 0.25 * size);
    say('new lanes', lanes() - lanesBefore);
    await endAll(all);
  },

  async 'terminated while calls wait'() {
    const model = await held(7);
    const all = await threads(3, model.share());
    const asked = all.map((thread, i) => thread.ask('acall', [i, i], [10 * i]));
    await until(() => model.stats.queueSize === 6);
    await all[0].worker.terminate();
    say(model.stats.queueSize, model.stats.closed);
    const mine = [1, 2, 3].map((number) => model.acall(row(number)));
    say((await Promise.all(mine)).flatMap(values), await Promise.all(asked.slice(1)));
    say(model.stats.batchSizes);
    sayAccounts(model.stats);
    await endAll(all.slice(1));
  },

  async 'terminated while calls run'() {
    const model = await slow({ lanes: 2, batchSize: 4 });
    const stay = await threads(2, model.share());
    for (const thread of stay) await thread.ask('acall in loops');
    for (let i = 0; i < 3; i++) {
      const leaving = await threads(2, model.share());
      void leaving[0].ask('acall in loops');
      void leaving[1].ask('sync in a loop');
      const seen = stay.map((thread) => thread.progress);
      await until(() => leaving.every(({ progress }) => progress > i));
      await Promise.all(leaving.map((thread) => thread.worker.terminate()));
      await until(() => stay.every(({ progress }, n) => progress > seen[n] + 8)); // what waited then has come since
    }
    for (const thread of stay) await thread.worker.terminate();
    say(values(await model.acall(row(5))));
    await model.close();
    sayAccounts(model.stats);
  },

  async 'attached and closed again and again'() {
    const model = await inference.load(quickPath);
    const token = model.share();
    let collected = 0;
    const registry = new FinalizationRegistry(() => collected++);
    const one = async (close) => {
      const attached = inference.attach(token);
      registry.register(attached);
      if (values(await attached.acall(row(1)))[0] !== 1 || values(attached(row(2)))[0] !== 2) say('wrong');
      if (close) await attached.close();
    };
    const settle = async (count) => {
      await collect(() => collected >= count);
      return [entries('fd').length, entries('task').length, process.getActiveResourcesInfo().length];
    };
    for (let i = 0; i < 10; i++) await one(true);
    const before = await settle(10);
    const { arrayBuffers } = process.memoryUsage();
    for (let i = 0; i < 200; i++) await one(i % 2 === 0);
    const after = await settle(210);
    say(
      'more handles',
      after.map((count, i) => count - before[i]),
    );
    // Each has 64 KiB for its calls, which goes a little later than the callable.
    await collect(() => process.memoryUsage().arrayBuffers < arrayBuffers + 2 ** 20);
    say(values(await model.acall(row(3))), model.stats.totalProcessed);
  },

  async 'threads come and go'() {
    const model = await inference.load(quickPath);
    const token = model.share();
    for (let i = 0; i < 10; i++) {
      const all = await threads(2, token);
      await Promise.all([all[0].ask('acall', [i]), all[1].ask('sync', [i])]);
      if (i % 2) await endAll(all);
      else await Promise.all(all.map((thread) => thread.worker.terminate()));
    }
    say(model.stats.totalProcessed, lanesAre(model.stats.lanes.length));
  },

  'the owner closes': () => ownerCloses({ drain: false }),
  'the owner drains': () => ownerCloses({ drain: true }),

  async 'one of several closes'() {
    const model = await held(3);
    const [leaving, staying] = await threads(2, model.share());
    const waiting = [leaving.ask('acall', [1]).catch((code) => code), staying.ask('acall', [2])];
    await until(() => model.stats.queueSize === 2);
    await leaving.ask('close', { drain: false });
    say(await waiting[0], model.stats.queueSize, await leaving.ask('health'), await staying.ask('health'));
    say(await leaving.ask('acall', [9]).catch((code) => code));
    const mine = [model.acall(row(3)), model.acall(row(4))];
    say((await Promise.all(mine)).flatMap(values), await waiting[1]);
    await endAll([leaving, staying]);
  },

  // Shared by a thread that ends; the last of the others ends the model.
  async 'the owner ends'() {
    const [owner, other] = await threads(2);
    const token = await owner.ask('load', quickPath);
    await other.ask('attach', token);
    await owner.worker.terminate();
    const attached = inference.attach(token);
    say(values(attached(row(1))), await other.ask('acall', [2]), attached.health.healthy);
    await other.end();
    say(values(await attached.acall(row(3))));
    await attached.close();
    say(attached.health.healthy);
    sayCode(() => inference.attach(token));
  },

  async 'nobody is left'() {
    const [owner] = await threads(1);
    const token = await owner.ask('load', quickPath);
    await owner.end();
    sayCode(() => inference.attach(token));
  },

  async 'the callable is collected'() {
    let collected = 0;
    const registry = new FinalizationRegistry(() => collected++);
    const token = await (async () => {
      const model = await inference.load(quickPath);
      registry.register(model);
      return model.share();
    })();
    await collect(() => collected === 1);
    const [thread] = await threads(1, token);
    say(await thread.ask('acall', [1]));
    (() => registry.register(inference.attach(token)))();
    await collect(() => collected === 2);
    say(await thread.ask('sync', [2]));
    await thread.end();
  },

  async 'another process'() {
    const model = await inference.load(quickPath);
    const code = `
      import { inference } from ${JSON.stringify(new URL('../../../dist/index.mjs', import.meta.url).href)};
      try { inference.attach(JSON.parse(process.argv[1])); } catch ({ code }) { console.log(code); }
    `;
    const args = ['--input-type=module', '--eval', code, JSON.stringify(model.share())];
    say(spawnSync(process.execPath, args, { encoding: 'utf8' }).stdout.trim());
  },

  async 'idle threads end by themselves'() {
    const model = await inference.load(quickPath);
    const all = await threads(2, model.share());
    await Promise.all(all.map((thread) => thread.ask('acall', [1])));
    say(await Promise.all(all.map(async (thread) => thread.end().then(() => thread.exit))));
  },

  async 'process.exit under load'() {
    const model = await slow({ lanes: 2, batchSize: 4 });
    const all = await threads(4, model.share());
    for (const [i, thread] of all.entries()) void thread.ask(i % 2 ? 'acall in loops' : 'sync in a loop');
    for (let i = 0; i < 10; i++) void model.acall(row(i));
    await until(() => all.every(({ progress }) => progress > 2));
    say('exits');
    process.exit(3);
  },
};

async function ownerCloses(options) {
  const model = await held(9);
  const token = model.share();
  const all = await threads(3, token);
  const settled = [
    ...all.slice(0, 2).map((thread, i) => thread.ask('acall', [i])),
    all[2].ask('sync', [2]),
    model.acall(row(3)).then(values),
  ].map((call) => call.catch((error) => error.code ?? error));
  await until(() => model.stats.queueSize === 4);
  await model.close(options);
  say(await Promise.all(settled));
  say(await Promise.all(['acall', 'sync'].map((how) => all[0].ask(how, [1]).catch((code) => code))));
  say(await all[0].ask('health'));
  sayCode(() => inference.attach(token));
  sayAccounts(model.stats);
  await Promise.all(all.map((thread) => thread.ask('close')));
  await endAll(all);
}

function sayCode(call) {
  try {
    call();
    say('nothing was thrown');
  } catch ({ code }) {
    say(code);
  }
}

await scenarios[scenario]();
