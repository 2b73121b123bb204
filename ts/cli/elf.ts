/** Which libraries a shared library asks for, read off the file: nothing is loaded or run. */
import { closeSync, openSync, readSync } from 'node:fs';

const programHeader = { dynamic: 2, load: 1 };
const tag = { needed: 1n, stringTable: 5n };

/** The names (DT_NEEDED) in a 64-bit little-endian ELF file; undefined for any other file. */
export function neededBy(file: string): string[] | undefined {
  const descriptor = openSync(file, 'r');
  const read = (at: number, length: number): Buffer => {
    const buffer = Buffer.alloc(length);
    return buffer.subarray(0, readSync(descriptor, buffer, 0, length, at));
  };
  try {
    const head = read(0, 64);
    if (head.length < 64 || head.readUInt32BE(0) !== 0x7f454c46 || head[4] !== 2 || head[5] !== 1) return undefined;
    const [at, size, count] = [Number(head.readBigUInt64LE(32)), head.readUInt16LE(54), head.readUInt16LE(56)];
    const segments = Array.from({ length: count }, (_, i) => segment(read(at + i * size, size)));
    const dynamic = segments.find(({ type }) => type === programHeader.dynamic);
    if (dynamic === undefined) return [];
    const entries = read(dynamic.offset, dynamic.fileSize);
    const names: number[] = [];
    let strings = 0;
    for (let i = 0; i + 16 <= entries.length; i += 16) {
      const [what, value] = [entries.readBigInt64LE(i), Number(entries.readBigUInt64LE(i + 8))];
      if (what === tag.needed) names.push(value);
      if (what === tag.stringTable) strings = value;
    }
    // The table's place is an address in memory: the segment that it is loaded with tells where that is in the file.
    const home = segments.find(
      ({ type, address, fileSize }) =>
        type === programHeader.load && address <= strings && strings < address + fileSize,
    );
    if (home === undefined) return undefined;
    const base = strings - home.address + home.offset;
    return names.map(
      (name) =>
        read(base + name, 256)
          .toString('latin1')
          .split('\0', 1)[0]!,
    );
  } catch (error) {
    if (error instanceof RangeError) return undefined; // cut short
    throw error;
  } finally {
    closeSync(descriptor);
  }
}

function segment(header: Buffer): { type: number; offset: number; address: number; fileSize: number } {
  return {
    type: header.readUInt32LE(0),
    offset: Number(header.readBigUInt64LE(8)),
    address: Number(header.readBigUInt64LE(16)),
    fileSize: Number(header.readBigUInt64LE(32)),
  };
}
