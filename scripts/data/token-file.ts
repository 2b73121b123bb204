/**
 * Tokenized texts in a file: where there is no tokenizer, such as on a GPU machine without npm, and tens of thousands of
 * texts in a moment. Little-endian: the number of texts (uint32), the length of each (uint16), then all ids (uint16).
 */
import type { Encoded } from './tokenize';

const mostId = 0xffff;

/** Throws a RangeError for what 16 bits don't hold. */
export function encodeTokens(texts: readonly Encoded[]): Uint8Array {
  const total = texts.reduce((sum, { length }) => sum + length, 0);
  const bytes = Buffer.alloc(4 + 2 * texts.length + 2 * total);
  let at = bytes.writeUInt32LE(texts.length, 0);
  for (const { length } of texts) at = bytes.writeUInt16LE(length, at);
  for (const { inputIds } of texts) {
    for (const id of inputIds) {
      if (id < 0n || id > mostId) throw new RangeError(`a token id is at most ${mostId}, not ${id}`);
      at = bytes.writeUInt16LE(Number(id), at);
    }
  }
  return bytes;
}

/** Throws an Error if the bytes are not those of `encodeTokens`. */
export function decodeTokens(bytes: Uint8Array): Encoded[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = bytes.byteLength < 4 ? NaN : view.getUint32(0, true);
  let at = 4 + 2 * count;
  const ends = (expected: number): Error =>
    new Error(`not a file of tokens: ${bytes.byteLength} bytes where ${expected} are due`);
  if (!(at <= bytes.byteLength)) throw ends(at);
  const lengths = Array.from({ length: count }, (_, text) => view.getUint16(4 + 2 * text, true));
  const total = lengths.reduce((sum, length) => sum + length, 0);
  if (at + 2 * total !== bytes.byteLength) throw ends(at + 2 * total);
  return lengths.map((length) => {
    const inputIds = new BigInt64Array(length);
    for (let i = 0; i < length; i++, at += 2) inputIds[i] = BigInt(view.getUint16(at, true));
    return encodedOf(inputIds);
  });
}

/** One text, of one segment, from its ids. */
export function encodedOf(inputIds: BigInt64Array): Encoded {
  const { length } = inputIds;
  return {
    inputIds,
    attentionMask: new BigInt64Array(length).fill(1n),
    tokenTypeIds: new BigInt64Array(length),
    length,
  };
}
