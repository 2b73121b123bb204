/** The tarball that `npm pack` makes: what is in it, where it installs, and that it runs there. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ensureModel } from '../../scripts/models';
import { bare, here, install, pack, project, root, run, scratch } from '../helpers/package';

let tarball: string;
let model: string;

/** An empty folder with a program in it. */
function folder(name: string): string {
  const made = project(name);
  const body = `
    const double = dynamically((items) => items.map((item) => 2 * item));
    const answers = await Promise.all([1, 2, 3].map((item) => double.acall(item)));
    const embed = await inference.load(${JSON.stringify(model)});
    const { dims } = await embed.acall({ ids: new BigInt64Array([1n, 2n]) });
    const { how } = loadLibrary();
    await embed.close();
    console.log(JSON.stringify({ answers, dims, how }));
  `;
  const names = '{ dynamically, inference, loadLibrary }';
  writeFileSync(path.join(made, 'app.cjs'), `const ${names} = require('batched');\n(async () => {${body}})();`);
  writeFileSync(path.join(made, 'app.mjs'), `import ${names} from 'batched';\n${body}`);
  return made;
}

const answer = { answers: [2, 4, 6], dims: [1, 384], how: 'beside the addon' };

beforeAll(async () => {
  model = await ensureModel({ kind: 'lookup' });
  tarball = pack();
});

afterAll(() => rmSync(scratch, { recursive: true }));

test('the tarball has at most 25 MB', () => {
  expect(statSync(tarball).size).toBeLessThan(25e6);
});

test('it has the addon, the core, the types, the sources and the notices, and nothing of the workshop', () => {
  const listing = spawnSync('tar', ['tzf', tarball], { encoding: 'utf8' }).stdout.split('\n');
  const names = listing.map((name) => name.replace(/^package\//, ''));
  expect(names).toEqual(
    expect.arrayContaining([
      `prebuilds/${here}/batched.glibc.node`,
      `prebuilds/${here}/libonnxruntime.so.1`,
      'dist/index.js',
      'dist/index.mjs',
      'dist/index.d.ts',
      'dist/prometheus.mjs',
      'dist/cli/main.js',
      'native/engine/engine.h',
      'CMakeLists.txt',
      'binding.gyp',
      'LICENSE',
      'NOTICE',
      'README.md',
      'CHANGELOG.md',
    ]),
  );
  const ours = names.filter((name) => !name.startsWith('node_modules/'));
  expect(ours.filter((name) => /^(test|bench|examples|build|\.cache|\.ci)\//.test(name))).toEqual([]);
  expect(ours.filter((name) => /\.(onnx|safetensors)$/.test(name))).toEqual([]);
});

test('NOTICE names every bundled package, and each has its licence file', () => {
  const unpacked = path.join(scratch, 'notices');
  mkdirSync(unpacked);
  spawnSync('tar', ['xzf', tarball, '--strip-components=1', '-C', unpacked]);
  const manifests = readdirSync(unpacked, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /(^|\/)node_modules\/(@[^/]+\/)?[^/]+\/package\.json$/.test(name),
  );
  const bundled = manifests.map((name) => {
    const { name: id, version, license } = JSON.parse(readFileSync(path.join(unpacked, name), 'utf8'));
    const files = readdirSync(path.join(unpacked, path.dirname(name)));
    expect([name, files.some((file) => /^licen[cs]e/i.test(file))]).toEqual([name, true]);
    return `  ${id} ${version} (${license})`;
  });
  const notice = readFileSync(path.join(unpacked, 'NOTICE'), 'utf8').split('\n');
  expect(notice.slice(notice.findIndex((line) => line.startsWith('npm packages bundled')) + 1, -1)).toEqual(
    [...new Set(bundled)].sort(),
  );
});

describe.each([
  ['without its install script', ['--ignore-scripts']],
  ['with its install script', []],
])('offline, with no compiler and an empty npm cache, %s', (name, flags) => {
  let made: string;

  test('it installs within a few seconds', () => {
    made = folder(name.replaceAll(' ', '-'));
    const start = performance.now();
    expect(install(tarball, made, ...flags)).toMatchObject({ status: 0 });
    expect(performance.now() - start).toBeLessThan(60_000); // a few seconds on a machine with nothing else to do
    expect(existsSync(path.join(made, 'node_modules/batched/build'))).toBe(false);
  });

  test.each(['app.cjs', 'app.mjs'])('%s runs a function and a model with what was shipped', (program) => {
    const ran = run([program], made, bare());
    expect(ran.stderr).toBe('');
    expect(JSON.parse(ran.stdout)).toEqual(answer);
  });

  test('its program runs', () => {
    const program = path.join(made, 'node_modules/.bin/batched');
    expect(run([program, 'doctor'], made, bare())).toMatchObject({ status: 0, stderr: '' });
    const figures = run([program, 'bench', model, '--seconds', '0.1', '--clients', '2', '--json', '-'], made, bare());
    expect(figures).toMatchObject({ status: 0, stderr: '' });
    const png = run([program, 'bench', model, '--chart', 'chart.png'], made, bare());
    expect(png).toMatchObject({ status: 1, stderr: expect.stringContaining('npm install @resvg/resvg-js') });
  });
});

describe('where no prebuilt addon fits', () => {
  const unpacked = path.join(scratch, 'unpacked', 'node_modules', 'batched');

  beforeAll(() => {
    mkdirSync(unpacked, { recursive: true });
    spawnSync('tar', ['xzf', tarball, '--strip-components=1', '-C', unpacked]);
    cpSync(path.join(unpacked, 'prebuilds', here, 'libonnxruntime.so.1'), path.join(scratch, 'libonnxruntime.so.1'));
    rmSync(path.join(unpacked, 'prebuilds'), { recursive: true });
  });

  test('the install script says what to install when there is no compiler', () => {
    const ran = run([path.join(unpacked, 'scripts/package/install.mjs')], unpacked, bare());
    expect(ran.status).toBe(1);
    expect(ran.stderr).toMatch(/no prebuilt addon for .*could not be built.*\n?.*cmake is not on the PATH/s);
    expect(ran.stderr).toContain('apt-get install cmake');
  });

  test('loading says that the binary is missing', () => {
    const ran = run(['-e', "require('batched')"], path.join(scratch, 'unpacked'), bare());
    expect(ran.stderr).toContain('BATCHED_LIBRARY_NOT_FOUND');
  });

  test('the install script builds it with cmake, and it runs', () => {
    const [version] = readdirSync(path.join(root, '.cache/headers'));
    const env = { ...process.env, ONNXRUNTIME_ROOT: path.join(root, '.cache/headers', version!) };
    const built = run([path.join(unpacked, 'scripts/package/install.mjs')], unpacked, env);
    expect(built).toMatchObject({ status: 0 });
    const program = "require('batched').dynamically((items) => items).acall(1).then(console.log)";
    const ran = run(['-e', program], path.join(scratch, 'unpacked'), bare());
    expect({ out: ran.stdout, error: ran.stderr }).toEqual({ out: '1\n', error: '' });
  });
});
