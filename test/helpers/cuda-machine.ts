/** A made-up machine for the search for CUDA, and the libraries that one of a CUDA version has. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Machine } from '../../ts/cuda/machine';
import { tinyElf, type TinyElf } from './tiny-elf';

/** With nothing on it. */
export function emptyMachine(root: string, has: Partial<Machine> = {}): Machine {
  return {
    env: {},
    home: join(root, 'home'),
    root,
    arch: 'x64',
    linkerCache: () => '',
    pythonPath: () => [],
    gpus: () => '',
    ...has,
  };
}

/** Writes a library whose soname is its file's name; gives the file. */
export function putLibrary(file: string, elf: TinyElf = {}): string {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, tinyElf({ soname: file.split('/').at(-1)!, machine: 'x64', ...elf }));
  return file;
}

export const providerNames = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'] as const;

/** What the provider of ONNX Runtime 1.29 asks for. */
export const neededByProvider = (cuda: number): string[] => [
  `libcublasLt.so.${cuda}`,
  `libcublas.so.${cuda}`,
  'libcurand.so.10',
  `libcudart.so.${cuda}`,
  'libcuda.so.1',
  'libc.so.6',
];

/** A core with the provider beside it; gives the core. */
export function putCore(
  folder: string,
  { version = '1.29.0', provider, cuda = 13 }: { version?: string; provider?: string; cuda?: number } = {},
): string {
  const core = putLibrary(join(folder, 'libonnxruntime.so.1'), { names: [`VERS_${version}`] });
  putProvider(folder, { version: provider ?? version, cuda });
  return core;
}

export function putProvider(folder: string, { version = '1.29.0', cuda = 13 } = {}): void {
  putLibrary(join(folder, providerNames[0]), {});
  putLibrary(join(folder, providerNames[1]), { needed: neededByProvider(cuda), text: providerText(version) });
}

/** As the provider states its version. */
export const providerText = (version: string): string => `\0${version}\0`;

/** CUDA's libraries, cuDNN's with two of its parts. */
export function putCudaLibraries(folder: string, cuda: number): void {
  for (const name of ['libcudart', 'libcublasLt', 'libnvrtc']) putLibrary(join(folder, `${name}.so.${cuda}`));
  putLibrary(join(folder, `libcublas.so.${cuda}`), { needed: [`libcublasLt.so.${cuda}`, 'libc.so.6'] });
  putLibrary(join(folder, 'libcurand.so.10'));
  putCudnn(folder, cuda);
}

export function putCudnn(folder: string, cuda: number): void {
  putLibrary(join(folder, 'libcudnn.so.9'));
  putLibrary(join(folder, 'libcudnn_graph.so.9'));
  putLibrary(join(folder, 'libcudnn_ops.so.9'), { needed: ['libcudnn_graph.so.9', `libcublasLt.so.${cuda}`] });
}
