/**
 * Real texts as MiniLM's tokens, tokenized once and cached beside the models: what benchmarks and GPU tests send.
 *
 *   const texts = await ensureTexts('glosses');
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheFolder } from '../models/cache';
import { loadEmails } from './emails';
import { decodeTokens, encodeTokens } from './token-file';
import { type Encoded, loadTokenizer } from './tokenize';
import { loadGlosses } from './wordnet';

/** Glosses: WordNet's, short (mean 18 tokens). Emails: SpamAssassin's, long and of all lengths, cut at 512 tokens. */
export type Texts = 'glosses' | 'emails';

/** How many of each there are. */
export const TEXTS_COUNT = 4096;

const load: Record<Texts, () => Promise<string[]> | string[]> = {
  glosses: () => loadGlosses(TEXTS_COUNT, { shuffle: true, seed: 1 }),
  emails: () => loadEmails(TEXTS_COUNT),
};

/** {@link TEXTS_COUNT} texts in a random order, the same everywhere. */
export async function ensureTexts(name: Texts): Promise<Encoded[]> {
  const path = textsFile(name);
  if (existsSync(path)) return decodeTokens(readFileSync(path));
  const tokenize = await loadTokenizer();
  const texts = (await load[name]()).map(tokenize);
  await mkdir(cacheFolder(), { recursive: true });
  const fresh = `${path}.${process.pid}.tmp`;
  await writeFile(fresh, encodeTokens(texts));
  await rename(fresh, path);
  return texts;
}

/** Where the texts are kept. */
export function textsFile(name: Texts): string {
  return join(cacheFolder(), `texts-${name}-${TEXTS_COUNT}.bin`);
}
