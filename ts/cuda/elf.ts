/** What a shared library says of itself, read off the file: nothing is loaded or run. */
import { closeSync, openSync, readSync } from 'node:fs';

export interface ElfFacts {
  /** The processor it is for, as `process.arch` names it; undefined: another one. */
  arch: string | undefined;
  /** The names of the libraries that it asks for. */
  needed: string[];
  /** Its table of names: of symbols, of their versions, of libraries. */
  names: readonly string[];
}

const programHeader = { dynamic: 2, load: 1 };
const tag = { needed: 1n, nameTable: 5n, nameTableSize: 10n };
const arches = new Map([
  [62, 'x64'],
  [183, 'arm64'],
]);

/** Of a 64-bit little-endian ELF file; undefined for any other file, and for one that cannot be read. */
export function readElf(file: string): ElfFacts | undefined {
  try {
    const descriptor = openSync(file, 'r');
    try {
      return factsOf(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    // Cut short, or not for us to read.
    if (error instanceof RangeError || typeof (error as NodeJS.ErrnoException).code === 'string') return undefined;
    throw error;
  }
}

function factsOf(descriptor: number): ElfFacts | undefined {
  const read = (at: number, length: number): Buffer => {
    const buffer = Buffer.alloc(length);
    return buffer.subarray(0, readSync(descriptor, buffer, 0, length, at));
  };
  const head = read(0, 64);
  if (head.length < 64 || head.readUInt32BE(0) !== 0x7f454c46 || head[4] !== 2 || head[5] !== 1) return undefined;
  const arch = arches.get(head.readUInt16LE(18));
  const [at, size, count] = [Number(head.readBigUInt64LE(32)), head.readUInt16LE(54), head.readUInt16LE(56)];
  const segments = Array.from({ length: count }, (_, i) => segment(read(at + i * size, size)));
  const dynamic = segments.find(({ type }) => type === programHeader.dynamic);
  if (dynamic === undefined) return { arch, needed: [], names: [] };
  const entries = read(dynamic.offset, dynamic.fileSize);
  if (entries.length < dynamic.fileSize) return undefined; // cut short
  const needed: number[] = [];
  let [table, tableSize] = [0, 0];
  for (let i = 0; i + 16 <= entries.length; i += 16) {
    const [what, value] = [entries.readBigInt64LE(i), Number(entries.readBigUInt64LE(i + 8))];
    if (what === tag.needed) needed.push(value);
    if (what === tag.nameTable) table = value;
    if (what === tag.nameTableSize) tableSize = value;
  }
  // The table's place is an address in memory: the segment that it is loaded with tells where that is in the file.
  const home = segments.find(
    ({ type, address, fileSize }) => type === programHeader.load && address <= table && table < address + fileSize,
  );
  if (home === undefined) return undefined;
  const names = read(table - home.address + home.offset, tableSize);
  if (names.length < tableSize) return undefined; // cut short
  const nameAt = (offset: number): string => names.toString('latin1', offset, names.indexOf(0, offset));
  return { arch, needed: needed.map(nameAt), names: names.toString('latin1').split('\0') };
}

function segment(header: Buffer): { type: number; offset: number; address: number; fileSize: number } {
  return {
    type: header.readUInt32LE(0),
    offset: Number(header.readBigUInt64LE(8)),
    address: Number(header.readBigUInt64LE(16)),
    fileSize: Number(header.readBigUInt64LE(32)),
  };
}
