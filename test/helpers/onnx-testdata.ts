/**
 * Debian's libonnx-testdata (or a folder like its, in $ONNX_TESTDATA): some thousand small models of the ONNX project,
 * each with inputs and what they give.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { onnx } from 'onnx-proto';
import type { ElementType, Tensor } from '../../ts';

const FOLDER = process.env['ONNX_TESTDATA'] ?? '/usr/share/libonnx-testdata/data';

export interface TestModel {
  readonly name: string;
  readonly path: string;
  /** By the graph's own names; undefined for what is no tensor of a type that we know. */
  readonly inputs: Record<string, Tensor | undefined>;
  readonly outputs: Record<string, Tensor | undefined>;
}

export const haveTestModels = (): boolean => existsSync(FOLDER);

/** The models' folders, such as node/test_abs. */
export function listTestModels(): string[] {
  return ['node', 'simple', 'pytorch-operator', 'pytorch-converted'].flatMap((kind) =>
    readdirSync(join(FOLDER, kind)).map((name) => `${kind}/${name}`),
  );
}

/** A model with the first of its sets of data; undefined where there is no such pair. */
export function readTestModel(name: string): TestModel | undefined {
  const path = join(FOLDER, name, 'model.onnx');
  const data = join(FOLDER, name, 'test_data_set_0');
  if (!existsSync(path) || !existsSync(data)) return undefined;
  const graph = onnx.ModelProto.decode(readFileSync(path)).graph!;
  const made = new Set(graph.initializer!.map((tensor) => tensor.name));
  const read = (kind: string, names: string[]): Record<string, Tensor | undefined> =>
    Object.fromEntries(names.map((own, i) => [own, readTensor(join(data, `${kind}_${i}.pb`))]));
  const inputs = graph.input!.map(({ name: own }) => own!).filter((own) => !made.has(own));
  return {
    name,
    path,
    inputs: read('input', inputs),
    outputs: read(
      'output',
      graph.output!.map(({ name: own }) => own!),
    ),
  };
}

type Elements = Tensor['data'];

/** By ONNX's number of a type: its name, and the array that its little-endian bytes are. */
const TYPES: Readonly<Record<number, [ElementType, (bytes: ArrayBuffer) => Elements] | undefined>> = {
  1: ['float32', (bytes) => new Float32Array(bytes)],
  2: ['uint8', (bytes) => new Uint8Array(bytes)],
  3: ['int8', (bytes) => new Int8Array(bytes)],
  4: ['uint16', (bytes) => new Uint16Array(bytes)],
  5: ['int16', (bytes) => new Int16Array(bytes)],
  6: ['int32', (bytes) => new Int32Array(bytes)],
  7: ['int64', (bytes) => new BigInt64Array(bytes)],
  9: ['bool', (bytes) => new Uint8Array(bytes)],
  10: ['float16', (bytes) => new Uint16Array(bytes)],
  11: ['float64', (bytes) => new Float64Array(bytes)],
  12: ['uint32', (bytes) => new Uint32Array(bytes)],
  13: ['uint64', (bytes) => new BigUint64Array(bytes)],
};

function readTensor(path: string): Tensor | undefined {
  if (!existsSync(path)) return undefined;
  // A sequence or an optional is no such message: it reads as nonsense, or not at all.
  let proto: onnx.TensorProto;
  try {
    proto = onnx.TensorProto.decode(readFileSync(path));
  } catch {
    return undefined;
  }
  const known = TYPES[proto.dataType];
  const raw = proto.rawData as Uint8Array | undefined;
  if (known === undefined || raw === undefined) return undefined;
  const [type, view] = known;
  const dims = proto.dims.map(Number);
  const data = view(Uint8Array.from(raw).buffer);
  return data.length === dims.reduce((product, dim) => product * dim, 1) ? { type, dims, data } : undefined;
}
