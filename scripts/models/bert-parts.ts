/** What every part of a BERT graph is made of: its shape, its weights, and products with them. */
import { floatsToHalves } from './float16';
import type { GraphBuilder } from './onnx-builder';
import { channelScales, joinColumns, quantizeTransposed, transpose } from './quantize';

export type Precision = 'fp32' | 'fp16' | 'int8';
export const PRECISIONS: readonly Precision[] = ['fp32', 'fp16', 'int8'];

export interface BertConfig {
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly intermediateSize: number;
  /** Longest sequence, in tokens. A longer one makes the run fail. */
  readonly maxPositions: number;
  readonly tokenTypes: number;
  readonly layerNormEpsilon: number;
}

/** Where the weights come from: names and [outputs, inputs] layout as in Hugging Face checkpoints. */
export interface BertWeights {
  floats(name: string, dims: readonly number[]): Float32Array;
}

/** A matrix in int8 with what is needed to read it: names of initializers. */
export interface QuantizedMatrix {
  readonly values: string;
  readonly scale: string;
  readonly zeroPoint: string;
}

/** An activation in uint8: names of values. */
export interface QuantizedInput {
  readonly values: string;
  readonly scale: string;
  readonly zeroPoint: string;
}

export class BertParts {
  /** The type that activations have between operators. */
  readonly compute: 'float32' | 'float16';
  readonly headSize: number;
  private readonly quantizedInputs = new Map<string, QuantizedInput>();

  constructor(
    readonly graph: GraphBuilder,
    readonly config: BertConfig,
    readonly precision: Precision,
    private readonly weights: BertWeights,
  ) {
    if (config.hiddenSize % config.heads !== 0) {
      throw new RangeError(`hidden size ${config.hiddenSize} is no multiple of ${config.heads} heads`);
    }
    this.compute = precision === 'fp16' ? 'float16' : 'float32';
    this.headSize = config.hiddenSize / config.heads;
  }

  /** A checkpoint tensor as it is, in the compute type. */
  tensor(name: string, dims: readonly number[]): string {
    return this.constant(name, dims, () => this.weights.floats(name, dims));
  }

  /** Several checkpoint vectors end to end. */
  joinedVector(name: string, parts: readonly string[], size: number): string {
    return this.constant(name, [parts.length * size], () =>
      joinColumns(1, parts.map((part) => this.weights.floats(part, [size]))),
    ); // prettier-ignore
  }

  /** The matrices of several linear layers side by side: [inputs, parts x outputs]. */
  joinedMatrix(name: string, parts: readonly string[], inputs: number, outputs: number): string {
    return this.constant(name, [inputs, parts.length * outputs], () =>
      joinColumns(
        inputs,
        parts.map((part) => transpose(this.weights.floats(part, [outputs, inputs]), outputs, inputs)),
      ),
    );
  }

  /** The same in int8, with one scale per output channel. */
  quantizedMatrix(name: string, parts: readonly string[], inputs: number, outputs: number): QuantizedMatrix {
    const { graph } = this;
    const width = parts.length * outputs;
    const floats = (part: string): Float32Array => this.weights.floats(part, [outputs, inputs]);
    const scales = (weights: Float32Array): Float32Array => channelScales(weights, outputs, inputs);
    return {
      values: graph.initializer(`${name}.quantized`, 'int8', [inputs, width], () =>
        joinColumns(
          inputs,
          parts.map((part) => {
            const weights = floats(part);
            return quantizeTransposed(weights, outputs, inputs, scales(weights));
          }),
        ),
      ),
      scale: graph.initializer(`${name}.scale`, 'float32', [width], () =>
        joinColumns(1, parts.map((part) => scales(floats(part)))),
      ), // prettier-ignore
      zeroPoint: graph.initializer(`${name}.zero_point`, 'int8', [width], () => new Int8Array(width)),
    };
  }

  /**
   * `input` as uint8. The scale is found at run time, one for the whole batch: so the results of an int8
   * model depend a little on batch-mates. All who use the same input share its quantization.
   */
  quantizedInput(input: string): QuantizedInput {
    let quantized = this.quantizedInputs.get(input);
    if (!quantized) {
      const names = [`${input}/quantized`, `${input}/scale`, `${input}/zero_point`] as const;
      const node = `${input}/quantize`;
      this.graph.nodeWithOutputs('DynamicQuantizeLinear', node, [input], names);
      quantized = { values: names[0], scale: names[1], zeroPoint: names[2] };
      this.quantizedInputs.set(input, quantized);
    }
    return quantized;
  }

  /** x W of the linear layer `weight`, without its bias. */
  product(weight: string, node: string, input: string, inputs: number, outputs: number): string {
    const { graph } = this;
    const part = `${weight}.weight`;
    if (this.precision !== 'int8') {
      const matrix = this.joinedMatrix(part, [part], inputs, outputs);
      return graph.node('MatMul', `${node}/matmul`, [input, matrix]);
    }
    // The chain that ONNX Runtime turns into one DynamicQuantizeMatMul or MatMulIntegerToFloat.
    const x = this.quantizedInput(input);
    const w = this.quantizedMatrix(part, [part], inputs, outputs);
    const sums = graph.node('MatMulInteger', `${node}/matmul`, [x.values, w.values, x.zeroPoint, w.zeroPoint]);
    const floats = graph.cast(`${node}/cast`, sums, 'float32');
    const unit = graph.node('Mul', `${node}/unit`, [x.scale, w.scale]);
    return graph.node('Mul', `${node}/scaled`, [floats, unit]);
  }

  private constant(name: string, dims: readonly number[], values: () => Float32Array): string {
    return this.graph.initializer(name, this.compute, dims, () =>
      this.compute === 'float16' ? floatsToHalves(values()) : values(),
    );
  }
}
