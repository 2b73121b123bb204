/** Which source a set-up is made from, and bringing it here. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { Advice } from '../advice';
import type { Machine } from './machine';
import { fetchPackage, knownPackage, type ProviderPackage, providerPackage } from './npm_package';
import { archiveKind } from './archive';
import { folderOf, type Pieces, piecesIn } from './pieces';
import { hasProvider } from './search';
import { cudaMajor, providerLibrary } from './packages';
import { readElf } from './elf';

export interface Source {
  /** In words, for people and for the manifest. */
  name: string;
  /** What it will give, where that is known before it is here. */
  promised: { version: string; cuda: number } | undefined;
  /** The pieces, unpacked below `scratch` where they have to be. */
  pieces(scratch: string, progress: (bytes: number) => void): Promise<Pieces>;
  /** Bytes to fetch; 0: none. */
  bytes: number;
  /** What of the source a file is. */
  nameOf(file: string, scratch: string): string;
}

export interface Wish {
  /** An archive, a folder, or `onnxruntime-node`. */
  from: string | undefined;
  /** Wanted by name, or else what suits the machine. */
  cuda: number;
}

/** The cores at hand: where onnxruntime-node has one, and all of them, the shipped one first. */
export interface Cores {
  installed: string | undefined;
  all: readonly string[];
}

const installedName = 'onnxruntime-node';

export function sourceFor(
  { from, cuda }: Wish,
  cores: Cores,
  { arch, env }: Pick<Machine, 'arch' | 'env'>,
  known: ProviderPackage = providerPackage,
): Source {
  if (from === installedName) return installedSource(cores, arch);
  if (from !== undefined) return givenSource(path.resolve(from), cores, arch);
  if (cores.installed !== undefined && cudaBeside(cores.installed) === cuda) return installedSource(cores, arch);
  if (cuda === known.cuda && arch === 'x64') return npmSource(known, cores, arch, env);
  throw new Advice(elsewhere(cuda, arch, cores));
}

/** The CUDA version of the provider beside a core; undefined: there is none. */
function cudaBeside(core: string): number | undefined {
  if (!hasProvider(core)) return undefined;
  return cudaMajor(readElf(path.join(path.dirname(core), providerLibrary))?.needed ?? []);
}

/** The npm registry has nothing for it: what to get by other means. */
function elsewhere(cuda: number, arch: string, { installed }: Cores): string {
  const release = `onnxruntime-linux-${arch === 'arm64' ? 'aarch64' : arch}-gpu`;
  const node =
    arch === 'x64' && cuda === 12
      ? [`  ONNXRUNTIME_NODE_INSTALL=cuda12 npm install onnxruntime-node (or npm rebuild it), and then this again`]
      : [];
  return [
    `The npm registry has no CUDA ${cuda} provider for linux-${arch}. Any of these has one:`,
    ...node,
    `  npx batched setup-cuda --from ${release}*.tgz, from https://github.com/microsoft/onnxruntime/releases`,
    `  npx batched setup-cuda --from onnxruntime_gpu-*.whl, from \`pip download --no-deps ${wheelFor(cuda)}\``,
    ...(installed === undefined ? [] : [`onnxruntime-node is installed (${path.dirname(installed)}), but without it.`]),
  ].join('\n');
}

/** PyPI's wheels are for CUDA 13 since 1.27. */
const wheelFor = (cuda: number): string => (cuda === 12 ? 'onnxruntime-gpu==1.26.0' : 'onnxruntime-gpu');

function installedSource({ installed, all }: Cores, arch: string): Source {
  if (installed === undefined) throw new Advice(`${installedName} is not installed here`);
  const folder = path.dirname(installed);
  if (!hasProvider(installed)) {
    throw new Advice(
      `${installedName} has no CUDA provider in ${folder}: install it with ONNXRUNTIME_NODE_INSTALL=cuda12 (CUDA 12)`,
    );
  }
  return {
    name: `${installedName} in ${folder}`,
    promised: undefined,
    bytes: 0,
    pieces: async () => Promise.resolve(piecesIn(folder, arch, all, installedName)),
    nameOf: (file) => file,
  };
}

/** An archive is known by its bytes if it is the npm package: that has no core, which would tell the version. */
function givenSource(from: string, { all }: Cores, arch: string): Source {
  return {
    name: from,
    promised: undefined,
    bytes: 0,
    pieces: async (scratch) => {
      const unpacked = path.join(scratch, 'unpacked');
      mkdirSync(unpacked);
      const folder = await folderOf(from, unpacked);
      const known = folder === unpacked && archiveKind(from) === 'tar' ? await knownPackage(from) : undefined;
      return piecesIn(folder, arch, all, from, known?.onnxruntime);
    },
    nameOf: (file, scratch) => nameWithin(file, path.join(scratch, 'unpacked'), path.basename(from)),
  };
}

function npmSource(known: ProviderPackage, { all }: Cores, arch: string, env: Machine['env']): Source {
  const name = `${known.name}@${known.version} (npm)`;
  return {
    name,
    promised: { version: known.onnxruntime, cuda: known.cuda },
    bytes: known.bytes,
    pieces: async (scratch, progress) => {
      const unpacked = path.join(scratch, 'unpacked');
      mkdirSync(unpacked);
      const folder = await folderOf(await fetchPackage(known, scratch, env, progress), unpacked);
      return piecesIn(folder, arch, all, name, known.onnxruntime);
    },
    nameOf: (file, scratch) => nameWithin(file, path.join(scratch, 'unpacked'), name),
  };
}

const nameWithin = (file: string, folder: string, source: string): string =>
  file.startsWith(`${folder}/`) ? `${source}: ${path.relative(folder, file)}` : file;

/** Throws where no set-up can be made or used. */
export function checkPlatform(platform: string): void {
  if (platform === 'linux') return;
  throw new Advice(`ONNX Runtime's CUDA provider is set up on Linux only, and this is ${platform}`);
}
