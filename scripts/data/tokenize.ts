/** Text to token ids, with MiniLM's own tokenizer (that of BERT, uncased). */
import { readFileSync } from 'node:fs';
import { minilmFile } from '../models/minilm';

/** One text as the encoder wants it: three rows of `length` tokens. */
export interface Encoded {
  readonly inputIds: BigInt64Array;
  readonly attentionMask: BigInt64Array;
  readonly tokenTypeIds: BigInt64Array;
  /** Tokens, [CLS] and [SEP] included. */
  readonly length: number;
}

export interface TokenizerOptions {
  /** Longer texts are cut to so many tokens, [SEP] kept. Default 512, the model's limit. */
  readonly maxLength?: number;
}

export type Tokenize = (text: string) => Encoded;

/** What we use of the package: its own declarations name modules by a path that only its build resolves. */
interface TokenizerClass {
  new (tokenizer: object, config: object): { encode(text: string): { ids: number[] } };
}

/** A tokenizer. Asynchronous because the package is an ES module. */
export async function loadTokenizer(options: TokenizerOptions = {}): Promise<Tokenize> {
  const maxLength = options.maxLength ?? 512;
  if (!(Number.isInteger(maxLength) && maxLength >= 2)) {
    throw new RangeError(`maxLength is at least 2 ([CLS] and [SEP]), not ${maxLength}`);
  }
  const { Tokenizer } = (await import('@huggingface/tokenizers')) as { Tokenizer: TokenizerClass };
  const json = JSON.parse(readFileSync(minilmFile('tokenizer.json'), 'utf8')) as Record<string, unknown>;
  // The file asks for every text to be padded, and cut, to 128 tokens. Batches are not its business.
  const tokenizer = new Tokenizer({ ...json, padding: null, truncation: null }, {});
  return (text) => {
    const { ids } = tokenizer.encode(text);
    if (ids.length > maxLength) ids.splice(maxLength - 1, ids.length - maxLength);
    return {
      inputIds: BigInt64Array.from(ids, BigInt),
      attentionMask: new BigInt64Array(ids.length).fill(1n),
      tokenTypeIds: new BigInt64Array(ids.length), // one segment
      length: ids.length,
    };
  };
}
