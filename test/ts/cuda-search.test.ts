/** What the search for CUDA finds on made-up machines: a folder stands for `/`. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { readElf } from '../../ts/cuda/elf';
import type { Machine } from '../../ts/cuda/machine';
import { cudaMajor, pipPackage } from '../../ts/cuda/packages';
import { cudaOf, searchCuda } from '../../ts/cuda/search';
import { cacheFolder, setUps } from '../../ts/cuda/set_up';
import {
  emptyMachine,
  neededByProvider,
  providerNames,
  putCore,
  putCudaLibraries,
  putCudnn,
  putLibrary,
} from '../helpers/cuda-machine';
import { tinyElf } from '../helpers/tiny-elf';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'batched-cuda-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const at = (...parts: string[]): string => join(root, ...parts);
const machine = (has: Partial<Machine> = {}): Machine => emptyMachine(root, has);
const driverOf = (folder: string): string => putLibrary(at(folder, 'libcuda.so.1'));
const fileOf = (search: ReturnType<typeof searchCuda>, name: string): string | undefined =>
  [...search.provider, ...search.libraries, search.driver].find((one) => one.name === name)?.file;

describe('ELF files', () => {
  const write = (bytes: Uint8Array): string => {
    writeFileSync(at('x.so'), bytes);
    return at('x.so');
  };

  test('what one asks for, is for and is called', () => {
    const file = write(tinyElf({ soname: 'libx.so.1', needed: ['liba.so.1', 'libb.so.2'], names: ['VERS_1.2.3'] }));
    const facts = readElf(file)!;
    expect(facts.needed).toEqual(['liba.so.1', 'libb.so.2']);
    expect(facts.names).toEqual(expect.arrayContaining(['VERS_1.2.3', 'libx.so.1']));
    expect(readElf(write(tinyElf({ machine: 'arm64' })))!.arch).toBe('arm64');
    expect(readElf(write(tinyElf({ machine: 'x64' })))!.arch).toBe('x64');
  });

  test('cut short anywhere it is none, or says the same', () => {
    const whole = tinyElf({ needed: ['liba.so.1'], names: ['VERS_1.2.3'] });
    const facts = readElf(write(whole));
    for (let length = 0; length < whole.length; length++) {
      expect([undefined, facts]).toContainEqual(readElf(write(whole.subarray(0, length))));
    }
  });

  test('no file, a folder and a text are none', () => {
    for (const file of [at('nowhere'), root, write(Buffer.from('#!/bin/sh\n'.repeat(20)))]) {
      expect(readElf(file)).toBeUndefined();
    }
  });
});

describe('a machine with nothing', () => {
  test('lacks everything, each with a fix', () => {
    const core = putLibrary(at('app/libonnxruntime.so.1'));
    const search = searchCuda(core, machine());
    expect(search.complete).toBe(false);
    expect(search.cuda).toBe(13);
    expect(search.missing.map(({ name }) => name)).toEqual([
      ...providerNames,
      'libcudart.so.13',
      'libcublasLt.so.13',
      'libcublas.so.13',
      'libcurand.so.10',
      'libcudnn.so.9',
      'libcuda.so.1',
    ]);
    const fixes = new Map(search.missing.map(({ name, fix }) => [name, fix]));
    expect(fixes.get(providerNames[1])).toBe('npx batched setup-cuda');
    expect(fixes.get('libcublasLt.so.13')).toMatch(/^pip install nvidia-cublas, or set/);
    expect(fixes.get('libcudnn.so.9')).toMatch(/^pip install nvidia-cudnn-cu13, or set/);
    expect(fixes.get('libcuda.so.1')).toMatch(/driver, 580 or newer for CUDA 13; in a container.*--gpus all/);
  });

  test('lacks a core', () => {
    const { complete, missing } = searchCuda(undefined, machine());
    expect(complete).toBe(false);
    expect(missing[0]).toMatchObject({ name: providerNames[0], problem: expect.stringContaining('no core') });
  });
});

describe('a complete machine', () => {
  test.each([12, 13])('of CUDA %d, as the provider asks for it', (cuda) => {
    const core = putCore(at('app'), { cuda });
    putCudaLibraries(at('usr/local/cuda/lib64'), cuda);
    driverOf('usr/local/nvidia/lib64');
    const search = searchCuda(core, machine());
    expect(search).toMatchObject({ complete: true, missing: [], core, cuda });
    expect(search.provider.map(({ version }) => version)).toEqual(['1.29.0', '1.29.0']);
    expect(fileOf(search, `libcublas.so.${cuda}`)).toBe(at(`usr/local/cuda/lib64/libcublas.so.${cuda}`));
  });

  test('dependencies come before what asks for them, and cuDNN brings its parts', () => {
    const core = putCore(at('app'));
    putCudaLibraries(at('usr/local/cuda/lib64'), 13);
    putLibrary(at('usr/local/cuda/lib64/libnvrtc-builtins.so.13.0'));
    putLibrary(at('usr/local/cuda/lib64/libcudnn_cnn.so.8')); // of another cuDNN
    driverOf('usr/lib/wsl/lib');
    const { libraries, driver } = searchCuda(core, machine());
    const names = libraries.map(({ name }) => name);
    expect([...names].sort()).toEqual(
      [
        ...neededByProvider(13).filter((name) => /cu(blas|rand|dart)/.test(name)),
        'libcudnn.so.9',
        'libcudnn_graph.so.9',
        'libcudnn_ops.so.9',
        'libnvrtc-builtins.so.13.0',
        'libnvrtc.so.13',
      ].sort(),
    );
    for (const { name, file } of libraries) {
      for (const needed of readElf(file!)!.needed.filter((one) => names.includes(one))) {
        expect(names.indexOf(needed)).toBeLessThan(names.indexOf(name));
      }
    }
    expect(driver.file).toBe(at('usr/lib/wsl/lib/libcuda.so.1'));
  });

  test('without what compiles kernels it is complete', () => {
    const core = putCore(at('app'));
    putCudaLibraries(at('usr/local/cuda/lib64'), 13);
    rmSync(at('usr/local/cuda/lib64/libnvrtc.so.13'));
    driverOf('usr/lib/wsl/lib');
    expect(searchCuda(core, machine()).complete).toBe(true);
  });

  test('a library asks for another that is not here', () => {
    const core = putCore(at('app'));
    const folder = at('usr/local/cuda/lib64');
    putCudaLibraries(folder, 13);
    putLibrary(join(folder, 'libcublas.so.13'), { needed: ['libcublasLt.so.13', 'libnvJitLink.so.13'] });
    driverOf('usr/lib/wsl/lib');
    expect(searchCuda(core, machine()).missing).toEqual([
      {
        name: 'libnvJitLink.so.13',
        problem: 'not found',
        fix: expect.stringMatching(/^pip install nvidia-nvjitlink, or set/),
      },
    ]);
  });

  test('the number is that of the real file', () => {
    const core = putCore(at('app'));
    const folder = at('usr/local/cuda/lib64');
    putCudaLibraries(folder, 13);
    putLibrary(join(folder, 'libcudart.so.13.0.48'));
    rmSync(join(folder, 'libcudart.so.13'));
    symlinkSync('libcudart.so.13.0.48', join(folder, 'libcudart.so.13'));
    const { libraries } = searchCuda(core, machine());
    expect(libraries.find(({ name }) => name === 'libcudart.so.13')).toMatchObject({ version: '13.0.48' });
  });
});

describe('places', () => {
  /** By place, in the order in which they are looked at. */
  const places: [string, string, () => Partial<Machine>][] = [
    ['$BATCHED_CUDA_PATH', 'own', () => ({ env: { BATCHED_CUDA_PATH: `${at('nowhere')}:${at('own')}` } })],
    ['beside the core', 'app', () => ({})],
    ['$LD_LIBRARY_PATH', 'ld', () => ({ env: { LD_LIBRARY_PATH: `:relative:${at('ld')}` } })],
    ['$CUDA_HOME', 'toolkit/lib64', () => ({ env: { CUDA_HOME: at('toolkit') } })],
    ['$CUDA_PATH', 'path/targets/x86_64-linux/lib', () => ({ env: { CUDA_PATH: at('path') } })],
    ['/usr/local/cuda', 'usr/local/cuda-13.1/lib64', () => ({})],
    [
      'ldconfig',
      'opt/lib',
      () => ({ linkerCache: () => `\tlibcurand.so.10 (libc6,x86-64) => ${at('opt/lib/libcurand.so.10')}\n` }),
    ],
    [
      'a virtual environment',
      'venv/lib/python3.12/site-packages/nvidia/curand/lib',
      () => ({ env: { VIRTUAL_ENV: at('venv') } }),
    ],
    [
      'one of CUDA 13, where all share a folder',
      'venv13/lib/python3.12/site-packages/nvidia/cu13/lib',
      () => ({ env: { VIRTUAL_ENV: at('venv13') } }),
    ],
    ['conda', 'conda/lib', () => ({ env: { CONDA_PREFIX: at('conda') } })],
    ['the packages of the user', 'home/.local/lib/python3.11/site-packages/nvidia/curand/lib', () => ({})],
    ['those of the system', 'usr/lib/python3/dist-packages/nvidia/curand/lib', () => ({})],
    ['those of the system, by hand', 'usr/local/lib/python3.11/dist-packages/nvidia/curand/lib', () => ({})],
    ['those of RHEL', 'usr/lib64/python3.9/site-packages/nvidia/curand/lib', () => ({})],
    [
      'wherever python3 has them',
      'pyenv/lib/python3.13/site-packages/nvidia/curand/lib',
      () => ({
        pythonPath: () => ['', 'relative-packages', at('pyenv/lib'), at('pyenv/lib/python3.13/site-packages')],
      }),
    ],
  ];

  test.each(places)('%s', (_, folder, has) => {
    const core = putLibrary(at('app/libonnxruntime.so.1'));
    const file = putLibrary(at(folder, 'libcurand.so.10'));
    expect(fileOf(searchCuda(core, machine(has())), 'libcurand.so.10')).toBe(file);
  });

  test('the earlier one wins', () => {
    const core = putLibrary(at('app/libonnxruntime.so.1'));
    const ordered = places.filter(
      ([name]) => !name.includes('13, where') && !name.includes('system, by hand') && !name.includes('RHEL'),
    );
    const env = Object.assign({}, ...ordered.map(([, , has]) => has().env ?? {})) as Record<string, string>;
    const answers = Object.assign({}, ...ordered.map(([, , has]) => has())) as Partial<Machine>;
    for (const [, folder] of ordered) putLibrary(at(folder, 'libcurand.so.10'));
    for (const [, folder] of ordered) {
      const found = fileOf(searchCuda(core, machine({ ...answers, env })), 'libcurand.so.10');
      expect(found).toBe(at(folder, 'libcurand.so.10'));
      rmSync(found!);
    }
  });

  test('no process is asked for what lies in the places before it', () => {
    const core = putCore(at('app'));
    putCudaLibraries(at('app'), 13);
    driverOf('app');
    const never = (): never => {
      throw new Error('asked');
    };
    expect(searchCuda(core, machine({ linkerCache: never, pythonPath: never })).complete).toBe(true);
  });

  test('a link that leads nowhere is no library', () => {
    mkdirSync(at('usr/local/cuda/lib64'), { recursive: true });
    symlinkSync('gone', at('usr/local/cuda/lib64/libcurand.so.10'));
    expect(fileOf(searchCuda(undefined, machine()), 'libcurand.so.10')).toBeUndefined();
  });

  test('cuDNN for another CUDA is passed over, though it has the same name', () => {
    const core = putCore(at('app'));
    putCudnn(at('usr/local/cuda-12/lib64'), 12);
    putLibrary(at('usr/local/cuda-12/lib64/libcudnn.so.9'), { needed: ['libcublasLt.so.12'] });
    putCudnn(at('usr/local/cuda-13/lib64'), 13);
    expect(fileOf(searchCuda(core, machine()), 'libcudnn.so.9')).toBe(at('usr/local/cuda-13/lib64/libcudnn.so.9'));
  });
});

describe('versions', () => {
  test('a provider of another version than the core is no provider', () => {
    const core = putCore(at('app'), { version: '1.30.0', provider: '1.29.0' });
    putCudaLibraries(at('app'), 13);
    driverOf('app');
    const { complete, missing } = searchCuda(core, machine());
    expect(complete).toBe(false);
    expect(missing).toEqual([
      {
        name: providerNames[1],
        problem: `it is of version 1.29.0, and the core ${core} of 1.30.0: they must be the same`,
        fix: 'npx batched setup-cuda',
      },
    ]);
  });

  test.each([
    ['570.86.10', 13, /^the driver is 570\.86\.10$/, /580 or newer for CUDA 13; or set up for CUDA 12: .*--cuda 12/],
    ['470.57.02', 12, /^the driver is 470\.57\.02$/, /525 or newer for CUDA 12$/],
    ['580.65.06', 13, undefined, undefined],
    ['570.86.10', 12, undefined, undefined],
  ])('driver %s for CUDA %d', (version, cuda, problem, fix) => {
    const core = putCore(at('app'), { cuda });
    putCudaLibraries(at('app'), cuda);
    driverOf('app');
    mkdirSync(at('proc/driver/nvidia'), { recursive: true });
    writeFileSync(
      at('proc/driver/nvidia/version'),
      `NVRM version: NVIDIA UNIX x86_64 Kernel Module  ${version}  Sat Jan 1 00:00:00 UTC 2026\nGCC version: 12.2.0\n`,
    );
    const { missing, driver } = searchCuda(core, machine());
    expect(driver.version).toBe(version);
    const lack = {
      name: 'libcuda.so.1',
      problem: expect.stringMatching(problem ?? ''),
      fix: expect.stringMatching(fix ?? ''),
    };
    expect(missing).toEqual(problem === undefined ? [] : [lack]);
  });

  test('without a provider CUDA is what the machine has, or what its driver runs', () => {
    expect(cudaOf(machine())).toBe(13);
    putLibrary(at('usr/local/cuda/lib64/libcublas.so.12'));
    expect(cudaOf(machine())).toBe(12);
    putLibrary(at('usr/local/cuda/lib64/libcublas.so.13'));
    expect(cudaOf(machine())).toBe(13);
    rmSync(at('usr/local'), { recursive: true });
    mkdirSync(at('proc/driver/nvidia'), { recursive: true });
    writeFileSync(at('proc/driver/nvidia/version'), 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  x\n');
    expect(cudaOf(machine())).toBe(12);
  });

  test.each<[readonly string[], number | undefined]>([
    [['libcurand.so.10', 'libcublasLt.so.12'], 12],
    [['libc.so.6', 'libcudart.so.13'], 13],
    [['libcurand.so.10', 'libcudnn.so.9'], undefined],
  ])('what asks for %j is of CUDA %s', (needed, major) => {
    expect(cudaMajor(needed)).toBe(major);
  });

  test.each([
    ['libcudart.so.12', 12, 'nvidia-cuda-runtime-cu12'],
    ['libcublasLt.so.13', 13, 'nvidia-cublas'],
    ['libcufft.so.12', 13, 'nvidia-cufft'],
    ['libcurand.so.10', 12, 'nvidia-curand-cu12'],
    ['libcudnn.so.9', 13, 'nvidia-cudnn-cu13'],
    ['libnvrtc.so.12', 12, 'nvidia-cuda-nvrtc-cu12'],
  ])('%s of CUDA %d is in the package %s', (library, cuda, name) => {
    expect(pipPackage(library, cuda)).toBe(name);
  });
});

describe('set-ups', () => {
  const putSetUp = (folder: string, made: string): string => {
    const core = putCore(folder);
    const names = ['libonnxruntime.so.1', ...providerNames];
    const files = names.map((name) => [
      name,
      { from: 'x', sha256: 'x', bytes: readFileSync(join(folder, name)).length },
    ]);
    const manifest = { format: 1, version: '1.29.0', cuda: 13, made, source: 'x', files: Object.fromEntries(files) };
    writeFileSync(join(folder, 'batched-cuda.json'), JSON.stringify(manifest));
    return core;
  };

  test('those of $BATCHED_CUDA_PATH, then those of the cache, the latest first', () => {
    const cache = cacheFolder(machine());
    expect(cache).toBe(at('home/.cache/batched'));
    const older = putSetUp(join(cache, 'b'), '2026-01-01T00:00:00.000Z');
    const newer = putSetUp(join(cache, 'a'), '2026-02-01T00:00:00.000Z');
    const own = putSetUp(at('own'), '2025-01-01T00:00:00.000Z');
    expect(setUps(machine({ env: { BATCHED_CUDA_PATH: at('own') } })).map(({ core }) => core)).toEqual([
      own,
      newer,
      older,
    ]);
    expect(setUps(machine({ env: { XDG_CACHE_HOME: at('elsewhere') } }))).toEqual([]);
  });

  test.each([
    ['a file is gone', (folder: string) => rmSync(join(folder, providerNames[1]))],
    ['a file is of another size', (folder: string) => writeFileSync(join(folder, providerNames[1]), 'x')],
    ['the manifest is no JSON', (folder: string) => writeFileSync(join(folder, 'batched-cuda.json'), '{"format":')],
    ['the manifest is of another format', (folder: string) => writeFileSync(join(folder, 'batched-cuda.json'), '{}')],
  ])('one of which %s is none', (_, spoil) => {
    const core = putSetUp(join(cacheFolder(machine()), 'a'), '2026-01-01T00:00:00.000Z');
    expect(setUps(machine())).toHaveLength(1);
    spoil(dirname(core));
    expect(setUps(machine()).map(({ folder }) => basename(folder))).toEqual([]);
  });
});
