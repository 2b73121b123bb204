// NOTICE names every npm package that the tarball bundles, with its version and licence. This compares its list with
// package-lock.json, which knows what is bundled; --fix writes it anew. Licences that are not permissive are refused.
import fs from 'node:fs';
import { Advice, inRoot, isProgram, main } from '../util.mjs';

const PERMISSIVE = ['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'BlueOak-1.0.0', 'ISC', 'MIT', 'Zlib'];
const LIST = /(?<=^npm packages bundled .*:\n)(?: {2}.*\n)*/m;

/** Name, version and licence of what is bundled, sorted. */
export function bundled(lock = JSON.parse(fs.readFileSync(inRoot('package-lock.json'), 'utf8'))) {
  const lines = Object.entries(lock.packages)
    .filter(([, { inBundle }]) => inBundle)
    .map(([folder, { version, license }]) => ({
      name: folder.slice(folder.lastIndexOf('node_modules/') + 'node_modules/'.length),
      version,
      license,
    }));
  const unlike = (a, b) => (a < b ? -1 : Number(a > b));
  return lines.sort((a, b) => unlike(a.name, b.name) || unlike(a.version, b.version));
}

/** What is wrong with NOTICE, one line each. */
export function checkNotices(fix = false) {
  const file = inRoot('NOTICE');
  const text = fs.readFileSync(file, 'utf8');
  const there = LIST.exec(text)?.[0];
  if (there === undefined) throw new Advice("NOTICE has no list that begins with 'npm packages bundled ...:'");
  const packages = bundled();
  const problems = packages
    .filter(({ license }) => !PERMISSIVE.includes(license))
    .map(({ name, version, license }) => `${name} ${version} is bundled under ${license ?? 'no licence'}`);
  const wanted = [...new Set(packages.map(({ name, version, license }) => `  ${name} ${version} (${license})\n`))];
  if (there === wanted.join('')) return problems;
  if (fix) {
    fs.writeFileSync(
      file,
      text.replace(LIST, () => wanted.join('')),
    );
    return problems;
  }
  const had = there.match(/.+\n/g) ?? [];
  const missing = wanted.filter((line) => !had.includes(line)).map((line) => `NOTICE lacks${line.trimEnd()}`);
  const stray = had
    .filter((line) => !wanted.includes(line))
    .map((line) => `NOTICE has${line.trimEnd()}, which is not bundled`);
  const order = missing.length + stray.length === 0 ? ['NOTICE has the bundled packages in another order'] : [];
  return [...problems, ...missing, ...stray, ...order, 'node scripts/package/notices.mjs --fix writes the list anew'];
}

if (isProgram(import.meta.url)) {
  main(() => {
    const problems = checkNotices(process.argv.includes('--fix'));
    for (const problem of problems) console.error(problem);
    return problems.length > 0 ? 1 : 0;
  });
}
