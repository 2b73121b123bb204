/** WordNet glosses as MiniLM's tokens: tokenized once, kept for all contenders. */
import { type Encoded, loadTokenizer } from '../../scripts/data/tokenize';
import { loadGlosses } from '../../scripts/data/wordnet';

let glosses: readonly string[] | undefined;
const encoded: Encoded[] = [];

/** The first `count` texts of a seeded shuffle of all glosses: a larger count begins with a smaller one's texts. */
export async function corpus(count: number): Promise<readonly Encoded[]> {
  glosses ??= loadGlosses(Infinity, { shuffle: true, seed: 1 });
  if (encoded.length < count) {
    const tokenize = await loadTokenizer();
    while (encoded.length < Math.min(count, glosses.length)) encoded.push(tokenize(glosses[encoded.length]!));
  }
  return encoded.slice(0, count);
}

export function tokensOf(texts: Iterable<Encoded>): number {
  let tokens = 0;
  for (const text of texts) tokens += text.length;
  return tokens;
}
