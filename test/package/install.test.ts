/** The tarball that `npm pack` makes: what is in it, where it installs, and that it runs there. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ensureModel } from '../../scripts/models';

const root = path.join(__dirname, '..', '..');
const here = `${process.platform}-${process.arch}`;
const scratch = mkdtempSync(path.join(tmpdir(), 'batched-package-'));
const deadlineMs = 240_000;

let tarball: string;
let model: string;

/** Only Node itself and npm: no compiler, no cmake, nobody's settings, an empty npm cache. */
function bare(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const bin = path.join(scratch, 'bin');
  if (!existsSync(bin)) {
    mkdirSync(bin);
    symlinkSync(process.execPath, path.join(bin, 'node'));
    for (const name of ['sh', 'env', 'uname']) symlinkSync(`/bin/${name}`, path.join(bin, name));
  }
  return { PATH: bin, HOME: path.join(scratch, 'home'), npm_config_cache: path.join(scratch, 'npm'), ...extra };
}

function npmCli(): string {
  const found = spawnSync('npm', ['root', '-g'], { encoding: 'utf8' });
  return path.join(found.stdout.trim(), 'npm', 'bin', 'npm-cli.js');
}

function run(args: string[], cwd: string, env: NodeJS.ProcessEnv): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, args, { cwd, env, encoding: 'utf8', timeout: deadlineMs });
}

function npm(args: string[], cwd: string, env: NodeJS.ProcessEnv): SpawnSyncReturns<string> {
  return run([npmCli(), ...args], cwd, env);
}

/** An empty folder with a program in it. */
function folder(name: string): string {
  const made = path.join(scratch, name);
  mkdirSync(made);
  writeFileSync(path.join(made, 'package.json'), '{ "private": true }');
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
  const prebuilds = run([path.join(root, 'scripts/package/prebuilds.mjs')], root, process.env);
  if (prebuilds.status !== 0) throw new Error(prebuilds.stderr);
  const packed = npm(['pack', '--json', '--pack-destination', scratch], root, process.env);
  tarball = path.join(scratch, (JSON.parse(packed.stdout) as { filename: string }[])[0]!.filename);
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

describe.each([
  ['without its install script', ['--ignore-scripts']],
  ['with its install script', []],
])('offline, with no compiler and an empty npm cache, %s', (name, flags) => {
  let made: string;

  test('it installs within a few seconds', () => {
    made = folder(name.replaceAll(' ', '-'));
    const start = performance.now();
    const install = npm(['install', '--offline', '--no-audit', '--no-fund', ...flags, tarball], made, bare());
    expect(install).toMatchObject({ status: 0 });
    expect(performance.now() - start).toBeLessThan(60_000); // a few seconds on a machine with nothing else to do
    expect(existsSync(path.join(made, 'node_modules/batched/build'))).toBe(false);
  });

  test.each(['app.cjs', 'app.mjs'])('%s runs a function and a model with what was shipped', (program) => {
    const ran = run([program], made, bare());
    expect(ran.stderr).toBe('');
    expect(JSON.parse(ran.stdout)).toEqual(answer);
  });

  test.each(['before', 'after'])('onnxruntime-node loaded %s batched shares its core', (order) => {
    const link = path.join(made, 'node_modules/onnxruntime-node');
    if (!existsSync(link)) symlinkSync(path.join(root, 'node_modules/onnxruntime-node'), link);
    const model_ = JSON.stringify(model);
    const theirs = `const ort = require('onnxruntime-node'); const session = await ort.InferenceSession.create(${model_});`;
    const ours = `const { inference } = require('batched'); const embed = await inference.load(${model_});`;
    const program = `(async () => {
      ${order === 'before' ? theirs + ours : ours + theirs}
      const ids = new ort.Tensor('int64', BigInt64Array.of(7n), [1, 1]);
      const a = await embed.acall({ ids });
      const b = Object.values(await session.run({ ids }))[0];
      console.log(a.data.every((value, i) => value === b.data[i]), a.data.length);
      await embed.close();
    })();`;
    const ran = run(['-e', program], made, bare({ ORT_DISABLE_TELEMETRY: '1' }));
    expect({ out: ran.stdout.trim(), error: ran.stderr }).toEqual({ out: 'true 384', error: '' });
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
