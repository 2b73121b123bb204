/** BERT encoders of any size with seeded random weights: for speed and shapes, not for meaning. */
import { bertGraph, type BertGraphOptions } from './bert-graph';
import type { BertConfig, BertWeights } from './bert-parts';
import type { OnnxModel } from './onnx-builder';
import { Random } from './random';

const bert = (
  layers: number,
  hiddenSize: number,
  heads: number,
  vocabularySize = 30522,
  maxPositions = 512,
): BertConfig => ({
  vocabularySize,
  hiddenSize,
  layers,
  heads,
  intermediateSize: 4 * hiddenSize,
  maxPositions,
  tokenTypes: 2,
  layerNormEpsilon: 1e-12,
});

/** Named sizes. tiny, mini, base and large are those of the BERT papers; micro is for tests. */
export const RANDOM_BERT_SIZES = {
  micro: bert(2, 32, 4, 1000, 128),
  tiny: bert(2, 128, 2),
  mini: bert(4, 256, 4),
  base: bert(12, 768, 12),
  large: bert(24, 1024, 16),
} as const satisfies Record<string, BertConfig>;

export type RandomBertSize = keyof typeof RANDOM_BERT_SIZES;

/**
 * Weights of `config` for `seed`. Matrices are normal with deviation 1 / sqrt(inputs), so activations keep
 * their size and attention is neither flat nor a single spike; with BERT's own 0.02 a random model
 * would attend to everything alike, and a wrong mask would hardly show.
 */
export function randomBertWeights(seed: number): BertWeights {
  return {
    floats(name: string, dims: readonly number[]): Float32Array {
      const random = new Random(seed, name);
      const length = dims.reduce((product, dim) => product * dim, 1);
      if (name.endsWith('LayerNorm.weight')) return random.normals(length, 0.1, 1);
      if (name.endsWith('.bias')) return random.normals(length, 0.1);
      if (name.startsWith('embeddings.')) return random.normals(length, 1);
      return random.normals(length, 1 / Math.sqrt(dims[dims.length - 1]!));
    },
  };
}

/** Throws a RangeError when written if the model would not fit an ONNX file of 2 GB. */
export function randomBert(size: RandomBertSize | BertConfig, seed: number, options: BertGraphOptions): OnnxModel {
  const config = typeof size === 'string' ? RANDOM_BERT_SIZES[size] : size;
  const label = typeof size === 'string' ? size : `${size.layers}x${size.hiddenSize}`;
  const name = `random-${label}-${options.precision}-seed${seed}`;
  return bertGraph(name, config, randomBertWeights(seed), options);
}
