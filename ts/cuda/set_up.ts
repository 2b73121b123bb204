/**
 * What `batched setup-cuda` made: folders with a core, the CUDA provider of exactly its version beside it, and a
 * manifest that says where they came from.
 */
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import type { Machine } from './machine';
import { coreLibrary, providerLibrary, sharedLibrary } from './packages';
import { namesIn, ownFolders } from './places';

export const manifestName = 'batched-cuda.json';

export interface SetUpFile {
  /** The file, or the archive and the name in it. */
  from: string;
  bytes: number;
  sha256: string;
}

export interface Manifest {
  format: number;
  /** ONNX Runtime's, of core and provider alike. */
  version: string;
  /** CUDA's major version. */
  cuda: number;
  /** ISO 8601. */
  made: string;
  /** In words: the package, archive or folder. */
  source: string;
  files: Record<string, SetUpFile>;
}

export interface SetUp {
  folder: string;
  core: string;
  manifest: Manifest;
}

/** Where `setup-cuda` puts its folders: `$XDG_CACHE_HOME/batched` or `~/.cache/batched`. */
export function cacheFolder({ env, home }: Pick<Machine, 'env' | 'home'>): string {
  const { XDG_CACHE_HOME: cache } = env;
  const base = cache !== undefined && path.isAbsolute(cache) ? cache : path.join(home, '.cache');
  return path.join(base, 'batched');
}

export const folderName = (version: string, cuda: number): string => `onnxruntime-${version}-cuda${cuda}`;

/** The set-up in a folder; undefined where there is none, or not all of it. */
export function readSetUp(folder: string): SetUp | undefined {
  try {
    const manifest = JSON.parse(readFileSync(path.join(folder, manifestName), 'utf8')) as Manifest;
    const whole = [coreLibrary, sharedLibrary, providerLibrary].every(
      (name) => statSync(path.join(folder, name)).size === manifest.files[name]!.bytes,
    );
    return whole && manifest.format === 1 ? { folder, core: path.join(folder, coreLibrary), manifest } : undefined;
  } catch {
    return undefined;
  }
}

/** Those of $BATCHED_CUDA_PATH in its order, then those of the cache folder, the latest first. */
export function setUps(machine: Machine): SetUp[] {
  const sound = (folders: string[]): SetUp[] => folders.map(readSetUp).filter((one) => one !== undefined);
  const cache = cacheFolder(machine);
  const cached = sound(namesIn(cache).map((name) => path.join(cache, name)));
  cached.sort((a, b) => b.manifest.made.localeCompare(a.manifest.made));
  return [...sound(ownFolders(machine)), ...cached];
}
