import { describe, expect, test } from '@jest/globals';
import { loadTokenizer, type Encoded } from '../../scripts/data/tokenize';
import { loadGlosses, parseGlosses } from '../../scripts/data/wordnet';

describe('WordNet glosses', () => {
  test('are all there, clean, in an order that the seed decides', () => {
    const all = loadGlosses();
    expect(all).toHaveLength(117_791);
    expect(all.every((gloss) => gloss !== '' && gloss === gloss.trim() && !gloss.includes('|'))).toBe(true);
    expect(loadGlosses(2)).toEqual(all.slice(0, 2));
    const shuffled = loadGlosses(100, { shuffle: true });
    expect(shuffled).toEqual(loadGlosses(100, { shuffle: true, seed: 1 }));
    expect(shuffled).not.toEqual(loadGlosses(100, { shuffle: true, seed: 2 }));
    expect(shuffled).not.toEqual(all.slice(0, 100));
  });

  test('are what follows the bar; the licence is skipped', () => {
    const text =
      '  1 This software | and database\n00001 03 n 01 x 0 000 | a  thing;  "an example";  \n00002 03 n | \n';
    expect(parseGlosses(text)).toEqual(['a thing; "an example"']);
  });
});

describe('the tokenizer', () => {
  const ids = (encoded: Encoded): number[] => [...encoded.inputIds].map(Number);

  test('neither pads nor cuts to 128, and cuts where asked', async () => {
    const tokenize = await loadTokenizer();
    const hello = tokenize('Hello, world!');
    expect(ids(hello)).toEqual([101, 7592, 1010, 2088, 999, 102]);
    expect(hello.length).toBe(6);
    expect([...hello.attentionMask]).toEqual(Array<bigint>(6).fill(1n));
    expect([...hello.tokenTypeIds]).toEqual(Array<bigint>(6).fill(0n));
    expect(tokenize('word '.repeat(200)).length).toBe(202);
    expect(tokenize('word '.repeat(2000)).length).toBe(512);
    const short = await loadTokenizer({ maxLength: 4 });
    expect(ids(short('Hello, world!'))).toEqual([101, 7592, 1010, 102]);
    await expect(loadTokenizer({ maxLength: 1 })).rejects.toThrow(/maxLength/);
  });
});
