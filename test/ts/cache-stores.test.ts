/** Where results are kept: MemoryCache, DiskCache, and the instances of others that fit. */
import { execFileSync } from 'node:child_process';
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, jest, test } from '@jest/globals';
import Keyv from 'keyv';
import { LRUCache } from 'lru-cache';
import { aio, type Cache, DiskCache, inference, MemoryCache, type Tensor } from '../../ts';
import { runProgram } from '../helpers/child-program';
import { turn } from '../helpers/gate';

const given = (value: unknown): any => value; // eslint-disable-line @typescript-eslint/no-explicit-any

const folders: string[] = [];
async function folder(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'batched-cache-'));
  folders.push(made);
  return made;
}
afterAll(() => Promise.all(folders.map((made) => rm(made, { recursive: true, force: true }))));
afterEach(() => {
  jest.useRealTimers();
});

/** Every file below a folder. */
async function filesOf(path: string): Promise<string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** Plain data of many kinds. */
const plain = {
  text: 'naïve €',
  numbers: [0, -0, Number.NaN, Infinity, 1.5],
  big: 2n ** 70n,
  nested: { list: [{ deep: null }], missing: undefined },
  date: new Date(3),
  floats: Float32Array.of(1, 2, 3, 4).subarray(1, 3),
  wide: BigInt64Array.of(-1n, 2n ** 62n),
  bytes: Buffer.from('abc'),
};

describe('MemoryCache', () => {
  test('keeps at most maxEntries, and the least recently used one goes first', () => {
    const cache = new MemoryCache({ maxEntries: 2 });
    for (const key of ['a', 'b']) cache.set(key, key);
    cache.get('a');
    cache.set('c', 'c');
    expect(['a', 'b', 'c'].map((key) => cache.get(key))).toEqual(['a', undefined, 'c']);
    expect(cache.stats).toEqual({ entries: 2, bytes: 0 });
    cache.clear();
    expect(cache.stats.entries).toBe(0);
  });

  test('keeps at most maxBytes, typed arrays and texts by their size', () => {
    const cache = new MemoryCache({ maxBytes: 10_000 });
    for (const key of ['a', 'b', 'c']) cache.set(key, { rows: [new Float32Array(1000)], text: 'x'.repeat(100) });
    expect(['a', 'b', 'c'].map((key) => cache.get(key) !== undefined)).toEqual([false, true, true]);
    expect(cache.stats.bytes).toBeGreaterThan(8400);
    expect(cache.stats.bytes).toBeLessThan(10_000);
    cache.set('a', new Uint8Array(20_000));
    expect(cache.get('a')).toBeUndefined();
  });

  test('an entry older than ttlMs counts as missing', async () => {
    const now = jest.spyOn(performance, 'now').mockReturnValue(1000);
    try {
      const cache = new MemoryCache({ ttlMs: 10 });
      cache.set('a', 1);
      now.mockReturnValue(1010);
      expect(cache.get('a')).toBe(1);
      now.mockReturnValue(1100);
      await new Promise((resolve) => setTimeout(resolve, 5)); // lru-cache asks for the time once a millisecond
      expect(cache.get('a')).toBeUndefined();
    } finally {
      now.mockRestore();
    }
  });

  test.each<[string, unknown, typeof TypeError | typeof RangeError]>([
    ['maxEntries', 0, RangeError],
    ['maxEntries', '3', TypeError],
    ['maxBytes', -1, RangeError],
    ['ttlMs', 1.5, RangeError],
    ['ttl', 3, TypeError],
  ])('refuses %s: %p', (name, value, Class) => {
    expect(() => new MemoryCache(given({ [name]: value }))).toThrow(Class);
    expect(() => new MemoryCache(given({ [name]: value }))).toThrow(new RegExp(`MemoryCache: .*option '${name}'`));
  });
});

describe('DiskCache', () => {
  test('gives plain data back as it was, also to the next one that opens the folder', async () => {
    const path = await folder();
    const cache = new DiskCache({ path });
    await cache.set('key', plain);
    expect(await cache.get('key')).toEqual(plain);
    const reopened = new DiskCache({ path });
    expect(await reopened.get('key')).toEqual(plain);
    expect(reopened.stats).toEqual({ gets: 1, hits: 1, sets: 0, damaged: 0 });
    expect(await reopened.get('other')).toBeUndefined();
  });

  test('a view is written with its own bytes only', async () => {
    const path = await folder();
    await new DiskCache({ path }).set('row', new Float32Array(1_000_000).subarray(5, 10));
    const sizes = await Promise.all((await filesOf(path)).map(async (file) => (await readFile(file)).length));
    expect(Math.max(...sizes)).toBeLessThan(1000);
  });

  test('keys are told apart as items are', async () => {
    const cache = new DiskCache({ path: await folder() });
    for (const key of [1, '1', 1n, { a: 1 }]) await cache.set(key, typeof key);
    expect(await Promise.all([1, '1', 1n, { a: 1 }].map((key) => cache.get(key)))).toEqual([
      'number',
      'string',
      'bigint',
      'object',
    ]);
  });

  test('the last value of a key counts', async () => {
    const cache = new DiskCache({ path: await folder() });
    for (const value of [1, 2, 1, 3]) await cache.set('key', value);
    expect(await cache.get('key')).toBe(3);
  });

  test('clear() empties it, and it can be used again', async () => {
    const path = join(await folder(), '[odd]*name');
    const cache = new DiskCache({ path });
    await cache.clear();
    await cache.set('key', 1);
    await cache.clear();
    expect(await cache.get('key')).toBeUndefined();
    expect((await filesOf(path)).length).toBe(0);
    await cache.set('key', 2);
    expect(await cache.get('key')).toBe(2);
  });

  test('an entry older than maxAgeMs counts as missing, and its index does not grow', async () => {
    const path = await folder();
    const now = jest.spyOn(Date, 'now').mockReturnValue(1000);
    try {
      const cache = new DiskCache({ path, maxAgeMs: 10 });
      for (let round = 1; round <= 3; round++) {
        await cache.set('key', 1);
        now.mockReturnValue(round * 1000 + 10);
        expect(await cache.get('key')).toBe(1);
        now.mockReturnValue(round * 1000 + 1000);
        expect(await cache.get('key')).toBeUndefined();
      }
      expect((await filesOf(path)).filter((file) => file.includes('index'))).toEqual([]);
    } finally {
      now.mockRestore();
    }
  });

  const damages: [string, string, (file: string, bytes: Buffer) => Promise<void>][] = [
    ['flipped bits in the contents', 'content', async (file, bytes) => writeFile(file, bytes.map((byte) => byte ^ 1))], // prettier-ignore
    ['contents cut short', 'content', async (file, bytes) => writeFile(file, bytes.subarray(0, -1))],
    ['empty contents', 'content', async (file) => writeFile(file, '')],
    ['contents that are gone', 'content', async (file) => rm(file)],
    ['flipped bits in the index', 'index', async (file, bytes) => writeFile(file, bytes.map((byte) => byte ^ 1))], // prettier-ignore
    ['an index cut short', 'index', async (file, bytes) => writeFile(file, bytes.subarray(0, -1))],
  ];
  test.each(damages)('%s: a miss, no error, and the next set repairs it', async (_, part, damage) => {
    const path = await folder();
    const cache = new DiskCache({ path });
    await cache.set('key', plain);
    const [file] = (await filesOf(path)).filter((name) => name.includes(`${part}-v`));
    await damage(file!, await readFile(file!));
    expect(await cache.get('key')).toBeUndefined();
    await cache.set('key', plain);
    expect(await cache.get('key')).toEqual(plain);
  });

  test('a half-written line at the end of an index harms neither what was there nor what comes', async () => {
    const path = await folder();
    const cache = new DiskCache({ path });
    await cache.set('key', 1);
    const [file] = (await filesOf(path)).filter((name) => name.includes('index-v'));
    await appendFile(file!, '\n0123456789abcdef\t{"key":"s:k');
    expect(await cache.get('key')).toBe(1);
    await cache.set('key', 2);
    expect(await cache.get('key')).toBe(2);
  });

  test.each([1, 30, 80])('a process killed after %i writes leaves only whole entries', async (writes) => {
    const path = await folder();
    expect(await runProgram('disk-cache.mjs', ['die', path, String(writes)])).toMatchObject({ signal: 'SIGKILL' });
    const { stdout, stderr, code } = await runProgram('disk-cache.mjs', ['read', path, '']);
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
    expect(Number(stdout)).toBeGreaterThanOrEqual(writes);
    // What it left beside is cleared away, and the entries stay.
    expect(await runProgram('disk-cache.mjs', ['prune', path, '1000000'])).toMatchObject({ code: 0, stderr: '' });
    expect((await filesOf(path)).filter((file) => file.startsWith(join(path, 'tmp')))).toEqual([]);
    expect((await runProgram('disk-cache.mjs', ['read', path, ''])).stdout).toBe(stdout);
  });

  test('prune() removes what is too old', async () => {
    const path = await folder();
    const cache = new DiskCache({ path });
    jest.spyOn(Date, 'now').mockReturnValueOnce(1000);
    await cache.set('old', 1);
    jest.restoreAllMocks();
    await cache.set('young', 2);
    await runProgram('disk-cache.mjs', ['prune', path, '1000000']);
    expect([await cache.get('old'), await cache.get('young')]).toEqual([undefined, 2]);
    expect((await filesOf(path)).filter((file) => file.includes('content-v'))).toHaveLength(1);
  });

  test('two processes read and write one folder', async () => {
    const path = await folder();
    const ends = await Promise.all(['0', '50'].map((from) => runProgram('disk-cache.mjs', ['share', path, from])));
    for (const ended of ends) expect(ended).toMatchObject({ code: 0, stderr: '', stdout: 'read\n' });
    expect((await runProgram('disk-cache.mjs', ['read', path, ''])).stdout).toBe('100\n');
  });

  test('more keys at once than the process may open files', async () => {
    const program = join(__dirname, '../teardown/programs/disk-cache.mjs');
    const shell = ['-c', 'ulimit -n 128 && exec "$0" "$@"', process.execPath, program, 'crowd', await folder(), '1000'];
    expect(execFileSync('sh', shell, { timeout: 20_000, encoding: 'utf8' })).toBe('1000\n');
  });

  test.each<[unknown, RegExp]>([
    [{}, /option 'path' must be a folder, got undefined/],
    [{ path: '' }, /option 'path' must be a folder, got the string ""/],
    [{ path: 3 }, /option 'path' must be a string, got number 3/],
    [{ path: 'a', maxAgeMs: -1 }, /option 'maxAgeMs' must be zero or more/],
    [{ path: 'a', maxAge: 1 }, /unknown option 'maxAge'/],
  ])('refuses %p', (options, says) => {
    expect(() => new DiskCache(given(options))).toThrow(says);
  });
});

describe.each<[string, () => Promise<Cache>]>([
  ['MemoryCache', async () => new MemoryCache()],
  ['DiskCache', async () => new DiskCache({ path: await folder() })],
  ['Keyv', async () => new Keyv()],
  ['lru-cache', async () => new LRUCache<string, object>({ max: 100 })],
  ['Map', async () => new Map<unknown, unknown>()],
])('%s as a cache', (_, open) => {
  /** Every call finds the results of those before it: waits until they are stored. */
  async function settled(f: { stats: { cacheStats?: { sets: number } } }, sets: number): Promise<void> {
    while (f.stats.cacheStats!.sets < sets) await turn();
  }

  test('of a function: results of every kind of plain data', async () => {
    const results: unknown[] = [plain, undefined, null, 'text', 3, [plain.floats], 'batched:v8:text'];
    let runs = 0;
    const f = aio.dynamically((items: number[]) => items.map((item) => (runs++, results[item])), {
      cache: await open(),
    });
    const items = results.map((_, i) => i);
    expect(await f(items)).toEqual(results);
    await settled(f, results.length);
    expect(await f(items)).toEqual(results);
    expect(runs).toBe(results.length);
    expect(f.stats.cacheStats).toMatchObject({ gets: 14, hits: 7, sets: 7, errors: 0 });
  });

  test('items of all kinds', async () => {
    const items: unknown[] = [1, '1', { id: 1 }, { id: '1' }, [1], Float32Array.of(1)];
    const f = aio.dynamically((batch: unknown[]) => batch.map((item) => items.indexOf(item)), { cache: await open() });
    await f(items);
    await settled(f, items.length);
    expect(await f(structuredClone(items))).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test('of inference: rows of tensors, by themselves', async () => {
    const batches: number[] = [];
    const f = inference.dynamically(
      ({ x }: Record<string, Tensor>): { same: Tensor; wide: Tensor } => {
        batches.push(x!.dims[0]!);
        return { same: x!, wide: { type: 'int64', dims: [x!.dims[0]!, 1], data: new BigInt64Array(x!.dims[0]) } };
      },
      { cache: await open() },
    );
    const x: Tensor = { type: 'float32', dims: [2, 2], data: Float32Array.of(1, 2, 3, Number.NaN) };
    const first = await f.acall({ x });
    await settled(f, 2);
    expect(await f.acall({ x })).toEqual(first);
    expect(first.same.data).toEqual(x.data);
    expect(batches).toEqual([2]);
    expect(f.stats.cacheStats).toMatchObject({ hits: 2, errors: 0 });
  });
});

test('their libraries are loaded by those who use them', async () => {
  const { stdout } = await runProgram('disk-cache.mjs', ['load', await folder(), '']);
  expect(stdout).toBe('false false\ntrue false\ntrue true\n');
});

test('what is JSON already is kept readable in a Keyv', async () => {
  const keyv = new Keyv();
  const f = aio.dynamically((items: string[]) => items.map((item) => ({ length: item.length })), { cache: keyv });
  await f('abc');
  await f.close();
  expect(await keyv.get('s:abc')).toEqual({ length: 3 });
});
