import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import * as models from '../../scripts/models/index';
import { RANDOM_BERT_SIZES } from '../../scripts/models/random-bert';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'batched-models-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('the cache', () => {
  let before: string | undefined;
  let cache: string;
  beforeAll(() => {
    before = process.env['BATCHED_CACHE_DIR'];
    cache = process.env['BATCHED_CACHE_DIR'] = join(folder, 'cache');
  });
  afterAll(() => {
    if (before === undefined) delete process.env['BATCHED_CACHE_DIR'];
    else process.env['BATCHED_CACHE_DIR'] = before;
  });

  test('two processes at once leave one good file, and nothing else', async () => {
    const make = async (): Promise<string> => {
      const args = [
        require.resolve('tsx/cli'),
        'scripts/models/main.ts',
        'random',
        '--size',
        'micro',
        '--precision',
        'fp16',
      ];
      const env = { ...process.env, BATCHED_CACHE_DIR: cache };
      return (await promisify(execFile)(process.execPath, args, { env })).stdout.trim();
    };
    const [a, b] = await Promise.all([make(), make()]);
    expect(a).toBe(b);
    const spec = { kind: 'random', size: 'micro', precision: 'fp16' } as const;
    expect(await models.ensureModel(spec)).toBe(a);
    expect(readdirSync(cache).map((name) => join(cache, name))).toEqual([a]);
    expect(readFileSync(a).equals(models.encodeModel(models.makeModel(spec)))).toBe(true);
  });

  test('the same model asked for twice is written once, and options are told apart', async () => {
    const specs = [
      { kind: 'random' },
      { kind: 'random' },
      { kind: 'random', seed: 2 },
      { kind: 'random', lastHiddenState: true },
      { kind: 'random', padding: 'right' },
      { kind: 'random', size: { ...RANDOM_BERT_SIZES.micro, layers: 1 } },
      { kind: 'lookup', vocabulary: 3 },
      { kind: 'lookup', vocabulary: 4 },
    ] as const;
    const paths = await Promise.all(specs.map((spec) => models.ensureModel(spec)));
    expect(paths[0]).toBe(paths[1]);
    expect(new Set(paths).size).toBe(specs.length - 1);
  });

  test('a failure leaves no file', async () => {
    const huge = { ...RANDOM_BERT_SIZES.large, layers: 48 };
    const files = readdirSync(cache);
    await expect(models.ensureModel({ kind: 'random', size: huge })).rejects.toThrow(RangeError);
    expect(readdirSync(cache)).toEqual(files);
  });

  test('clean deletes what other versions made, and nothing else', async () => {
    const kept = await models.ensureModel({ kind: 'sum' });
    const stale = join(cache, 'sum-0123456789ab.onnx');
    const foreign = join(cache, 'mine.onnx');
    for (const path of [stale, foreign]) writeFileSync(path, '');
    expect(await models.cleanCache()).toEqual([stale]);
    expect(readdirSync(cache).map((name) => join(cache, name))).toEqual(expect.arrayContaining([kept, foreign]));
  });
});
