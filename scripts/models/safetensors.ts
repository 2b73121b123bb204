/**
 * Reader of the safetensors format: 8 bytes little-endian header length, that many bytes of JSON, then
 * the tensors' bytes. The data section is read once into one buffer of its own, so every tensor is a
 * view into it (the data section of a file may start at an odd offset, which no typed array could view).
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { halvesToFloats } from './float16';

/** Bytes per element of the types that the format names; only F16 and F32 can be viewed here. */
const ELEMENT_BYTES: Record<string, number> = {
  BOOL: 1, U8: 1, I8: 1, F8_E5M2: 1, F8_E4M3: 1,
  I16: 2, U16: 2, F16: 2, BF16: 2,
  I32: 4, U32: 4, F32: 4,
  I64: 8, U64: 8, F64: 8,
}; // prettier-ignore

/** The format's own limit, which also keeps a corrupt length from asking for a huge buffer. */
const MAX_HEADER_BYTES = 100_000_000;

export interface SafetensorsEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Offset of the first byte within the data section, and its length in bytes. */
  readonly begin: number;
  readonly byteLength: number;
}

export class SafetensorsError extends Error {
  override readonly name = 'SafetensorsError';
}

export class Safetensors {
  private constructor(
    readonly path: string,
    readonly entries: ReadonlyMap<string, SafetensorsEntry>,
    readonly metadata: Readonly<Record<string, string>>,
    private readonly data: ArrayBuffer,
  ) {}

  /** Reads a file. Throws SafetensorsError if it is truncated or corrupt. */
  static read(path: string): Safetensors {
    const file = openSync(path, 'r');
    try {
      const size = fstatSync(file).size;
      const headerBytes = readHeaderLength(path, file, size);
      const header = parseHeader(path, readExactly(path, file, 8, headerBytes));
      const dataBytes = size - 8 - headerBytes;
      const { entries, metadata } = checkEntries(path, header, dataBytes);
      return new Safetensors(path, entries, metadata, readExactly(path, file, 8 + headerBytes, dataBytes));
    } finally {
      closeSync(file);
    }
  }

  entry(name: string): SafetensorsEntry {
    const entry = this.entries.get(name);
    if (!entry) throw new SafetensorsError(`${this.path}: no tensor named "${name}"`);
    return entry;
  }

  /** The bit patterns of an F16 tensor: a view, not a copy. */
  halves(name: string): Uint16Array {
    const entry = this.expect(name, 'F16');
    return new Uint16Array(this.data, entry.begin, entry.byteLength / 2);
  }

  /** The values of an F32 tensor: a view, not a copy (unless the file packs it at an odd offset). */
  floats(name: string): Float32Array {
    const entry = this.expect(name, 'F32');
    if (entry.begin % 4 === 0) return new Float32Array(this.data, entry.begin, entry.byteLength / 4);
    return new Float32Array(this.data.slice(entry.begin, entry.begin + entry.byteLength));
  }

  /** The values of an F16 or F32 tensor as float32: a view for F32, a conversion for F16. */
  asFloats(name: string): Float32Array {
    return this.entry(name).dtype === 'F16' ? halvesToFloats(this.halves(name)) : this.floats(name);
  }

  private expect(name: string, dtype: string): SafetensorsEntry {
    const entry = this.entry(name);
    if (entry.dtype !== dtype) {
      throw new SafetensorsError(`${this.path}: tensor "${name}" is ${entry.dtype}, not ${dtype}`);
    }
    if (entry.begin % 2 !== 0) {
      throw new SafetensorsError(`${this.path}: tensor "${name}" starts at the odd offset ${entry.begin}`);
    }
    return entry;
  }
}

function readExactly(path: string, file: number, position: number, length: number): ArrayBuffer {
  const bytes = new Uint8Array(new ArrayBuffer(length));
  for (let done = 0; done < length;) {
    const got = readSync(file, bytes, done, Math.min(length - done, 1 << 30), position + done);
    if (got === 0) throw new SafetensorsError(`${path}: ended ${length - done} bytes early`);
    done += got;
  }
  return bytes.buffer;
}

function readHeaderLength(path: string, file: number, size: number): number {
  if (size < 8) throw new SafetensorsError(`${path}: ${size} bytes is too short for a safetensors file`);
  const length = Number(new DataView(readExactly(path, file, 0, 8)).getBigUint64(0, true));
  if (length > MAX_HEADER_BYTES) {
    throw new SafetensorsError(`${path}: a header of ${length} bytes; this is not a safetensors file`);
  }
  if (8 + length > size) {
    throw new SafetensorsError(`${path}: truncated: a header of ${length} bytes in a file of ${size}`);
  }
  return length;
}

function parseHeader(path: string, bytes: ArrayBuffer): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new SafetensorsError(`${path}: the header is not JSON`, { cause });
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header)) {
    throw new SafetensorsError(`${path}: the header is not a JSON object`);
  }
  return header as Record<string, unknown>;
}

function checkEntries(
  path: string,
  header: Record<string, unknown>,
  dataBytes: number,
): { entries: Map<string, SafetensorsEntry>; metadata: Record<string, string> } {
  const entries = new Map<string, SafetensorsEntry>();
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') metadata = value as Record<string, string>;
    else entries.set(name, checkEntry(path, name, value, dataBytes));
  }
  return { entries, metadata };
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function checkEntry(path: string, name: string, value: unknown, dataBytes: number): SafetensorsEntry {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Record<string, unknown>;
  const fail = (why: string): never => {
    throw new SafetensorsError(`${path}: tensor "${name}": ${why}`);
  };
  if (typeof dtype !== 'string' || ELEMENT_BYTES[dtype] === undefined) {
    return fail(`unknown dtype ${JSON.stringify(dtype)}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) return fail('shape is not a list of sizes');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    return fail('data_offsets is not a pair of offsets');
  }
  const [begin, end] = offsets as [number, number];
  if (end > dataBytes) return fail(`truncated: needs data up to byte ${end}, the file has ${dataBytes}`);
  const expected = shape.reduce((product, dim) => product * dim, ELEMENT_BYTES[dtype]);
  if (end - begin !== expected) {
    return fail(`${end - begin} bytes for ${dtype}[${shape.join(', ')}], which takes ${expected}`);
  }
  return { dtype, shape, begin, byteLength: expected };
}
