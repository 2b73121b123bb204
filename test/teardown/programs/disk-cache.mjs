// One process of those that use a folder together:  node disk-cache.mjs <scenario> <folder> <number>
//
// The value of a key is made from the key, so whoever reads it can tell whether it is intact.
import { createRequire } from 'node:module';
import { DiskCache, dynamically, MemoryCache } from '../../../dist/index.mjs';

const [scenario, path, number] = process.argv.slice(2);
const cache = new DiskCache({ path });
const KEYS = 100;
const valueOf = (key) => ({ key, big: BigInt(key), data: new Float64Array(4000).fill(key) });
const intact = (key, { key: own, big, data }) =>
  own === key && big === BigInt(key) && data.length === 4000 && data.every((value) => value === key);

const scenarios = {
  // Dies by SIGKILL with many writes under way, when <number> of them have ended.
  async die() {
    let ended = 0;
    const end = () => {
      if (++ended === Number(number)) process.kill(process.pid, 'SIGKILL');
    };
    await Promise.all(Array.from({ length: KEYS }, (_, key) => cache.set(key, valueOf(key)).then(end)));
  },

  // Writes every key and reads every key, from key <number> on and round.
  async share() {
    let read = 0;
    for (let i = 0; i < KEYS; i++) {
      const key = (Number(number) + i) % KEYS;
      const [, found] = await Promise.all([cache.set(key, valueOf(key)), cache.get((key + 1) % KEYS)]);
      if (found !== undefined && !intact((key + 1) % KEYS, found)) throw new Error(`key ${key + 1} is damaged`);
      if (found !== undefined) read++;
    }
    process.stdout.write(`${read > 0 ? 'read' : 'nothing to read'}\n`);
  },

  // Reads everything.
  async read() {
    let read = 0;
    for (let key = 0; key < KEYS; key++) {
      const found = await cache.get(key);
      if (found !== undefined && !intact(key, found)) throw new Error(`key ${key} is damaged`);
      if (found !== undefined) read++;
    }
    process.stdout.write(`${read}\n`);
  },

  // What is loaded before a cache is made, and after.
  async load() {
    const loaded = (name) =>
      Object.keys(createRequire(import.meta.url).cache).some((file) => file.includes(`/node_modules/${name}/`));
    const report = () => process.stdout.write(`${loaded('lru-cache')} ${loaded('cacache')}\n`);
    dynamically((items) => items)(1);
    report();
    dynamically((items) => items, { cache: new MemoryCache() })(1);
    report();
    await cache.get('key');
    report();
  },

  // Sets and gets <number> keys, all at once.
  async crowd() {
    const keys = Array.from({ length: Number(number) }, (_, key) => key);
    await Promise.all(keys.map((key) => cache.set(key, key)));
    const found = await Promise.all(keys.map((key) => cache.get(key)));
    process.stdout.write(`${found.filter((value, key) => value === key).length}\n`);
  },

  // With entries of at most <number> milliseconds.
  async prune() {
    await new DiskCache({ path, maxAgeMs: Number(number) }).prune();
  },
};

await scenarios[scenario]();
