/** What a machine has for CUDA: the provider beside the core, the libraries that it asks for, the driver, the GPUs. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { neededBy } from './elf';

export interface Found {
  name: string;
  /** Undefined: not found. */
  file: string | undefined;
}

export interface CudaReport {
  provider: Found[];
  /** What the provider asks for; without one, what that of CUDA 13 does. */
  libraries: Found[];
  driver: Found;
  driverVersion: string | undefined;
  gpus: string[];
  /** Where libraries were looked for, besides what ldconfig knows. */
  searched: string[];
}

const providerFiles = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'];
const usualLibraries = ['libcudart.so.13', 'libcublas.so.13', 'libcublasLt.so.13', 'libcurand.so.10'];
/** Loaded when a model first needs it, so the provider does not name it. */
const onDemand = 'libcudnn.so.9';
const driverLibrary = 'libcuda.so.1';
const isCuda = (name: string): boolean => /^lib(cu|nv)/.test(name) && name !== driverLibrary;

/** The folders that a path with `*` in it stands for. */
function expand(pattern: string): string[] {
  let found = ['/'];
  for (const part of pattern.split('/').filter(Boolean)) {
    const fits = new RegExp(`^${part.replace(/[.+]/g, '\\$&').replaceAll('*', '.*')}$`);
    found = found.flatMap((folder) => {
      if (!part.includes('*')) return existsSync(path.join(folder, part)) ? [path.join(folder, part)] : [];
      const names = existsSync(folder) ? readdirSync(folder).sort() : [];
      return names.filter((name) => fits.test(name)).map((name) => path.join(folder, name));
    });
  }
  return found;
}

/** In the order in which they are looked at; only those that exist. */
export function libraryFolders(env: NodeJS.ProcessEnv): string[] {
  const absolute = (folder: string | undefined): folder is string => folder !== undefined && path.isAbsolute(folder);
  const toolkits = [env.CUDA_HOME, env.CUDA_PATH, '/usr/local/cuda*'].filter(absolute);
  const pythons = [env.VIRTUAL_ENV, env.CONDA_PREFIX, path.join(homedir(), '.local'), '/usr/local', '/usr'];
  const patterns = [
    ...(env.LD_LIBRARY_PATH ?? '').split(':').filter(absolute),
    ...toolkits.flatMap((folder) => ['lib64', 'lib', 'targets/*-linux/lib'].map((end) => path.join(folder, end))),
    ...pythons.filter(absolute).map((folder) => path.join(folder, 'lib/python3*/*-packages/nvidia/*/lib')),
    '/usr/lib/wsl/lib',
  ];
  return [...new Set(patterns.flatMap(expand).map((folder) => realpathSync(folder)))];
}

/** What `command` prints; undefined if there is no such program or it fails. */
function output(command: string, ...args: string[]): string | undefined {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', timeout: 10_000 });
  return status === 0 ? stdout : undefined;
}

/** By name, what the dynamic linker knows. */
function linkerCache(): Map<string, string> {
  const listing = output('/sbin/ldconfig', '-p') ?? output('ldconfig', '-p') ?? '';
  const entries = [...listing.matchAll(/^\s*(\S+) .*=> (\S+)$/gm)];
  return new Map(entries.reverse().map(([, name, file]) => [name!, file!]));
}

function driverVersion(): string | undefined {
  const file = '/proc/driver/nvidia/version';
  return existsSync(file) ? /Module\D+([\d.]+)/.exec(readFileSync(file, 'utf8'))?.[1] : undefined;
}

/** @param core the ONNX Runtime core in use; a provider must lie beside it */
export function lookForCuda(core: string | undefined, env: NodeJS.ProcessEnv = process.env): CudaReport {
  const searched = libraryFolders(env);
  const linker = linkerCache();
  const find = (name: string): Found => {
    const files = searched.map((folder) => path.join(folder, name));
    return { name, file: files.find((file) => existsSync(file)) ?? linker.get(name) };
  };
  const provider = providerFiles.map((name) => {
    const file = core === undefined ? undefined : path.join(path.dirname(core), name);
    return { name, file: file !== undefined && existsSync(file) ? file : undefined };
  });
  const providing = provider[1]!.file;
  const needed = (providing === undefined ? undefined : neededBy(providing)) ?? usualLibraries;
  const gpus = output('nvidia-smi', '--query-gpu=name,memory.total,compute_cap', '--format=csv,noheader') ?? '';
  return {
    provider,
    libraries: [...new Set([...needed.filter(isCuda), onDemand])].map(find),
    driver: find(driverLibrary),
    driverVersion: driverVersion(),
    gpus: gpus.split('\n').filter(Boolean),
    searched,
  };
}
