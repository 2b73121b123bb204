/** @jest-environment ./test/helpers/onnxruntime-environment.cjs */
/**
 * Reading text from pictures of different widths: a convolution looks past the edge of a picture, so a padded one gives
 * something else, and its output is not as wide as its input. That is what paddingSide 'none' is for.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { BatchedModel, Tensor } from '../../ts';
import { ensureNpmModel } from '../../scripts/data/npm-models';
import { fitted, picture } from '../helpers/bitmap-text';
import { closeAll, expectAccounted, one, open } from '../helpers/model-calls';
import { difference, openReference, type Reference } from '../helpers/onnxruntime';

afterAll(closeAll);

const only = (outputs: Record<string, Tensor>): Tensor => Object.values(outputs)[0]!;

describe('recognition', () => {
  // Three widths: 131, 161 and 191.
  const words = ['LANE', 'BATCH', 'HOUSE', 'TENSOR', 'LENS', 'OTHER'];
  const widths = words.map((word) => picture(word).dims[3]);
  let path: string;
  let reference: Reference;
  let characters: string[];
  beforeAll(async () => {
    path = await ensureNpmModel('ocr-recognition');
    reference = await openReference(path);
    const known = readFileSync(await ensureNpmModel('ocr-characters'), 'utf8').replace(/\n$/, '');
    characters = ['', ...known.split('\n'), ' '];
  });

  /** What a row [1, steps, characters] says: the likeliest of every step, repetitions and class 0 left out. */
  function read({ dims: [, steps, classes], data }: Tensor): string {
    let text = '';
    let last = 0;
    for (let step = 0; step < steps!; step++) {
      const scores = data.subarray(step * classes!, (step + 1) * classes!) as Float32Array;
      const best = scores.indexOf(scores.reduce((most, score) => (score > most ? score : most)));
      if (best !== last) text += characters[best]!;
      last = best;
    }
    return text;
  }

  const readAll = async (model: BatchedModel, list: string[]): Promise<Tensor[]> =>
    (await Promise.all(list.map((word) => model.acall({ x: picture(word) })))).map(one);

  test('without padding: words are read, pictures of one width share a batch, and each gives what it gives alone', async () => {
    const reader = await open(path, { paddingSide: 'none', lanes: 1 });
    const outputs = await readAll(reader, [...words, ...words]);
    expect(outputs.map(read)).toEqual([...words, ...words]);
    for (const [i, word] of words.entries()) {
      const alone = only(await reference.run({ x: picture(word) }));
      expect(difference(outputs[i]!, alone)).toBeLessThan(1e-5);
      expect(difference(outputs[words.length + i]!, alone)).toBeLessThan(1e-5);
    }
    expectAccounted(reader.stats);
    const most = Math.max(...[131, 161, 191].map((width) => 2 * widths.filter((own) => own === width).length));
    expect(Math.max(...Object.keys(reader.stats.batchSizes).map(Number))).toBeLessThanOrEqual(most);
    expect(reader.stats.avgBatchSize).toBeGreaterThan(1);
    expect(reader.stats.paddingEfficiency).toBe(1);
  });

  test('a call with pictures of several widths gives each its own with stack: false', async () => {
    const reader = await open(path, { paddingSide: 'none' });
    const pictures = words.slice(0, 4).map(picture);
    const x = pictures.map(({ data }) => data as Float32Array);
    const rows = await reader.acall({ x }, { stack: false });
    expect(rows.map((row) => read(one(row)))).toEqual(words.slice(0, 4));
  });

  test.each(['right', 'left'] as const)('padded on the %s gives something else, and of another size', async (side) => {
    const reader = await open(path, { paddingSide: side, lanes: 1 });
    const [narrow] = await readAll(reader, ['LANE', 'TENSOR']);
    const alone = only(await reference.run({ x: picture('LANE') }));
    expect(reader.stats.batchSizes).toEqual({ 2: 1 });
    expect(narrow!.dims[1]).toBeGreaterThan(alone.dims[1]!); // steps that have no name in the input are not cut off
    const common = alone.dims[1]! * alone.dims[2]!;
    const from = side === 'right' ? 0 : narrow!.data.length - common;
    const cut = { ...narrow!, dims: alone.dims, data: (narrow!.data as Float32Array).subarray(from, from + common) };
    expect(difference(cut, alone)).toBeGreaterThan(0.01);
  });
});

test('orientation: many pictures of one size fill batches, and each is told rightly', async () => {
  const path = await ensureNpmModel('ocr-orientation');
  const reference = await openReference(path);
  const cases = ['BATCH', 'HOUSE', 'OTHER', 'TENSOR', 'LATER', 'CLEAR', 'RUN', 'SHARE'].flatMap((word) =>
    [false, true].map((upsideDown) => ({ upsideDown, x: fitted(picture(word), 192, upsideDown) })),
  );
  const model = await open(path, { paddingSide: 'none', lanes: 1 });
  const outputs = (await Promise.all([...cases, ...cases].map(({ x }) => model.acall({ x })))).map(one);
  for (const [i, { x, upsideDown }] of cases.entries()) {
    const alone = only(await reference.run({ x }));
    expect(difference(outputs[i]!, alone)).toBeLessThan(1e-5);
    expect(difference(outputs[cases.length + i]!, alone)).toBeLessThan(1e-5);
    const [upright, reversed] = outputs[i]!.data as Float32Array;
    expect(reversed! > upright!).toBe(upsideDown);
  }
  expectAccounted(model.stats);
  expect(model.stats.avgBatchSize).toBeGreaterThan(4);
});
