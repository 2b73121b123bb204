/** Builds ONNX graphs node by node. Weights stay lazy: their bytes are asked for only while writing. */
import { onnx } from 'onnx-proto';
import { floatsToHalves } from './float16';

/** Operator set 17 has LayerNormalization; both numbers are read by every ONNX Runtime since 1.13. */
export const OPSET = 17;
export const IR_VERSION = 8;

export const ELEMENT_TYPES = [
  'float32', 'float64', 'float16', 'int8', 'uint8', 'int16', 'uint16',
  'int32', 'uint32', 'int64', 'uint64', 'bool',
] as const; // prettier-ignore

/** Names as onnxruntime-common spells them. */
export type ElementType = (typeof ELEMENT_TYPES)[number];

const { DataType } = onnx.TensorProto;
const ELEMENTS: Record<ElementType, { onnx: onnx.TensorProto.DataType; bytes: number }> = {
  float32: { onnx: DataType.FLOAT, bytes: 4 },
  float64: { onnx: DataType.DOUBLE, bytes: 8 },
  float16: { onnx: DataType.FLOAT16, bytes: 2 },
  int8: { onnx: DataType.INT8, bytes: 1 },
  uint8: { onnx: DataType.UINT8, bytes: 1 },
  int16: { onnx: DataType.INT16, bytes: 2 },
  uint16: { onnx: DataType.UINT16, bytes: 2 },
  int32: { onnx: DataType.INT32, bytes: 4 },
  uint32: { onnx: DataType.UINT32, bytes: 4 },
  int64: { onnx: DataType.INT64, bytes: 8 },
  uint64: { onnx: DataType.UINT64, bytes: 8 },
  bool: { onnx: DataType.BOOL, bytes: 1 },
};

export interface Initializer {
  readonly name: string;
  readonly type: ElementType;
  readonly dims: readonly number[];
  readonly byteLength: number;
  /** Called once per writing. Must return exactly `byteLength` bytes, little-endian. */
  readonly data: () => ArrayBufferView;
}

/** A model whose initializers are apart from its graph, so that they can be written one at a time. */
export interface OnnxModel {
  readonly name: string;
  readonly graph: onnx.IGraphProto;
  readonly initializers: readonly Initializer[];
}

/** '' holds the standard operators, the other one ONNX Runtime's own. */
export type OperatorDomain = '' | 'com.microsoft';

/** A size, or the name of a symbolic dimension. */
export type Dim = number | string;

/** A float attribute; plain numbers are integer attributes. */
export const float = (value: number): { float: number } => ({ float: value });
export type Attribute = number | readonly number[] | string | { float: number };

export class GraphBuilder {
  private readonly nodes: onnx.INodeProto[] = [];
  private readonly inputs: onnx.IValueInfoProto[] = [];
  private readonly outputs: onnx.IValueInfoProto[] = [];
  private readonly initializers = new Map<string, Initializer>();

  constructor(
    private readonly name: string,
    private readonly documentation = '',
  ) {}

  input(name: string, type: ElementType, dims: readonly Dim[]): string {
    this.inputs.push(valueInfo(name, type, dims));
    return name;
  }

  /** Declares that the value called `name` leaves the graph. */
  output(name: string, type: ElementType, dims: readonly Dim[]): void {
    this.outputs.push(valueInfo(name, type, dims));
  }

  /** Adds a node that has one output, called `output` or else as the node; returns that name. */
  node(
    operator: string,
    name: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, Attribute>> = {},
    output = name,
    domain: OperatorDomain = '',
  ): string {
    return this.nodeWithOutputs(operator, name, inputs, [output], attributes, domain)[0]!;
  }

  nodeWithOutputs<T extends readonly string[]>(
    operator: string,
    name: string,
    inputs: readonly string[],
    outputs: T,
    attributes: Readonly<Record<string, Attribute>> = {},
    domain: OperatorDomain = '',
  ): T {
    this.nodes.push({
      opType: operator,
      domain,
      name,
      input: [...inputs],
      output: [...outputs],
      attribute: Object.entries(attributes).map(([key, value]) => attribute(key, value)),
    });
    return outputs;
  }

  /** A weight whose values are made when the model is written. */
  initializer(name: string, type: ElementType, dims: readonly number[], data: () => ArrayBufferView): string {
    if (this.initializers.has(name)) throw new Error(`two initializers are called "${name}"`);
    const byteLength = dims.reduce((product, dim) => product * dim, ELEMENTS[type].bytes);
    this.initializers.set(name, { name, type, dims, byteLength, data });
    return name;
  }

  /** A small int64 constant, shared by all who ask for the same value. A number gives a scalar. */
  int64(value: number | readonly number[]): string {
    const values = typeof value === 'number' ? [value] : value;
    const dims = typeof value === 'number' ? [] : [values.length];
    const name = `int64_${dims.length === 0 ? 'scalar_' : ''}${values.join('_')}`.replace(/-/g, 'm');
    if (!this.initializers.has(name)) {
      this.initializer(name, 'int64', dims, () => BigInt64Array.from(values, BigInt));
    }
    return name;
  }

  /** A scalar constant of a floating-point type, shared by all who ask for the same value. */
  scalar(value: number, type: 'float32' | 'float16'): string {
    const name = `${type}_${value}`.replace(/-/g, 'm');
    if (!this.initializers.has(name)) {
      const one = Float32Array.of(value);
      this.initializer(name, type, [], () => (type === 'float16' ? floatsToHalves(one) : one));
    }
    return name;
  }

  /** Casts to `type`. */
  cast(name: string, input: string, type: ElementType, output = name): string {
    return this.node('Cast', name, [input], { to: ELEMENTS[type].onnx }, output);
  }

  build(): OnnxModel {
    return {
      name: this.name,
      graph: {
        name: this.name,
        docString: this.documentation,
        node: this.nodes,
        input: this.inputs,
        output: this.outputs,
      },
      initializers: [...this.initializers.values()],
    };
  }
}

/** The ONNX number of an element type. */
export function onnxElementType(type: ElementType): number {
  return ELEMENTS[type].onnx;
}

function valueInfo(name: string, type: ElementType, dims: readonly Dim[]): onnx.IValueInfoProto {
  const dim = dims.map((d) => (typeof d === 'number' ? { dimValue: d } : { dimParam: d }));
  return { name, type: { tensorType: { elemType: ELEMENTS[type].onnx, shape: { dim } } } };
}

function attribute(name: string, value: Attribute): onnx.IAttributeProto {
  const { AttributeType } = onnx.AttributeProto;
  if (typeof value === 'number') return { name, type: AttributeType.INT, i: value };
  if (typeof value === 'string') return { name, type: AttributeType.STRING, s: Buffer.from(value) };
  if ('float' in value) return { name, type: AttributeType.FLOAT, f: value.float };
  return { name, type: AttributeType.INTS, ints: [...value] };
}
