import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { floatsToHalves, fromHalf, halvesToFloats, toHalf } from '../../scripts/models/float16';
import { Safetensors } from '../../scripts/models/safetensors';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'batched-models-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('float16', () => {
  test('every half survives the way to float32 and back', () => {
    const finite = Uint16Array.from({ length: 0x10000 }, (_, bits) => bits).filter((bits) => (bits & 0x7fff) <= 0x7c00);
    expect(Buffer.compare(Buffer.from(floatsToHalves(halvesToFloats(finite)).buffer), Buffer.from(finite.buffer))).toBe(
      0,
    );
  });

  test.each([
    [1 + 2 ** -11, 0x3c00], // halfway between 1 and the next half: to even
    [1 + 3 * 2 ** -11, 0x3c02],
    [65504, 0x7bff],
    [65519.99, 0x7bff],
    [65520, 0x7c00],
    [-Infinity, 0xfc00],
    [2 ** -24, 0x0001],
    [2 ** -25, 0x0000],
    [1.5 * 2 ** -24, 0x0002],
    [-0, 0x8000],
  ])('%d rounds to its nearest half', (value, bits) => {
    expect(toHalf(value)).toBe(bits);
  });

  test('NaN stays NaN', () => {
    expect(fromHalf(toHalf(NaN))).toBeNaN();
  });
});

describe('safetensors', () => {
  let count = 0;
  function file(header: unknown, data = new Uint8Array(0)): string {
    const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    return raw(Buffer.concat([length, json, data]));
  }
  function raw(bytes: Uint8Array): string {
    const path = join(folder, `${count++}.safetensors`);
    writeFileSync(path, bytes);
    return path;
  }

  test('gives views of F32 and F16 tensors, whatever the header length', () => {
    const data = Buffer.alloc(12);
    data.writeFloatLE(1.5, 0);
    data.writeFloatLE(-2, 4);
    data.writeUInt16LE(0x3c00, 8);
    data.writeUInt16LE(0xc000, 10);
    for (const padding of ['', ' ']) {
      const tensors = Safetensors.read(
        file(
          JSON.stringify({
            __metadata__: { format: 'pt' },
            a: { dtype: 'F32', shape: [2, 1], data_offsets: [0, 8] },
            b: { dtype: 'F16', shape: [2], data_offsets: [8, 12] },
          }) + padding,
          data,
        ),
      );
      expect([...tensors.floats('a')]).toEqual([1.5, -2]);
      expect([...tensors.asFloats('b')]).toEqual([1, -2]);
      expect(tensors.halves('b').buffer).toBe(tensors.floats('a').buffer);
      expect(tensors.entry('a').shape).toEqual([2, 1]);
      expect(tensors.metadata).toEqual({ format: 'pt' });
      expect(() => tensors.halves('a')).toThrow(/"a" is F32, not F16/);
      expect(() => tensors.floats('c')).toThrow(/no tensor named "c"/);
    }
  });

  const tensor = { dtype: 'F32', shape: [2], data_offsets: [0, 8] };
  test.each<[string, () => string, RegExp]>([
    ['an empty file', () => raw(new Uint8Array(0)), /too short/],
    ['a file cut in its header', () => raw(readFileSync(file({ a: tensor })).subarray(0, 20)), /truncated/],
    ['a file cut in its data', () => file({ a: tensor }, new Uint8Array(7)), /"a": truncated: needs data up to byte 8/],
    ['another format', () => raw(Buffer.from('not a safetensors file at all')), /not a safetensors file/],
    ['a header that is not JSON', () => file('{"a": '), /not JSON/],
    ['a header that is a list', () => file([]), /not a JSON object/],
    ['an unknown dtype', () => file({ a: { ...tensor, dtype: 'F3' } }), /unknown dtype "F3"/],
    ['a negative size', () => file({ a: { ...tensor, shape: [-2] } }), /shape/],
    ['offsets that are no pair', () => file({ a: { ...tensor, data_offsets: [0] } }), /data_offsets/],
    [
      'a size that does not fit',
      () => file({ a: { ...tensor, shape: [3] } }, new Uint8Array(8)),
      /8 bytes for F32\[3\], which takes 12/,
    ],
    ['a tensor that is no object', () => file({ a: null }), /"a"/],
  ])('%s is refused', (_, make, message) => {
    const path = make();
    expect(() => Safetensors.read(path)).toThrow(message);
    expect(() => Safetensors.read(path)).toThrow(path);
  });
});
