/**
 * The ONNX graph of a BERT-style sentence encoder: token ids in, one unit vector per sentence out.
 *
 *   input_ids, attention_mask, token_type_ids   int64 [batch, sequence]
 *   sentence_embedding (left out on demand)     [batch, hidden]: mean over unmasked tokens, length 1
 *   last_hidden_state (optional)                [batch, sequence, hidden]
 */
import { FusedOperators, layerNorm, StandardOperators, type EncoderOperators } from './bert-operators';
import { BertParts, type BertConfig, type BertWeights, type Precision } from './bert-parts';
import { GraphBuilder, type OnnxModel } from './onnx-builder';

export interface BertGraphOptions {
  readonly precision: Precision;
  /**
   * 'onnxruntime' (default): attention, Add + LayerNormalization and bias + Gelu are ONNX Runtime's own
   * operators (domain com.microsoft). 'onnx': standard operators only, for any runtime.
   */
  readonly operators?: 'onnxruntime' | 'onnx';
  /**
   * What attention_mask may be, with 'onnxruntime' operators. 'any' (default). 'right': in every row tokens first, then
   * padding, which CUDA has a fused kernel for.
   */
  readonly padding?: 'any' | 'right';
  /** Also give last_hidden_state, or only that, as most exported encoders do. Default false. */
  readonly lastHiddenState?: boolean | 'only';
  /** Element type of the outputs. Default float32 at every precision. */
  readonly outputType?: 'float32' | 'float16';
}

const SENTENCE_EMBEDDING = 'sentence_embedding';
const LAST_HIDDEN_STATE = 'last_hidden_state';

export function bertGraph(
  name: string,
  config: BertConfig,
  weights: BertWeights,
  options: BertGraphOptions,
): OnnxModel {
  const graph = new GraphBuilder(name, `BERT sentence encoder, ${options.precision}`);
  const parts = new BertParts(graph, config, options.precision, weights);
  const operators =
    options.operators === 'onnx' ? new StandardOperators(parts) : new FusedOperators(parts, options.padding ?? 'any');
  for (const input of ['input_ids', 'attention_mask', 'token_type_ids']) {
    graph.input(input, 'int64', ['batch', 'sequence']);
  }
  const outputType = options.outputType ?? 'float32';
  let hidden = embeddings(parts);
  for (let layer = 0; layer < config.layers; layer++) {
    // The last layer writes to the output itself where the types allow it: a Cast would be one more copy.
    const isOutput = layer === config.layers - 1 && options.lastHiddenState && outputType === parts.compute;
    const output = isOutput ? LAST_HIDDEN_STATE : `layer.${layer}/output`;
    hidden = encoderLayer(parts, operators, layer, hidden, output);
  }
  if (options.lastHiddenState !== 'only') pool(parts, hidden, outputType);
  if (options.lastHiddenState) {
    if (hidden !== LAST_HIDDEN_STATE) graph.cast('last_hidden_state/cast', hidden, outputType, LAST_HIDDEN_STATE);
    graph.output(LAST_HIDDEN_STATE, outputType, ['batch', 'sequence', config.hiddenSize]);
  }
  return graph.build();
}

/** LayerNorm(word + token type + position). */
function embeddings(parts: BertParts): string {
  const { graph, config } = parts;
  const table = (kind: string, rows: number): string =>
    parts.tensor(`embeddings.${kind}_embeddings.weight`, [rows, config.hiddenSize]);
  const wordTable = table('word', config.vocabularySize);
  const typeTable = table('token_type', config.tokenTypes);
  const words = graph.node('Gather', 'embeddings/words', [wordTable, 'input_ids']);
  const types = graph.node('Gather', 'embeddings/types', [typeTable, 'token_type_ids']);
  const length = graph.node('Shape', 'embeddings/length', ['input_ids'], { start: 1, end: 2 });
  const positionTable = table('position', config.maxPositions);
  const range = [positionTable, graph.int64([0]), length, graph.int64([0])];
  const positions = graph.node('Slice', 'embeddings/positions', range);
  const typed = graph.node('Add', 'embeddings/typed', [words, types]);
  const sum = graph.node('Add', 'embeddings/sum', [typed, positions]);
  return layerNorm(parts, 'embeddings.LayerNorm', 'embeddings/norm', sum);
}

function encoderLayer(
  parts: BertParts,
  operators: EncoderOperators,
  layer: number,
  input: string,
  output: string,
): string {
  const { hiddenSize, intermediateSize } = parts.config;
  const weight = `encoder.layer.${layer}`;
  const node = `layer.${layer}`;

  const context = operators.attention(weight, node, input);
  const dense = `${weight}.attention.output.dense`;
  const projected = parts.product(dense, `${node}/projection`, context, hiddenSize, hiddenSize);
  const attended = operators.addAndNorm(
    `${weight}.attention.output.LayerNorm`, `${dense}.bias`, `${node}/attended`, projected, input,
  ); // prettier-ignore

  const up = `${weight}.intermediate.dense`;
  const wide = parts.product(up, `${node}/up`, attended, hiddenSize, intermediateSize);
  const active = operators.biasGelu(`${up}.bias`, `${node}/gelu`, wide);
  const down = `${weight}.output.dense`;
  const narrow = parts.product(down, `${node}/down`, active, intermediateSize, hiddenSize);
  return operators.addAndNorm(
    `${weight}.output.LayerNorm`, `${down}.bias`, output, narrow, attended,
  ); // prettier-ignore
}

/** Masked mean and L2 norm, in float32 at every precision: a sum over 512 tokens is too much for halves. */
function pool(parts: BertParts, hidden: string, outputType: 'float32' | 'float16'): void {
  const { graph, config, compute } = parts;
  const states = compute === 'float32' ? hidden : graph.cast('pool/states', hidden, 'float32');
  const mask = graph.cast('pool/mask', 'attention_mask', 'float32');
  const row = graph.node('Unsqueeze', 'pool/row', [mask, graph.int64([1])]);
  const sums = graph.node('MatMul', 'pool/sums', [row, states]);
  const sum = graph.node('Squeeze', 'pool/sum', [sums, graph.int64([1])]);
  const count = graph.node('ReduceSum', 'pool/count', [mask, graph.int64([1])], { keepdims: 1 });
  // At least 1, so that a row of padding alone gives zeros and not NaN.
  const tokens = graph.node('Max', 'pool/tokens', [count, graph.scalar(1, 'float32')]);
  const mean = graph.node('Div', 'pool/mean', [sum, tokens]);
  // Not ReduceL2: on CUDA that is a call of cuDNN.
  const squares = graph.node('Mul', 'pool/squares', [mean, mean]);
  const square = graph.node('ReduceSum', 'pool/square', [squares, graph.int64([1])], { keepdims: 1 });
  const norm = graph.node('Sqrt', 'pool/norm', [square]);
  const divisor = graph.node('Max', 'pool/divisor', [norm, graph.scalar(1e-12, 'float32')]);
  const isOutput = outputType === 'float32';
  const unit = graph.node('Div', 'pool/unit', [mean, divisor], {}, isOutput ? SENTENCE_EMBEDDING : 'pool/unit');
  if (!isOutput) graph.cast('pool/cast', unit, outputType, SENTENCE_EMBEDDING);
  graph.output(SENTENCE_EMBEDDING, outputType, ['batch', config.hiddenSize]);
}
