/** Shared libraries of a few hundred bytes with names and nothing else. The dynamic linker loads them. */

export interface TinyElf {
  soname?: string;
  needed?: readonly string[];
  /** More names for its table, as symbol versions are in it. */
  names?: readonly string[];
  machine?: 'x64' | 'arm64';
  /** What follows the ELF parts, as code and constants would. */
  text?: string;
}

const machines = { x64: 62, arm64: 183 };
/** Where the file is mapped, so that addresses are no offsets. */
const base = 0x1000;
const align = (at: number): number => Math.ceil(at / 8) * 8;

export function tinyElf({ soname, needed = [], names = [], machine, text = '' }: TinyElf = {}): Buffer {
  const table = ['', ...needed, ...names, ...(soname === undefined ? [] : [soname])].map((name) => `${name}\0`);
  const offsetOf = (name: string): number => table.slice(0, table.indexOf(`${name}\0`)).join('').length;
  const tableSize = table.join('').length;
  const programHeaders = 3;
  const tableAt = 64 + 56 * programHeaders;
  const symbolsAt = align(tableAt + tableSize);
  const dynamicAt = symbolsAt + 24; // one symbol, which is none
  const entries: [number, number][] = [
    ...needed.map((name): [number, number] => [1, offsetOf(name)]),
    ...(soname === undefined ? [] : [[14, offsetOf(soname)] as [number, number]]),
    [5, base + tableAt],
    [10, tableSize],
    [6, base + symbolsAt],
    [11, 24],
    [0, 0],
  ];
  const textAt = dynamicAt + 16 * entries.length;
  const file = Buffer.alloc(textAt + Buffer.byteLength(text));
  file.write('\x7fELF\x02\x01\x01', 0, 'latin1');
  file.writeUInt16LE(3, 16); // shared object
  file.writeUInt16LE(machines[machine ?? (process.arch === 'arm64' ? 'arm64' : 'x64')], 18);
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(64n, 32);
  [64, 56, programHeaders].forEach((value, i) => file.writeUInt16LE(value, 52 + 2 * i));
  const segments: [type: number, at: number, size: number, align: number][] = [
    [1, 0, file.length, 0x1000],
    [2, dynamicAt, 16 * entries.length, 8],
    [0x6474e551, 0, 0, 16], // the stack need not be executable
  ];
  segments.forEach(([type, at, size, alignment], i) => {
    const header = 64 + 56 * i;
    file.writeUInt32LE(type, header);
    file.writeUInt32LE(6, header + 4); // readable, writable
    const values = [at, base + at, base + at, size, size, alignment];
    values.forEach((value, j) => file.writeBigUInt64LE(BigInt(value), header + 8 + 8 * j));
  });
  file.write(table.join(''), tableAt, 'latin1');
  entries.forEach(([tag, value], i) => {
    file.writeBigUInt64LE(BigInt(tag), dynamicAt + 16 * i);
    file.writeBigUInt64LE(BigInt(value), dynamicAt + 16 * i + 8);
  });
  file.write(text, textAt, 'latin1');
  return file;
}
