/**
 * Models for tests, benchmarks and examples, made on this machine and cached.
 *
 *   const path = await ensureModel({ kind: 'minilm', precision: 'int8' });
 */
import type { BertGraphOptions } from './bert-graph';
import type { BertConfig } from './bert-parts';
import { cachedModel } from './cache';
import { lookup, LOOKUP_DEFAULTS, type LookupOptions } from './lookup';
import { minilm } from './minilm';
import type { ElementType, OnnxModel } from './onnx-builder';
import { randomBert, RANDOM_BERT_SIZES, type RandomBertSize } from './random-bert';
import * as testModels from './test-models';

export type { BertGraphOptions } from './bert-graph';
export { PRECISIONS, type BertConfig, type Precision } from './bert-parts';
export { cacheFolder, cleanCache } from './cache';
export { lookupTable } from './lookup';
export { ELEMENT_TYPES, type ElementType, type OnnxModel } from './onnx-builder';
export { encodeModel } from './onnx-writer';
export { RANDOM_BERT_SIZES, type RandomBertSize } from './random-bert';

/** The test models that have no options, by the name of their kind. */
const PLAIN = {
  sum: testModels.sum,
  'fixed-batch': testModels.fixedBatch,
  state: testModels.state,
  'two-inputs': testModels.twoInputs,
  gather: testModels.gather,
  'no-batch': testModels.noBatch,
  'scalar-rows': testModels.scalarRows,
} as const;

export type PlainKind = keyof typeof PLAIN;
export const PLAIN_KINDS = Object.keys(PLAIN) as PlainKind[];

/** Encoder options; precision is fp32 by default. */
export type EncoderOptions = Partial<BertGraphOptions>;

export type ModelSpec =
  | ({ readonly kind: 'minilm' } & EncoderOptions)
  | ({
      readonly kind: 'random';
      /** A named size, or the numbers. Default micro. */
      readonly size?: RandomBertSize | BertConfig;
      /** Default 1. */
      readonly seed?: number;
    } & EncoderOptions)
  | ({ readonly kind: 'lookup' } & LookupOptions)
  | { readonly kind: 'echo'; readonly type: ElementType }
  | ({ readonly kind: 'busy' } & testModels.BusyOptions)
  | { readonly kind: PlainKind };

/**
 * The path of the model's file: from the cache, or made now (a progress bar on a terminal). Safe to call
 * from several processes at once. Throws if weights are not installed or the model exceeds 2 GB.
 */
export async function ensureModel(spec: ModelSpec): Promise<string> {
  const { name, make } = recipe(spec);
  return cachedModel(name, make);
}

/** The model itself, for `encodeModel` or a writer of one's own. */
export function makeModel(spec: ModelSpec): OnnxModel {
  return recipe(spec).make();
}

/** What a spec is called in the cache, all options that change the file included, and how it is made. */
function recipe(spec: ModelSpec): { name: string; make: () => OnnxModel } {
  switch (spec.kind) {
    case 'minilm': {
      const options = encoderOptions(spec);
      return { name: `minilm-${encoderName(options)}`, make: () => minilm(options) };
    }
    case 'random': {
      const { size = 'micro', seed = 1 } = spec;
      const options = encoderOptions(spec);
      const label = typeof size === 'string' ? size : Object.values(checkedConfig(size)).join('_');
      return {
        name: `random-${label}-seed${seed}-${encoderName(options)}`,
        make: () => randomBert(size, seed, options),
      };
    }
    case 'lookup': {
      const { vocabulary, dim, seed } = { ...LOOKUP_DEFAULTS, ...spec };
      return { name: `lookup-${vocabulary}x${dim}-seed${seed}`, make: () => lookup(spec) };
    }
    case 'echo':
      return { name: `echo-${spec.type}`, make: () => testModels.echo(spec.type) };
    case 'busy': {
      const { matmuls, width, rows } = { ...testModels.BUSY_DEFAULTS, ...spec };
      return { name: `busy-${matmuls}x${width}-${rows}`, make: () => testModels.busy(spec) };
    }
    default: {
      const make = PLAIN[spec.kind] as (() => OnnxModel) | undefined;
      if (!make) throw new TypeError(`no model is called ${JSON.stringify(spec.kind)}`);
      return { name: spec.kind, make };
    }
  }
}

function encoderOptions(spec: EncoderOptions): Required<BertGraphOptions> {
  return {
    precision: spec.precision ?? 'fp32',
    operators: spec.operators ?? 'onnxruntime',
    padding: spec.padding ?? 'any',
    lastHiddenState: spec.lastHiddenState ?? false,
    outputType: spec.outputType ?? 'float32',
  };
}

/** Defaults are left out, so that the common names stay short. */
function encoderName(options: Required<BertGraphOptions>): string {
  return [
    options.precision,
    options.operators === 'onnx' && 'standard',
    options.padding === 'right' && 'right',
    options.lastHiddenState && (options.lastHiddenState === 'only' ? 'states' : 'hidden'),
    options.outputType === 'float16' && 'half',
  ]
    .filter(Boolean)
    .join('-');
}

/** The numbers in a fixed order, whatever the order the caller wrote them in. */
function checkedConfig(config: BertConfig): BertConfig {
  const ordered: Record<string, number> = {};
  for (const key of Object.keys(RANDOM_BERT_SIZES.micro) as (keyof BertConfig)[]) {
    if (typeof config[key] !== 'number') throw new TypeError(`the model size lacks ${key}`);
    ordered[key] = config[key];
  }
  return ordered as unknown as BertConfig;
}
