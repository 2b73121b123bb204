/** Rows of tensors become one padded tensor. Shapes are handled here, elements are moved by native code. */
import { fromNative } from '../errors';
import { native } from '../native';
import type { PaddingSide } from '../options';
import { arrayClasses, elementTypes, type Tensor, trueLength, type TypedArray, typeNumber } from '../tensor';

/** A row to be packed: where it lies and how much of it counts (on the side that is not padded). */
export interface PackRow {
  tensor: Tensor;
  place: number;
  own: readonly number[];
}

/** Stacks rows into one tensor, padded to the longest on every axis. */
export function packRows(type: number, rows: readonly PackRow[], side: PaddingSide, padValue: number): Tensor {
  const rank = rows[0]!.tensor.dims.length;
  const dims = [rows.length, ...rows[0]!.own];
  const sources: TypedArray[] = [];
  const places = new Map<Tensor, number>();
  const perRow = 2 * rank + 1;
  const numbers = new Float64Array(rows.length * perRow);
  rows.forEach(({ tensor, place, own }, r) => {
    let source = places.get(tensor);
    if (source === undefined) {
      source = sources.push(tensor.data) - 1;
      places.set(tensor, source);
    }
    let at = r * perRow;
    numbers[at++] = source;
    numbers[at++] = place;
    for (const dim of tensor.dims) numbers[at++] = dim;
    for (let axis = 0; axis < own.length; axis++) {
      numbers[at++] = own[axis]!;
      if (own[axis]! > dims[axis + 1]!) dims[axis + 1] = own[axis]!;
    }
  });
  const data = new arrayClasses[type]!(dims.reduce((product, dim) => product * dim, 1));
  const sideNumber = side === 'left' ? 1 : 0;
  const refusal = native.pack(data, Float64Array.from(dims), type, sideNumber, padValue, sources, rank, numbers);
  if (refusal !== undefined) throw fromNative(refusal.code, refusal.message);
  return { type: elementTypes[type]!, dims, data };
}

/** A tensor of its own, with the same elements. */
export function copyOf({ type, dims, data }: Tensor): Tensor {
  const copy = new arrayClasses[typeNumber(type)!]!(trueLength(data));
  // By bytes: a Buffer's slice() would not copy, and a Float16Array would convert.
  new Uint8Array(copy.buffer).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return { type, dims: [...dims], data: copy };
}
