/**
 * Writes an ONNX model as protobuf, one weight at a time: a model of 1.3 GB needs memory for its largest
 * tensor only. onnx-proto encodes the small messages; this file frames them. Protobuf allows it, because
 * an embedded message is its length followed by its fields, in any order.
 */
import type { FileHandle } from 'node:fs/promises';
import { onnx } from 'onnx-proto';
import { IR_VERSION, OPSET, onnxElementType, type Initializer, type OnnxModel } from './onnx-builder';

/** A protobuf message cannot be longer; beyond it ONNX needs external data files, which we do not write. */
const MAX_MODEL_BYTES = 2 ** 31 - 1;

/** Field numbers of onnx.proto. */
const MODEL_GRAPH = 7;
const GRAPH_INITIALIZER = 5;
const TENSOR_RAW_DATA = 9;

/** Called after each piece with the bytes written so far and in all. */
export type Progress = (bytesDone: number, bytesTotal: number) => void;

/** Writes `model` to an open file. */
export async function writeModel(file: FileHandle, model: OnnxModel, progress?: Progress): Promise<void> {
  const { pieces, byteLength } = layOut(model);
  let done = 0;
  for (const piece of pieces) {
    const bytes = piece();
    for (let offset = 0; offset < bytes.length;) {
      offset += (await file.write(bytes, offset)).bytesWritten;
    }
    done += bytes.length;
    progress?.(done, byteLength);
  }
}

/** The whole model in memory, for small ones. */
export function encodeModel(model: OnnxModel): Uint8Array {
  return Buffer.concat(layOut(model).pieces.map((piece) => piece()));
}

/** Throws a RangeError if the model would be too large for one file. */
function layOut(model: OnnxModel): { pieces: (() => Uint8Array)[]; byteLength: number } {
  const head = onnx.ModelProto.encode({
    irVersion: IR_VERSION,
    opsetImport: operatorSets(model),
    producerName: 'batched',
  }).finish();
  const graph = onnx.GraphProto.encode(model.graph).finish();
  const tensors = model.initializers.map(layOutTensor);
  const graphBytes = tensors.reduce((sum, tensor) => sum + tensor.byteLength, graph.length);
  const prefix = Buffer.concat([head, lengthPrefix(MODEL_GRAPH, graphBytes), graph]);
  const byteLength = prefix.length - graph.length + graphBytes;
  if (byteLength > MAX_MODEL_BYTES) {
    const gigabytes = (byteLength / 1e9).toFixed(2);
    throw new RangeError(
      `model "${model.name}" would take ${gigabytes} GB; an ONNX file holds less than 2.147 GB. ` +
        'Take a smaller size, or fp16 or int8.',
    );
  }
  return { pieces: [() => prefix, ...tensors.flatMap((tensor) => tensor.pieces)], byteLength };
}

/** Other runtimes refuse a domain they don't know, so ONNX Runtime's own is named only where used. */
function operatorSets(model: OnnxModel): onnx.IOperatorSetIdProto[] {
  const fused = model.graph.node?.some((node) => node.domain === 'com.microsoft');
  const standard = { domain: '', version: OPSET };
  return fused ? [standard, { domain: 'com.microsoft', version: 1 }] : [standard];
}

function layOutTensor(tensor: Initializer): { pieces: (() => Uint8Array)[]; byteLength: number } {
  const header = onnx.TensorProto.encode({
    name: tensor.name,
    dims: [...tensor.dims],
    dataType: onnxElementType(tensor.type),
  }).finish();
  const rawPrefix = lengthPrefix(TENSOR_RAW_DATA, tensor.byteLength);
  const messageBytes = header.length + rawPrefix.length + tensor.byteLength;
  const prefix = Buffer.concat([lengthPrefix(GRAPH_INITIALIZER, messageBytes), header, rawPrefix]);
  return {
    pieces: [() => prefix, () => rawBytes(tensor)],
    byteLength: prefix.length + tensor.byteLength,
  };
}

function rawBytes(tensor: Initializer): Uint8Array {
  const view = tensor.data();
  if (view.byteLength !== tensor.byteLength) {
    throw new Error(`initializer "${tensor.name}" gave ${view.byteLength} bytes instead of ${tensor.byteLength}`);
  }
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

/** Tag and length of a length-delimited field (wire type 2). */
function lengthPrefix(field: number, length: number): Uint8Array {
  const bytes = [(field << 3) | 2];
  let rest = length;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  bytes.push(rest);
  return Uint8Array.from(bytes);
}
