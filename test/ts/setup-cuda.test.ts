/** `batched setup-cuda` from made-up sources of all kinds: the built program in a process of its own. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { create } from 'tar';
import { assemble } from '../../ts/cuda/assemble';
import { integrityOf, type ProviderPackage } from '../../ts/cuda/npm_package';
import { readSetUp } from '../../ts/cuda/set_up';
import { sourceFor } from '../../ts/cuda/sources';
import { installedCore } from '../../ts/native';
import {
  emptyMachine,
  neededByProvider,
  providerNames,
  providerText,
  putCore,
  putProvider,
} from '../helpers/cuda-machine';
import { tinyElf, type TinyElf } from '../helpers/tiny-elf';
import { tinyZip } from '../helpers/tiny-zip';

const main = join(__dirname, '..', '..', 'dist', 'cli', 'main.js');
const [shared, provider] = providerNames;

interface Ran {
  code: number;
  out: string;
  error: string;
}

let root: string;
let cache: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'batched-setup-'));
});
afterAll(() => rmSync(root, { recursive: true }));
beforeEach(() => {
  cache = mkdtempSync(join(root, 'cache-'));
});

function setup(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  const options = {
    env: { ...process.env, NODE_OPTIONS: '', BATCHED_CUDA_PATH: '', XDG_CACHE_HOME: cache, ...env },
    timeout: 50_000,
  };
  return new Promise((resolve) => {
    execFile(process.execPath, [main, 'setup-cuda', ...args], options, (error, out, err) => {
      resolve({ code: error === null ? 0 : (error.code as unknown as number), out, error: err });
    });
  });
}

const core = (version: string, elf: TinyElf = {}): Buffer =>
  tinyElf({ soname: 'libonnxruntime.so.1', names: [`VERS_${version}`], ...elf });
const cudaProvider = (version: string, cuda = 13): Buffer =>
  tinyElf({ needed: neededByProvider(cuda), text: providerText(version) });

/** By path in the archive, the files of a release. */
function release(folder: string, coreName: string, version = '1.31.1', cuda = 13): Record<string, Buffer> {
  return {
    [`${folder}/${coreName}`]: core(version),
    [`${folder}/${provider}`]: cudaProvider(version, cuda),
    [`${folder}/${shared}`]: tinyElf(),
    [`${folder}/libonnxruntime_providers_tensorrt.so`]: Buffer.from('is not needed'),
  };
}

async function tgz(
  name: string,
  files: Readonly<Record<string, Buffer>>,
  links: Record<string, string> = {},
): Promise<string> {
  const folder = mkdtempSync(join(root, 'tgz-'));
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), bytes);
  }
  for (const [path, target] of Object.entries(links)) symlinkSync(target, join(folder, path));
  const file = join(folder, name);
  await create({ file, gzip: true, cwd: folder }, [...new Set(Object.keys(files).map((path) => path.split('/')[0]!))]);
  return file;
}

function zip(name: string, files: Readonly<Record<string, Buffer>>): string {
  const file = join(mkdtempSync(join(root, 'zip-')), name);
  writeFileSync(file, tinyZip(files));
  return file;
}

/** Whatever happens, nothing half done stays behind. */
const cached = (): string[] => (existsSync(join(cache, 'batched')) ? readdirSync(join(cache, 'batched')) : []);

describe('sources', () => {
  const releaseFolder = 'onnxruntime-linux-x64-gpu-1.31.1/lib';
  const kinds: [string, () => Promise<string> | string][] = [
    [
      "a release's .tgz, with links",
      () =>
        tgz('onnxruntime-linux-x64-gpu-1.31.1.tgz', release(releaseFolder, 'libonnxruntime.so.1.31.1'), {
          [`${releaseFolder}/libonnxruntime.so`]: 'libonnxruntime.so.1',
          [`${releaseFolder}/libonnxruntime.so.1`]: 'libonnxruntime.so.1.31.1',
        }),
    ],
    [
      'a wheel',
      () =>
        zip('onnxruntime_gpu-1.31.1-cp311-cp311-manylinux_2_28_x86_64.whl', {
          ...release('onnxruntime/capi', 'libonnxruntime.so.1.31.1'),
          'onnxruntime_gpu-1.31.1.dist-info/METADATA': Buffer.from('Version: 1.31.1\n'),
        }),
    ],
    [
      'a .nupkg, with a core for another processor',
      () =>
        zip('microsoft.ml.onnxruntime.gpu.linux.1.31.1.nupkg', {
          'runtimes/linux-arm64/native/libonnxruntime.so': core('1.31.1', { machine: 'arm64' }),
          ...release('runtimes/linux-x64/native', 'libonnxruntime.so'),
        }),
    ],
    [
      'a folder',
      () => {
        const folder = mkdtempSync(join(root, 'folder-'));
        putCore(join(folder, 'deep', 'inside'), { version: '1.31.1' });
        return folder;
      },
    ],
  ];

  test.each(kinds)('%s: core and provider of one version, with a manifest', async (_, source) => {
    const from = await source();
    const { code, out, error } = await setup(['--from', from, '--json']);
    expect({ code, error }).toEqual({ code: 0, error: '' });
    const folder = join(cache, 'batched', 'onnxruntime-1.31.1-cuda13');
    const manifest = { format: 1, version: '1.31.1', cuda: 13, source: from };
    expect(JSON.parse(out)).toMatchObject({
      ok: true,
      fresh: true,
      folder,
      core: join(folder, 'libonnxruntime.so.1'),
      manifest,
    });
    expect(readdirSync(folder).sort()).toEqual(['batched-cuda.json', 'libonnxruntime.so.1', provider, shared].sort());
    expect(readFileSync(join(folder, 'libonnxruntime.so.1'))).toEqual(core('1.31.1'));
    const { files } = readSetUp(folder)!.manifest;
    for (const [name, { bytes, sha256 }] of Object.entries(files)) {
      const content = readFileSync(join(folder, name));
      expect({ bytes, sha256 }).toEqual({
        bytes: content.length,
        sha256: createHash('sha256').update(content).digest('hex'),
      });
    }
    expect(files[provider]!.from).toContain(provider);
    expect(cached()).toEqual(['onnxruntime-1.31.1-cuda13']);
  });

  test('what is missing besides is told, with the fix', async () => {
    const from = await tgz('x.tgz', release('x', 'libonnxruntime.so.1', '1.31.1', 99));
    const { code, out } = await setup(['--from', from]); // nobody has CUDA 99
    expect(code).toBe(0);
    expect(out).toContain('✓ ONNX Runtime 1.31.1 for CUDA 99 is in');
    expect(out).toMatch(
      /What CUDA still lacks on this machine:\n(.*\n)*– libcublas\.so\.99: not found\n +pip install nvidia-cublas,/,
    );
  });

  test('a second run says that it is there; --force makes it anew', async () => {
    const from = await tgz('x.tgz', release('x', 'libonnxruntime.so.1'));
    const first = JSON.parse((await setup(['--from', from, '--json'])).out);
    const second = await setup(['--from', from]);
    expect(second).toMatchObject({ code: 0, out: expect.stringMatching(/was there already.*--force/) });
    const again = JSON.parse((await setup(['--from', from, '--json'])).out);
    expect(again).toEqual({ ...first, fresh: false });
    const forced = JSON.parse((await setup(['--from', from, '--json', '--force'])).out);
    expect(forced).toMatchObject({ fresh: true, manifest: { files: first.manifest.files } });
    expect(Date.parse(forced.manifest.made)).toBeGreaterThan(Date.parse(first.manifest.made));
    expect(cached()).toEqual(['onnxruntime-1.31.1-cuda13']);
  });

  test('a set-up that was damaged since is made anew without being asked', async () => {
    const from = await tgz('x.tgz', release('x', 'libonnxruntime.so.1'));
    await setup(['--from', from]);
    const folder = join(cache, 'batched', 'onnxruntime-1.31.1-cuda13');
    rmSync(join(folder, provider));
    expect((await setup(['--from', from])).out).toContain(`from ${from}`);
    expect(readSetUp(folder)).toBeDefined();
  });

  test('--folder names another place, and how models find it', async () => {
    const from = await tgz('x.tgz', release('x', 'libonnxruntime.so.1'));
    const folder = join(cache, 'mine');
    const { code, out } = await setup(['--from', from, '--folder', folder]);
    expect(code).toBe(0);
    expect(out).toContain(`BATCHED_CUDA_PATH=${folder}`);
    expect(readSetUp(folder)).toBeDefined();
    expect(cached()).toEqual([]);
  });

  test('a folder with other things in it is left alone', async () => {
    const folder = join(cache, 'home');
    mkdirSync(folder);
    writeFileSync(join(folder, 'thesis.txt'), 'x');
    const from = await tgz('x.tgz', release('x', 'libonnxruntime.so.1'));
    for (const args of [[], ['--force']]) {
      const { code, error } = await setup(['--from', from, '--folder', folder, ...args]);
      expect(code).toBe(1);
      expect(error).toContain('is not empty, and not made by setup-cuda');
    }
    expect(readdirSync(folder)).toEqual(['thesis.txt']);
  });
});

describe('refusals', () => {
  const refused = async (args: readonly string[], says: RegExp, env: NodeJS.ProcessEnv = {}): Promise<void> => {
    const { code, out, error } = await setup(args, env);
    expect({ code, out }).toEqual({ code: 1, out: '' });
    expect(error).toMatch(says);
    expect(error).not.toMatch(/\n +at /);
    expect(cached()).toEqual([]);
  };

  test('core and provider of different versions', async () => {
    const mixed = { ...release('x', 'libonnxruntime.so.1'), [`x/${provider}`]: cudaProvider('1.30.0') };
    await refused(
      ['--from', await tgz('x.tgz', mixed)],
      /its provider is of ONNX Runtime 1\.30\.0, and a core must be of exactly that version. Here: 1\.31\.1 \(/,
    );
  });

  test('a provider alone, for which this machine has no core', async () => {
    const { 'x/libonnxruntime.so.1': _, ...without } = release('x', 'libonnxruntime.so.1');
    await refused(
      ['--from', zip('x.whl', without)],
      /of ONNX Runtime 1\.31\.1.*Here: 1\.29\.0 \(.*npm install onnxruntime-node@1\.31\.1/,
    );
  });

  test('a provider whose version cannot be told', async () => {
    const files = { [`x/${provider}`]: tinyElf({ needed: neededByProvider(13) }), [`x/${shared}`]: tinyElf() };
    await refused(['--from', await tgz('x.tgz', files)], /which version of ONNX Runtime.*cannot be told/);
  });

  test('an archive that is cut short, wherever', async () => {
    const whole = [
      await tgz('x.tgz', release('x', 'libonnxruntime.so.1')),
      zip('x.whl', release('x', 'libonnxruntime.so.1')),
    ];
    for (const archive of whole) {
      const bytes = readFileSync(archive);
      for (const part of [0.1, 0.6, 0.97]) {
        const file = `${archive}.${part}`;
        writeFileSync(file, bytes.subarray(0, Math.floor(part * bytes.length)));
        await refused(['--from', file], /cannot be unpacked, it may be cut short or damaged/);
      }
    }
  });

  test('an archive with a byte changed', async () => {
    const archive = zip('x.whl', { 'x/libonnxruntime.so.1': core('1.31.1', { text: 'abc'.repeat(2000) }) });
    const bytes = readFileSync(archive);
    bytes[80]! ^= 0xff;
    writeFileSync(archive, bytes);
    await refused(['--from', archive], /cannot be unpacked, it may be cut short or damaged/);
  });

  test.each<[string, () => Promise<string> | string, RegExp]>([
    ['no such file', () => join(root, 'none.tgz'), /none\.tgz does not exist/],
    ['a text', () => __filename, /setup-cuda\.test\.ts is no \.tgz, \.whl or \.nupkg archive/],
    [
      'a package for the CPU',
      () => zip('x.whl', { 'x/libonnxruntime.so.1': core('1.31.1') }),
      /has no libonnxruntime_providers_cuda\.so for linux-/,
    ],
    [
      'one for another processor',
      () => zip('x.whl', { [`x/${provider}`]: tinyElf({ machine: process.arch === 'x64' ? 'arm64' : 'x64' }) }),
      /has no libonnxruntime_providers_cuda\.so for linux-/,
    ],
    [
      'half a provider',
      () => zip('x.whl', { [`x/${provider}`]: cudaProvider('1.31.1') }),
      /no libonnxruntime_providers_shared\.so beside it/,
    ],
    [
      'one for a CUDA that nobody has',
      () => zip('x.whl', { [`x/${provider}`]: tinyElf(), [`x/${shared}`]: tinyElf() }),
      /asks for no library of CUDA 12 or newer/,
    ],
  ])('%s', async (_, from, says) => refused(['--from', await from()], says));

  test('another CUDA than was asked for', async () => {
    const from = await tgz('x.tgz', release('x', 'libonnxruntime.so.1', '1.31.1', 12));
    await refused(['--from', from, '--cuda', '13'], /is for CUDA 12, and CUDA 13 was asked for/);
    expect(await setup(['--from', from, '--cuda', '12'])).toMatchObject({ code: 0 });
  });

  test('CUDA 12, which the registry does not have: where to get it', async () => {
    await refused(
      ['--cuda', '12'],
      /no CUDA 12 provider[^]*ONNXRUNTIME_NODE_INSTALL=cuda12[^]*--from onnxruntime-linux-x64-gpu[^]*onnxruntime-gpu==1\.26\.0/,
    );
  });

  test('onnxruntime-node without its CUDA files', async () => {
    await refused(['--from', 'onnxruntime-node'], /has no CUDA provider in .*ONNXRUNTIME_NODE_INSTALL=cuda12/);
  });

  test('a wrong word is exit code 2', async () => {
    const { code, error } = await setup(['--cuda', '11']);
    expect(code).toBe(2);
    expect(error).toMatch(/Allowed choices are 12, 13/);
  });
});

describe('the npm package', () => {
  /** A program called npm that "packs" a file; what it was asked goes to a log. */
  function fakeNpm(script: string): string {
    const bin = mkdtempSync(join(root, 'bin-'));
    writeFileSync(join(bin, 'npm'), `#!/bin/sh\necho "$@" >> ${join(bin, 'log')}\n${script}\n`);
    chmodSync(join(bin, 'npm'), 0o755);
    return bin;
  }

  const pathWith = (bin: string): string => `${bin}:${process.env.PATH}`;

  async function packed(): Promise<{ tarball: string; known: ProviderPackage; bin: string }> {
    const { 'Plugins/libonnxruntime.so.1': _, ...files } = release('Plugins', 'libonnxruntime.so.1', '1.29.0');
    const entries = Object.entries(files).map(([path, bytes]) => [`package/${path}`, bytes]);
    const tarball = await tgz('provider.tgz', Object.fromEntries(entries) as Record<string, Buffer>);
    const known = {
      name: 'provider.linux-x64-gpu',
      version: '1.0.0',
      integrity: await integrityOf(tarball),
      bytes: 1e6,
      onnxruntime: '1.29.0',
      cuda: 13,
    };
    return {
      tarball,
      known,
      bin: fakeNpm(
        `mkdir -p "$6/tmp" && cp ${tarball} "$6/tmp/x" && cp ${tarball} "$4/${known.name}-${known.version}.tgz"`,
      ),
    };
  }

  test('is fetched by npm, checked, and joined with the core of its version', async () => {
    const { known, bin } = await packed();
    const scratch = mkdtempSync(join(cache, 'scratch-'));
    const cores = { installed: undefined, all: installedCore() };
    const machine = emptyMachine(root, { env: { PATH: pathWith(bin) } });
    const source = sourceFor({ from: undefined, cuda: 13 }, cores, machine, known);
    expect(source).toMatchObject({ promised: { version: '1.29.0', cuda: 13 }, bytes: 1e6 });
    const pieces = await source.pieces(scratch, () => undefined);
    expect(pieces).toMatchObject({ core: installedCore()[0], version: '1.29.0', cuda: 13 });
    expect(readFileSync(join(bin, 'log'), 'utf8')).toMatch(
      /^pack provider\.linux-x64-gpu@1\.0\.0 .*--ignore-scripts\n$/,
    );
    const target = join(cache, 'made');
    const nameOf = (file: string): string => source.nameOf(file, scratch);
    const { manifest } = await assemble({ pieces, target, scratch, source: source.name, nameOf });
    expect(manifest.files[provider]!.from).toBe(`provider.linux-x64-gpu@1.0.0 (npm): package/Plugins/${provider}`);
    expect(manifest.files['libonnxruntime.so.1']!.from).toBe(installedCore()[0]);
  });

  test('another package under its name is refused', async () => {
    const { known, bin } = await packed();
    const integrity = known.integrity.replace(/.{6}==$/, 'AAAAAA==');
    const machine = emptyMachine(root, { env: { PATH: pathWith(bin) } });
    const source = sourceFor({ from: undefined, cuda: 13 }, { installed: undefined, all: [] }, machine, {
      ...known,
      integrity,
    });
    const scratch = mkdtempSync(join(cache, 'scratch-'));
    await expect(source.pieces(scratch, () => undefined)).rejects.toThrow(
      /is not the package we know\.\n +expected sha512-.*AAAAAA==\n +got/,
    );
  });

  test('npm that fails, or is not there, says what else to do', async () => {
    const failing = await setup(['--cuda', '13'], {
      PATH: pathWith(fakeNpm('echo "npm error code E404" >&2; exit 1')),
    });
    expect(failing).toMatchObject({
      code: 1,
      error: expect.stringMatching(/npm pack .* failed.*--from\nnpm error code E404/),
    });
    expect(await setup(['--cuda', '13'], { PATH: join(root, 'no-bin') })).toMatchObject({
      code: 1,
      error: expect.stringMatching(/npm was not found; .*--from/),
    });
    expect(cached()).toEqual([]);
  });

  test("onnxruntime-node's own provider comes before it, where the CUDA is the same", () => {
    const folder = mkdtempSync(join(root, 'node-'));
    putCore(folder, { cuda: 12 });
    const cores = { installed: join(folder, 'libonnxruntime.so.1'), all: [] };
    const machine = emptyMachine(root);
    const name = (cuda: number): string => sourceFor({ from: undefined, cuda }, cores, machine).name;
    expect(name(12)).toBe(`onnxruntime-node in ${folder}`);
    expect(name(13)).toMatch(/^com\.github\.asus4.*\(npm\)$/);
    putProvider(folder, { cuda: 13 });
    expect(name(13)).toBe(`onnxruntime-node in ${folder}`);
  });
});
