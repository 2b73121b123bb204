import { describe, expect, test } from '@jest/globals';
import { decodeTokens, encodedOf, encodeTokens } from '../../scripts/data/token-file';

const texts = [[101n, 7592n, 102n], [], [65535n]].map((ids) => encodedOf(BigInt64Array.from(ids)));

describe('a file of tokens', () => {
  test('gives back the texts', () => {
    const bytes = encodeTokens(texts);
    expect(bytes).toHaveLength(4 + 2 * 3 + 2 * 4);
    // From anywhere in a buffer, as a file read into a pool is.
    const within = new Uint8Array(bytes.length + 3);
    within.set(bytes, 3);
    const again = decodeTokens(within.subarray(3));
    expect(again.map(({ inputIds }) => [...inputIds])).toEqual(texts.map(({ inputIds }) => [...inputIds]));
    expect(again.map(({ attentionMask }) => [...attentionMask])).toEqual([[1n, 1n, 1n], [], [1n]]);
    expect(again.map(({ tokenTypeIds }) => [...tokenTypeIds])).toEqual([[0n, 0n, 0n], [], [0n]]);
  });

  test('holds ids of 16 bits', () => {
    for (const id of [65536n, -1n]) {
      expect(() => encodeTokens([encodedOf(BigInt64Array.of(id))])).toThrow(/at most 65535/);
    }
  });

  test('that is cut off or goes on is refused', () => {
    const bytes = encodeTokens(texts);
    for (const wrong of [bytes.subarray(0, 2), bytes.subarray(0, 8), bytes.subarray(0, -1), Buffer.alloc(40, 1)]) {
      expect(() => decodeTokens(wrong)).toThrow(/not a file of tokens/);
    }
  });
});
