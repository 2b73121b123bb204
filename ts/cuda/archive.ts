/** Takes single files out of archives: .tgz (releases, npm), .whl and .nupkg (which are zip files). */
import { closeSync, createWriteStream, mkdirSync, openSync, readSync } from 'node:fs';
import path from 'node:path';
import { Transform, type TransformCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32 } from 'node:zlib';
import { extract } from 'tar';
import { openPromise } from 'yauzl';

/** By its first bytes; undefined: neither. */
export function archiveKind(file: string): 'tar' | 'zip' | undefined {
  const descriptor = openSync(file, 'r');
  try {
    const head = Buffer.alloc(4);
    readSync(descriptor, head, 0, 4, 0);
    if (head.readUInt16BE(0) === 0x1f8b) return 'tar';
    return head.readUInt32LE(0) === 0x04034b50 ? 'zip' : undefined;
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Writes the regular files whose base name is `wanted` below `into`, under the folders that they have in the archive.
 * Throws where the archive is cut short or damaged.
 */
export async function unpack(archive: string, wanted: (name: string) => boolean, into: string): Promise<void> {
  if (archiveKind(archive) === 'tar') await unpackTar(archive, wanted, into);
  else await unpackZip(archive, wanted, into);
}

async function unpackTar(archive: string, wanted: (name: string) => boolean, into: string): Promise<void> {
  const filter = (name: string, entry: object): boolean =>
    wanted(path.posix.basename(name)) && (entry as { type?: string }).type === 'File';
  await extract({ file: archive, cwd: into, strict: true, filter });
}

async function unpackZip(archive: string, wanted: (name: string) => boolean, into: string): Promise<void> {
  const zip = await openPromise(archive); // refuses names that lead out of the folder
  for await (const entry of zip.eachEntry()) {
    if (entry.fileName.endsWith('/') || !wanted(path.posix.basename(entry.fileName))) continue;
    const file = path.join(into, entry.fileName);
    mkdirSync(path.dirname(file), { recursive: true });
    const check = new Crc32(entry.fileName, entry.crc32);
    await pipeline(await zip.openReadStreamPromise(entry), check, createWriteStream(file));
  }
}

/** Passes bytes through; fails at the end if their sum is not the one that the archive states. */
class Crc32 extends Transform {
  #sum = 0;

  constructor(
    readonly fileName: string,
    readonly stated: number,
  ) {
    super();
  }

  override _transform(bytes: Buffer, _: BufferEncoding, done: TransformCallback): void {
    this.#sum = crc32(bytes, this.#sum);
    done(null, bytes);
  }

  override _flush(done: TransformCallback): void {
    done(this.#sum === this.stated ? null : new Error(`${this.fileName} is damaged: its checksum is wrong`));
  }
}
