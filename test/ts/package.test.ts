/** The built package as Node sees it: `import` and `require` are two doors of one house. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import * as sources from '../../ts';

const root = join(__dirname, '..', '..');

/** What an ES module in the package's own folder prints; `batched` is the package there. */
function printed(code: string): unknown {
  const prelude = `
    import { createRequire } from 'node:module';
    import * as imported from 'batched';
    const required = createRequire(import.meta.url)('batched');
  `;
  const args = ['--input-type=module', '--eval', `${prelude} console.log(JSON.stringify(${code}))`];
  const options = { cwd: root, encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } } as const;
  return JSON.parse(execFileSync(process.execPath, args, options));
}

test('both export the same names, those of the sources', () => {
  const [imported, required] = printed('[Object.keys(imported), Object.keys(required)]') as string[][];
  expect(imported!.sort()).toEqual(Object.keys(sources).sort());
  expect(required!.sort()).toEqual(imported);
});

test('every export is the same thing, so that instanceof holds across both', () => {
  expect(printed('Object.keys(imported).filter((name) => imported[name] !== required[name])')).toEqual([]);
  const across = `[
    new imported.BatchedError('BATCHED_CLOSED', 'text') instanceof required.BatchedError,
    new required.BatchedError('BATCHED_CLOSED', 'text') instanceof imported.BatchedError,
    imported.batchedOf(required.dynamically((items) => items))(3) === 3,
  ]`;
  expect(printed(across)).toEqual([true, true, true]);
});

test('the doors of the package are its own, batched/prometheus, and package.json', () => {
  const names = ['batched/dist/index.js', 'batched/ts/index.ts', 'batched/dist/cli/main.js', 'batched/package.json'];
  const codes = `${JSON.stringify(names)}.map((name) => {
    try { return typeof createRequire(import.meta.url)(name).version; } catch (error) { return error.code; }
  })`;
  const closed = 'ERR_PACKAGE_PATH_NOT_EXPORTED';
  expect(printed(codes)).toEqual([closed, closed, closed, 'string']);
});

test('batched/prometheus is one thing for import and require', () => {
  const code = `await import('batched/prometheus').then((imported) => {
    const required = createRequire(import.meta.url)('batched/prometheus');
    return [Object.keys(imported), imported.register === required.register];
  })`;
  expect(printed(code)).toEqual([['register'], true]);
});
