/** The documents leave nothing out: options, codes, fields, metrics and commands are all explained somewhere. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { Registry } from 'prom-client';
import { aio, inference } from '../../ts';
import { codesInOrder } from '../../ts/errors';
import { register } from '../../ts/prometheus';

const root = join(__dirname, '..', '..');
const read = (file: string): string => readFileSync(join(root, file), 'utf8');
const guides = readdirSync(join(root, 'docs/guides')).map((file) => `docs/guides/${file}`);

/** The names that an entry point knows, as its own error says. */
async function knownOptions(call: () => unknown): Promise<string[]> {
  const message = await Promise.resolve()
    .then(call)
    .then(
      () => '',
      (error: unknown) => (error as Error).message,
    );
  const [, names] = /\(known: (.*)\)/.exec(message)!;
  return names!.split(', ');
}

test('every option is explained in the README, docs/models.md or a guide', async () => {
  const nope = { nope: 1 } as object;
  const options = new Set([
    ...(await knownOptions(() => aio.dynamically(nope))),
    ...(await knownOptions(() => inference.dynamically(nope))),
    ...(await knownOptions(() => inference.load('model.onnx', nope))),
    ...(await knownOptions(() => aio.dynamically((items: number[]) => items)(1, nope))),
  ]);
  expect(options.size).toBeGreaterThan(25);
  const text = ['README.md', 'docs/models.md', ...guides].map(read).join('\n');
  expect([...options].filter((option) => !new RegExp(`\`[^\`\n]*\\b${option}\\b`).test(text))).toEqual([]);
});

test('every code has its part in docs/guides/errors.md', () => {
  const text = read('docs/guides/errors.md');
  const codes = codesInOrder.filter((code) => code !== 'OK' && code !== 'BATCHED_CANCELLED');
  expect(
    codes.filter((code) => !text.includes(`\n## ${code}\n`) || !text.includes(`(#${code.toLowerCase()})`)),
  ).toEqual([]);
  expect(text).toContain('`BATCHED_CANCELLED`');
});

test('every metric is in docs/guides/operating.md', async () => {
  const registry = new Registry();
  register(
    aio.dynamically((items: number[]) => items),
    { registry },
  );
  const names = (await registry.getMetricsAsJSON()).map(({ name }) => name);
  expect(names.length).toBeGreaterThan(10);
  const text = read('docs/guides/operating.md');
  expect(names.filter((name) => !text.includes(`\`${name}`))).toEqual([]);
});

test('every command of the program is in the README', () => {
  const help = execFileSync(process.execPath, [join(root, 'dist/cli/main.js'), '--help'], { encoding: 'utf8' });
  const commands = [...help.matchAll(/^ {2}([a-z][\w-]*) .*$/gm)]
    .map(([, name]) => name!)
    .filter((name) => name !== 'help');
  expect(commands.length).toBeGreaterThan(2);
  expect(commands.filter((name) => !read('README.md').includes(`npx batched ${name}`))).toEqual([]);
});

test('the index leads to every guide', () => {
  const index = read('docs/README.md');
  expect(guides.filter((file) => !index.includes(`(${file.replace(/^docs\//, '')})`))).toEqual([]);
});
