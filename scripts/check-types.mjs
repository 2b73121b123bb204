// Type checks: the sources and all that uses them, the type tests in both dialects of decorators, and the built package
// as ES modules and as CommonJS see it, with skipLibCheck off.
//
//   node scripts/check-types.mjs
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { Advice, inRoot, isProgram, main, root } from './util.mjs';

/**
 * The assertions about the sources once more, about the package: copied to build/types in both formats, with the package
 * in place of the sources.
 */
function copyAssertions() {
  const folder = inRoot('build/types');
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder, { recursive: true });
  for (const file of fs.readdirSync(inRoot('test/types')).filter((name) => name.endsWith('.ts'))) {
    const text = fs.readFileSync(inRoot('test/types', file), 'utf8').replaceAll("from '../../ts'", "from 'batched'");
    const name = path.basename(file, '.ts');
    for (const format of ['mts', 'cts']) fs.writeFileSync(path.join(folder, `${name}.${format}`), text);
  }
}

const projects = [
  ['the sources', '.'],
  ['experimentalDecorators', 'test/types/legacy'],
  ['the package', 'test/types/package'],
  ['the package, without exactOptionalPropertyTypes', 'test/types/package', '--exactOptionalPropertyTypes', 'false'],
];

/** How many of the projects compile, and how many do not. What is wrong with them goes to stderr. */
export function checkTypes() {
  if (!fs.existsSync(inRoot('dist/index.d.mts'))) throw new Advice('dist has no types: run `npm run build:ts` first');
  copyAssertions();
  const tsc = inRoot('node_modules/typescript/bin/tsc');
  const counts = { passed: 0, failed: 0 };
  for (const [name, project, ...flags] of projects) {
    const args = [tsc, '--noEmit', '-p', project, ...flags];
    const ok = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 2, 2] }).status === 0;
    if (!ok) console.error(`types: ${name} (${project}) does not compile`);
    counts[ok ? 'passed' : 'failed']++;
  }
  return counts;
}

if (isProgram(import.meta.url)) main(() => (checkTypes().failed > 0 ? 1 : 0));
