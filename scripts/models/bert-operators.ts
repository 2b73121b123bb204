/**
 * The three places of an encoder layer where ONNX Runtime has fused operators, in two versions: its own
 * operators, and the standard ones for any runtime (and as a check of the others). ONNX Runtime fuses
 * the standard version only partly: at opset 17 with a symbolic sequence axis its optimizer
 * recognises neither the attention nor Add + LayerNormalization (verified with 1.29).
 */
import { float } from './onnx-builder';
import type { BertParts } from './bert-parts';

export interface EncoderOperators {
  /** Multi-head self-attention up to its output projection: [batch, sequence, hidden]. */
  attention(weight: string, node: string, input: string): string;
  /** LayerNorm(product + bias + residual). */
  addAndNorm(norm: string, bias: string, node: string, product: string, residual: string): string;
  /** Gelu(product + bias), the exact one: 0.5 x (1 + erf(x / sqrt 2)). */
  biasGelu(bias: string, node: string, product: string): string;
}

/** Added to the scores of masked tokens: large enough that exp() of it is 0, and a finite half. */
const MASKED_SCORE = -10000;
const PROJECTIONS = ['query', 'key', 'value'] as const;

/**
 * ONNX Runtime's own operators, as its transformers optimizer leaves them.
 *
 * What its CUDA provider makes of the mask (read in its sources, contrib_ops/cuda/bert/attention.cc; not measured here):
 * flash attention runs without any mask only; a mask of two axes runs unfused, with scores and softmax in memory; of the
 * fused kernels that know padding, TensorRT's wants lengths and a GPU older than Hopper, the memory-efficient one lengths
 * and starts, on any. float32 is fused from 256 tokens on. So 'right' gives lengths and starts. MultiHeadAttention has the
 * same limits, unless cuDNN's attention is switched on, and no packed weights.
 */
export class FusedOperators implements EncoderOperators {
  private mask: string | undefined;

  constructor(
    private readonly parts: BertParts,
    private readonly padding: 'any' | 'right',
  ) {}

  attention(weight: string, node: string, input: string): string {
    const { parts } = this;
    const { hiddenSize } = parts.config;
    const self = `${weight}.attention.self`;
    const name = `${self}.qkv`;
    const matrices = PROJECTIONS.map((part) => `${self}.${part}.weight`);
    const biases = PROJECTIONS.map((part) => `${self}.${part}.bias`);
    const bias = parts.joinedVector(`${name}.bias`, biases, hiddenSize);
    this.mask ??= this.integerMask();
    const attributes = {
      num_heads: parts.config.heads,
      mask_filter_value: float(MASKED_SCORE),
    };
    if (parts.precision !== 'int8') {
      const matrix = parts.joinedMatrix(`${name}.weight`, matrices, hiddenSize, hiddenSize);
      return this.node('Attention', `${node}/attention`, [input, matrix, bias, this.mask], attributes);
    }
    const x = parts.quantizedInput(input);
    const w = parts.quantizedMatrix(`${name}.weight`, matrices, hiddenSize, hiddenSize);
    const inputs = [x.values, w.values, bias, x.scale, w.scale, this.mask, x.zeroPoint, w.zeroPoint];
    return this.node('QAttention', `${node}/attention`, inputs, attributes);
  }

  addAndNorm(norm: string, bias: string, node: string, product: string, residual: string): string {
    const { parts } = this;
    const size = [parts.config.hiddenSize];
    const inputs = [
      product,
      residual,
      parts.tensor(`${norm}.weight`, size),
      parts.tensor(`${norm}.bias`, size),
      parts.tensor(bias, size),
    ];
    const attributes = { epsilon: float(parts.config.layerNormEpsilon) };
    return this.node('SkipLayerNormalization', node, inputs, attributes);
  }

  biasGelu(bias: string, node: string, product: string): string {
    return this.node('BiasGelu', node, [product, this.parts.tensor(bias, [this.parts.config.intermediateSize])]);
  }

  /**
   * int32, made once for all layers: [batch, sequence] with 1 for tokens, or where tokens come first [3 x batch + 2]:
   * the rows' lengths, then twice where each row begins and the last one ends in the batch laid end to end. The CPU
   * reads the lengths only.
   */
  private integerMask(): string {
    const { graph } = this.parts;
    if (this.padding === 'any') return graph.cast('mask', 'attention_mask', 'int32');
    const mask = graph.cast('mask', 'attention_mask', 'float32');
    const lengths = graph.node('ReduceSum', 'mask/lengths', [mask, graph.int64([1])], { keepdims: 0 });
    const size = (axis: number): string => {
      const dim = graph.node('Shape', `mask/dim${axis}`, [mask], { start: axis, end: axis + 1 });
      return graph.node('Squeeze', `mask/size${axis}`, [dim, graph.int64([0])]);
    };
    const sequence = size(1);
    const rowsAndOne = graph.node('Add', 'mask/rows_and_one', [size(0), graph.int64(1)]);
    const end = graph.node('Mul', 'mask/end', [rowsAndOne, sequence]);
    const range = graph.node('Range', 'mask/range', [graph.int64(0), end, sequence]);
    const starts = graph.cast('mask/starts', range, 'int32');
    // Three parts of one size, and one element too many in front: parts of several sizes cost CUDA's Concat copies from
    // the host in every run, which a CUDA graph would read again when they are long gone. CUDA pads floats only.
    const one = graph.node('Pad', 'mask/one_more', [lengths, graph.int64([1, 0])]);
    const padded = graph.cast('mask/padded', one, 'int32');
    const joined = graph.node('Concat', 'mask/joined', [padded, starts, starts], { axis: 0 });
    const [from, to] = [graph.int64([1]), graph.int64([Number.MAX_SAFE_INTEGER])];
    return graph.node('Slice', 'mask/spans', [joined, from, to, graph.int64([0])]);
  }

  private node(
    operator: string,
    name: string,
    inputs: readonly string[],
    attributes: Parameters<BertParts['graph']['node']>[3] = {},
  ): string {
    return this.parts.graph.node(operator, name, inputs, attributes, name, 'com.microsoft');
  }
}

export class StandardOperators implements EncoderOperators {
  private mask: string | undefined;

  constructor(private readonly parts: BertParts) {}

  attention(weight: string, node: string, input: string): string {
    const { graph, compute, headSize } = this.parts;
    const { hiddenSize, heads } = this.parts.config;
    const split = (part: (typeof PROJECTIONS)[number], order: readonly number[]): string => {
      const name = `${weight}.attention.self.${part}`;
      const product = this.parts.product(name, `${node}/${part}`, input, hiddenSize, hiddenSize);
      const flat = this.addBias(`${name}.bias`, `${node}/${part}/bias`, product, hiddenSize);
      const shape = graph.int64([0, 0, heads, headSize]);
      const byHead = graph.node('Reshape', `${node}/${part}/heads`, [flat, shape]);
      return graph.node('Transpose', `${node}/${part}/transposed`, [byHead], { perm: order });
    };
    const query = split('query', [0, 2, 1, 3]);
    const key = split('key', [0, 2, 3, 1]);
    const value = split('value', [0, 2, 1, 3]);
    const products = graph.node('MatMul', `${node}/scores/products`, [query, key]);
    const divisor = graph.scalar(Math.sqrt(headSize), compute);
    const scores = graph.node('Div', `${node}/scores/scaled`, [products, divisor]);
    this.mask ??= this.additiveMask();
    const masked = graph.node('Add', `${node}/scores/masked`, [scores, this.mask]);
    const shares = graph.node('Softmax', `${node}/scores/softmax`, [masked], { axis: 3 });
    const mixed = graph.node('MatMul', `${node}/context`, [shares, value]);
    const order = { perm: [0, 2, 1, 3] };
    const together = graph.node('Transpose', `${node}/context/transposed`, [mixed], order);
    return graph.node('Reshape', `${node}/context/flat`, [together, graph.int64([0, 0, hiddenSize])]);
  }

  addAndNorm(norm: string, bias: string, node: string, product: string, residual: string): string {
    const { graph, config } = this.parts;
    const biased = this.addBias(bias, `${node}/bias`, product, config.hiddenSize);
    const sum = graph.node('Add', `${node}/residual`, [biased, residual]);
    return layerNorm(this.parts, norm, node, sum);
  }

  biasGelu(bias: string, node: string, product: string): string {
    const { graph, compute, config } = this.parts;
    const input = this.addBias(bias, `${node}/bias`, product, config.intermediateSize);
    const scaled = graph.node('Div', `${node}/scaled`, [input, graph.scalar(Math.SQRT2, compute)]);
    const erf = graph.node('Erf', `${node}/erf`, [scaled]);
    const shifted = graph.node('Add', `${node}/shifted`, [erf, graph.scalar(1, compute)]);
    const twice = graph.node('Mul', `${node}/product`, [input, shifted]);
    return graph.node('Mul', node, [twice, graph.scalar(0.5, compute)]);
  }

  private addBias(bias: string, node: string, product: string, size: number): string {
    return this.parts.graph.node('Add', node, [product, this.parts.tensor(bias, [size])]);
  }

  /** [batch, 1, 1, sequence]: 0 where a token counts, MASKED_SCORE where it is padding. */
  private additiveMask(): string {
    const { graph, compute } = this.parts;
    const row = graph.node('Unsqueeze', 'mask/row', ['attention_mask', graph.int64([1, 2])]);
    const kept = graph.cast('mask/cast', row, compute);
    const dropped = graph.node('Sub', 'mask/dropped', [graph.scalar(1, compute), kept]);
    return graph.node('Mul', 'mask/scores', [dropped, graph.scalar(MASKED_SCORE, compute)]);
  }
}

export function layerNorm(parts: BertParts, weight: string, node: string, input: string): string {
  const size = [parts.config.hiddenSize];
  const inputs = [input, parts.tensor(`${weight}.weight`, size), parts.tensor(`${weight}.bias`, size)];
  const attributes = { axis: -1, epsilon: float(parts.config.layerNormEpsilon) };
  return parts.graph.node('LayerNormalization', node, inputs, attributes);
}
