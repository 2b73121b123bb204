/** Makes the folder that a set-up is: whole or not at all. */
import { createHash } from 'node:crypto';
import {
  constants,
  copyFileSync,
  createReadStream,
  existsSync,
  mkdirSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Advice } from '../advice';
import { coreLibrary, providerLibrary, sharedLibrary } from './packages';
import type { Pieces } from './pieces';
import { namesIn } from './places';
import { type Manifest, manifestName, readSetUp, type SetUp, type SetUpFile } from './set_up';

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

export interface Assembly {
  pieces: Pieces;
  /** The folder to make. A set-up that is there goes; anything else is left alone, and an error. */
  target: string;
  /** A folder on the same file system, which the caller removes. */
  scratch: string;
  /** For the manifest: the source, and what of it a file is. */
  source: string;
  nameOf: (file: string) => string;
}

/** Copies the pieces, with a manifest, beside the target and renames the whole: nobody ever sees half of it. */
export async function assemble({ pieces, target, scratch, source, nameOf }: Assembly): Promise<SetUp> {
  checkTarget(target);
  const fresh = path.join(scratch, 'new');
  mkdirSync(fresh);
  const origins = { [coreLibrary]: pieces.core, [sharedLibrary]: pieces.shared, [providerLibrary]: pieces.provider };
  const files: Record<string, SetUpFile> = {};
  for (const [name, from] of Object.entries(origins)) {
    const copy = path.join(fresh, name);
    copyFileSync(from, copy, constants.COPYFILE_FICLONE);
    files[name] = { from: nameOf(from), bytes: statSync(copy).size, sha256: await sha256(copy) };
  }
  const { version, cuda } = pieces;
  const manifest: Manifest = { format: 1, version, cuda, made: new Date().toISOString(), source, files };
  writeFileSync(path.join(fresh, manifestName), `${JSON.stringify(manifest, null, 2)}\n`);
  // A folder cannot be renamed over one that is not empty.
  if (existsSync(target)) renameSync(target, path.join(scratch, 'old'));
  renameSync(fresh, target);
  const made = readSetUp(target);
  if (made === undefined)
    throw new Advice(`${target} was changed by another program while it was made: run this again`);
  return made;
}

/** Throws if there is something in the folder that we did not make. */
export function checkTarget(target: string): void {
  const names = existsSync(target) ? namesIn(target) : [];
  if (names.length === 0 || names.includes(manifestName)) return;
  throw new Advice(`${target} is not empty, and not made by setup-cuda: name another folder`);
}
