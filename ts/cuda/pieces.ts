/** The parts of a set-up and where they come from: a folder, an archive, the npm package, an installed core. */
import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { Advice } from '../advice';
import { archiveKind, unpack } from './archive';
import { coreVersion, statedVersions } from './binaries';
import { readElf } from './elf';
import { cudaMajor, providerLibrary, sharedLibrary } from './packages';

export interface Pieces {
  core: string;
  provider: string;
  shared: string;
  /** ONNX Runtime's, of all three. */
  version: string;
  /** CUDA's major version. */
  cuda: number;
}

/** What a source holds: a core is not in every one. */
type Held = Pick<Pieces, 'provider' | 'shared' | 'cuda'> & { versions: string[]; cores: string[] };

/** `libonnxruntime.so`, and that with a version. */
const isCore = (name: string): boolean => /^libonnxruntime\.so(\.\d+)*$/.test(name);
const isPiece = (name: string): boolean => isCore(name) || name === providerLibrary || name === sharedLibrary;

/** Unpacks what is needed of an archive; a folder is its own. */
export async function folderOf(source: string, scratch: string): Promise<string> {
  if (!existsSync(source)) throw new Advice(`${source} does not exist`);
  if (statSync(source).isDirectory()) return source;
  if (archiveKind(source) === undefined) {
    throw new Advice(`${source} is no .tgz, .whl or .nupkg archive (nor any other tar.gz or zip file), and no folder`);
  }
  try {
    await unpack(source, isPiece, scratch);
  } catch (error) {
    throw new Advice(`${source} cannot be unpacked, it may be cut short or damaged: ${(error as Error).message}`);
  }
  return scratch;
}

/**
 * The pieces in a folder, and the core that goes with them.
 *
 * @param cores looked at where the folder has no core of that version
 * @param source for messages
 * @param stated the provider's version where it is known from elsewhere
 */
export function piecesIn(
  folder: string,
  arch: string,
  cores: readonly string[],
  source: string,
  stated?: string,
): Pieces {
  const held = heldIn(folder, arch, source);
  // A provider that does not state its version is of that of the core which came with it.
  const beside = held.cores.map(coreVersion).filter((version) => version !== undefined);
  const versions = stated !== undefined ? [stated] : held.versions.length > 0 ? held.versions : beside;
  if (versions.length === 0) {
    const fix = 'give an archive that has the core (libonnxruntime.so) as well';
    throw new Advice(`${source}: which version of ONNX Runtime its ${providerLibrary} is of cannot be told; ${fix}`);
  }
  const all = [...held.cores, ...cores].filter((file) => existsSync(file));
  const core = all.find((file) => versions.includes(coreVersion(file) ?? ''));
  if (core !== undefined) {
    return { core, provider: held.provider, shared: held.shared, version: coreVersion(core)!, cuda: held.cuda };
  }
  const wanted = versions.join(' or ');
  const others = all.map((file) => `${coreVersion(file) ?? 'unknown'} (${file})`).join(', ');
  throw new Advice(
    `${source}: its provider is of ONNX Runtime ${wanted}, and a core must be of exactly that version. ` +
      `Here: ${others || 'none'}. Give an archive that has both, or npm install onnxruntime-node@${versions[0]!}`,
  );
}

function heldIn(folder: string, arch: string, source: string): Held {
  const files = filesUnder(folder).filter((file) => readElf(file)?.arch === arch);
  const named = (name: string): string[] => files.filter((file) => path.basename(file) === name);
  const [provider] = named(providerLibrary);
  if (provider === undefined) {
    throw new Advice(`${source} has no ${providerLibrary} for linux-${arch}: is it the GPU package of ONNX Runtime?`);
  }
  const shared = path.join(path.dirname(provider), sharedLibrary);
  if (!files.includes(shared)) throw new Advice(`${source} has ${providerLibrary}, but no ${sharedLibrary} beside it`);
  const cuda = cudaMajor(readElf(provider)!.needed);
  if (cuda === undefined) throw new Advice(`${source}: its ${providerLibrary} asks for no library of CUDA 12 or newer`);
  const own = files.filter((file) => isCore(path.basename(file)));
  return { provider, shared, cuda, versions: statedVersions(provider), cores: own };
}

/** What may be a piece. Links are left out: releases have the core under three names. */
function filesUnder(folder: string): string[] {
  const entries = readdirSync(folder, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile() && isPiece(entry.name))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort();
}
