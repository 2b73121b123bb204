/** Tensors out of plain numbers, and back. */
import type { ElementType, Tensor } from '../../ts';
import { arrayClasses, typeNumber } from '../../ts/tensor';

export type Tensors = Record<string, Tensor>;

export function tensor(type: ElementType, dims: number[], values: readonly number[]): Tensor {
  const data = new arrayClasses[typeNumber(type)!]!(values.length);
  const wide = data instanceof BigInt64Array || data instanceof BigUint64Array;
  values.forEach((value, i) => (data[i] = wide ? BigInt(value) : value));
  return { type, dims, data };
}

export const float = (dims: number[], values: readonly number[]): Tensor => tensor('float32', dims, values);
export const valuesOf = ({ data }: Tensor): number[] => Array.from(data as Float32Array, Number);
/** A tensor of rank 2 as rows of numbers. */
export const rowsOf = (given: Tensor): number[][] => {
  const values = valuesOf(given);
  const [rows, width] = given.dims as [number, number];
  return Array.from({ length: rows }, (_, row) => values.slice(row * width, (row + 1) * width));
};
/** Sums of the rows, as a tensor [rows]. */
export const sums = (given: Tensor): Tensor =>
  float(
    [given.dims[0]!],
    rowsOf(given).map((row) => row.reduce((sum, value) => sum + value, 0)),
  );
