/** The models of `bench gpu`, and the lengths that they are asked for. */
import { encodedOf } from '../../scripts/data/token-file';
import { ensureTexts, type Texts } from '../../scripts/data/token-texts';
import type { Encoded } from '../../scripts/data/tokenize';
import { ensureModel, RANDOM_BERT_SIZES } from '../../scripts/models';
import { minilmConfig } from '../../scripts/models/minilm';
import { Random } from '../../scripts/models/random';

/** BERT's base first: it has a goal. `micro` is for a look at the suite itself. */
export const modelNames = ['base', 'minilm', 'large', 'micro'] as const;
export type ModelName = (typeof modelNames)[number];

export interface GpuModel {
  readonly path: string;
  readonly vocabulary: number;
  /** Tokens. */
  readonly longest: number;
}

/**
 * With ONNX Runtime's own operators, as its transformers optimizer leaves them, and the mask that CUDA has a fused
 * attention for (the engine pads on the right). On CPU in fp32, where fp16 is slow.
 */
export async function gpuModel(name: ModelName, provider: string): Promise<GpuModel> {
  const encoder = { precision: provider === 'cpu' ? 'fp32' : 'fp16', padding: 'right' } as const;
  const config = name === 'minilm' ? minilmConfig() : RANDOM_BERT_SIZES[name];
  const path = await ensureModel(
    name === 'minilm' ? { kind: 'minilm', ...encoder } : { kind: 'random', size: name, ...encoder },
  );
  return { path, vocabulary: config.vocabularySize, longest: config.maxPositions };
}

/** A number: every text has so many tokens. */
export const mixNames = ['128', 'glosses', '32', '512', 'emails'] as const;
export type MixName = (typeof mixNames)[number];

export const fixedLength = (mix: MixName): number | undefined => (/^\d+$/.test(mix) ? Number(mix) : undefined);

/** Texts that the model can take, and `count` of them at most. */
export async function textsOf(mix: MixName, model: GpuModel, count: number): Promise<Encoded[]> {
  const length = fixedLength(mix);
  if (length !== undefined) {
    const random = new Random(1, `texts of ${mix}`);
    const ids = (): BigInt64Array => BigInt64Array.from({ length }, () => BigInt(random.below(model.vocabulary)));
    return Array.from({ length: Math.min(count, 1024) }, () => encodedOf(ids()));
  }
  const texts = (await ensureTexts(mix as Texts)).slice(0, count);
  const fits = ({ inputIds }: Encoded): Encoded =>
    encodedOf(inputIds.slice(0, model.longest).map((id) => id % BigInt(model.vocabulary)));
  return texts.map(fits);
}
