/**
 * On what models run, by what is wanted and what is set up: in processes of their own, since one holds one core. The
 * CUDA libraries are made up; the dynamic linker loads them, and ONNX Runtime finds nothing in them.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ensureModel } from '../../scripts/models/index';
import { coreVersion } from '../../ts/cuda/binaries';
import { cacheFolder } from '../../ts/cuda/set_up';
import { installedCore } from '../../ts/native';
import { providerNames, putCudaLibraries, putLibrary, putProvider } from '../helpers/cuda-machine';

type Wanted = ('cuda' | 'cpu')[] | null;

interface Result {
  provider?: string;
  providerNote?: string;
  code?: string;
  message?: string;
}

interface Ran {
  results: Result[];
  warnings: { name: string; code: string; message: string }[];
  library: { path: string; how: string };
}

const program = `
  import { inference, loadLibrary } from ${JSON.stringify(pathToFileURL(join(__dirname, '..', '..', 'dist', 'index.mjs')).href)};
  const [model, wanted, libraryPath] = JSON.parse(process.argv[1]);
  const warnings = [];
  process.on('warning', ({ name, code, message }) => warnings.push({ name, code, message }));
  const results = [];
  for (const executionProviders of wanted) {
    const options = { warmup: false, lanes: 1, ...(executionProviders && { executionProviders }), ...(libraryPath && { libraryPath }) };
    try {
      const sum = await inference.load(model, options);
      await sum.acall({ x: [[1, 2]] });
      const { provider, providerNote } = sum.stats;
      results.push({ provider, providerNote });
      await sum.close();
    } catch ({ code, message }) {
      results.push({ code, message });
    }
  }
  await new Promise((resolve) => setImmediate(resolve));
  console.log(JSON.stringify({ results, warnings, library: loadLibrary() }));`;

let root: string;
let model: string;
/** A folder with CUDA's libraries and the driver's, and a cache with a set-up. */
let libraries: string;
let cache: string;

function load(wanted: Wanted[], env: NodeJS.ProcessEnv, libraryPath?: string): Ran {
  const args = ['--input-type=module', '-e', program, JSON.stringify([model, wanted, libraryPath ?? null])];
  const own = { NODE_OPTIONS: '', XDG_CACHE_HOME: join(root, 'no-cache'), BATCHED_CUDA_PATH: '' };
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    timeout: 50_000,
    env: { ...process.env, ...own, ...env },
  });
  if (status !== 0) throw new Error(`${signal ?? status}: ${stderr}`);
  return JSON.parse(stdout) as Ran;
}

/** What `setup-cuda` makes, of the real core and a provider of its version that is none. */
function putSetUp(folder: string, cuda = 13): string {
  mkdirSync(folder, { recursive: true });
  const [installed] = installedCore();
  const core = join(folder, 'libonnxruntime.so.1');
  copyFileSync(installed!, core);
  const version = coreVersion(core)!;
  putProvider(folder, { version, cuda });
  const names = ['libonnxruntime.so.1', ...providerNames];
  const files = names.map((name) => [name, { from: 'x', sha256: 'x', bytes: readFileSync(join(folder, name)).length }]);
  const made = '2026-01-01T00:00:00.000Z';
  const manifest = { format: 1, version, cuda, made, source: 'x', files: Object.fromEntries(files) };
  writeFileSync(join(folder, 'batched-cuda.json'), JSON.stringify(manifest));
  return core;
}

let core: string;
/** A core of a set-up for a CUDA that no machine has. */
let lacking: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'batched-cuda-load-'));
  model = await ensureModel({ kind: 'sum' });
  libraries = join(root, 'libraries');
  putCudaLibraries(libraries, 13);
  putLibrary(join(libraries, 'libcuda.so.1'));
  cache = join(root, 'cache');
  core = putSetUp(join(cacheFolder({ env: { XDG_CACHE_HOME: cache }, home: root }), 'onnxruntime-cuda13'));
  lacking = putSetUp(join(root, 'lacking'), 99);
});
afterAll(() => rmSync(root, { recursive: true }));

const unavailable = 'BATCHED_PROVIDER_UNAVAILABLE';

describe('nothing set up', () => {
  test('the default runs on the CPU without a word', () => {
    const { results, warnings, library } = load([null], {});
    expect({ results, warnings }).toEqual({ results: [{ provider: 'cpu' }], warnings: [] });
    expect(library.how).not.toContain('CUDA');
  });

  test("['cuda'] is an error that names what is missing, with the fix", () => {
    const { results } = load([['cuda']], {});
    expect(results).toEqual([{ code: unavailable, message: expect.any(String) }]);
    expect(results[0]!.message).toMatch(
      /^CUDA cannot be used here\. Missing:\n.*providers_shared\.so: not beside .*\n.*providers_cuda\.so: not beside .*\. Fix: npx batched setup-cuda/,
    );
  });

  test("['cuda', 'cpu'] runs on the CPU, warns once and says why in stats", () => {
    const { results, warnings } = load([['cuda', 'cpu'], ['cuda', 'cpu'], ['cpu', 'cuda'], ['cpu']], {});
    const fallen = { provider: 'cpu', providerNote: expect.stringMatching(/Missing:\n[^]*npx batched setup-cuda/) };
    expect(results).toEqual([fallen, fallen, { provider: 'cpu' }, { provider: 'cpu' }]);
    expect(warnings).toEqual([
      {
        name: 'Warning',
        code: 'BATCHED_CUDA_FALLBACK',
        message: expect.stringMatching(/run on the CPU, though CUDA was asked for first\. [^]*npx batched setup-cuda/),
      },
    ]);
  });
});

describe('a set-up without its libraries', () => {
  const says = expect.stringMatching(
    /^(?![^]*setup-cuda)[^]*libcublas\.so\.99: not found\. Fix: pip install nvidia-cublas,/,
  );
  const told = [
    { provider: 'cpu', providerNote: says },
    { code: unavailable, message: says },
  ];

  test('is passed over; what is told is what it lacks, and not that there is none', () => {
    const { results, library } = load([null, ['cuda']], { BATCHED_CUDA_PATH: dirname(lacking) });
    expect(library.path).not.toBe(lacking);
    expect(results).toEqual(told);
  });

  test('named by libraryPath, is not passed over', () => {
    const { results, library } = load([null, ['cuda']], {}, lacking);
    expect(library).toMatchObject({ path: lacking, how: 'libraryPath' });
    expect(results).toEqual(told);
  });

  test('does not speak for another core that was named by libraryPath', () => {
    const { results } = load([['cuda']], { BATCHED_CUDA_PATH: dirname(lacking) }, installedCore()[0]);
    expect(results[0]!.message).toContain(`not beside ${installedCore()[0]!}`);
  });
});

describe('a complete set-up', () => {
  const env = (): NodeJS.ProcessEnv => ({ XDG_CACHE_HOME: cache, BATCHED_CUDA_PATH: libraries });

  test.each<[string, Wanted]>([
    ['the default', null],
    ["['cuda']", ['cuda']],
    ["['cuda', 'cpu']", ['cuda', 'cpu']],
    ["['cpu', 'cuda']", ['cpu', 'cuda']],
  ])('is what %s loads', (_, wanted) => {
    const { library } = load([wanted], env());
    expect(library).toMatchObject({ path: core, how: 'preferred, since CUDA is complete for it' });
  });

  test("is not what ['cpu'] loads; then it is too late for CUDA, which says so", () => {
    const { results, library } = load([['cpu'], ['cuda']], env());
    expect(library.path).not.toBe(core);
    expect(results[0]).toEqual({ provider: 'cpu' });
    expect(results[1]).toMatchObject({ code: unavailable, message: expect.stringMatching(/can hold only one/) });
    expect(results[1]!.message).toContain(core);
  });

  test('that does not load all the same: the reason is kept, by the same rules', () => {
    const { results, warnings } = load([['cuda', 'cpu'], null, ['cuda'], ['cuda', 'cpu']], env());
    const providerNote = results[0]!.providerNote!;
    expect(providerNote).not.toMatch(/Missing/);
    expect(results).toEqual([
      { provider: 'cpu', providerNote },
      { provider: 'cpu', providerNote },
      { code: unavailable, message: providerNote },
      { provider: 'cpu', providerNote },
    ]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatchObject({
      code: 'BATCHED_CUDA_FALLBACK',
      message: expect.stringContaining(providerNote),
    });
  });

  test('with a library that is broken: the linker says which', () => {
    const broken = join(root, 'broken');
    putCudaLibraries(broken, 13);
    putLibrary(join(broken, 'libcuda.so.1'));
    writeFileSync(join(broken, 'libcurand.so.10'), 'no library');
    const { results } = load([['cuda']], { ...env(), BATCHED_CUDA_PATH: broken });
    expect(results[0]!.code).toBe(unavailable);
    expect(results[0]!.message).toMatch(/broken\/libcurand\.so\.10: (file too short|invalid ELF header)/);
  });
});
