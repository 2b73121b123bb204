/** Cuts the features of a call into rows, each as a call of that row alone would have it. Moves blocks, not elements. */
import { isolate, sliceOf } from './cache_values';
import type { Features } from '../model/features';
import type { NativeTensorSpec } from '../native';
import { arrayTypeNumber, type Feature, isTensor, type Tensor, type TensorLike, type TypedArray } from '../tensor';

/** One feature. `rows` is 0 where all rows share it. What is picked is a copy. */
interface Column {
  readonly name: string;
  readonly rows: number;
  pick(rows: readonly number[]): Feature;
}

/** A row of a call. */
export interface Row {
  /** The call's rows, among them this one. */
  readonly of: FeatureRows;
  readonly row: number;
  readonly features: Features;
}

export class FeatureRows {
  readonly #columns: readonly Column[];
  readonly count: number;

  private constructor(columns: readonly Column[], count: number) {
    this.#columns = columns;
    this.count = count;
  }

  /** For a function: axis 0 is the batch. Undefined for what cannot be cut; a call with it says what is wrong. */
  static forFunction(features: Features): FeatureRows | undefined {
    return FeatureRows.#cut(features, functionColumn);
  }

  /** For a model with these inputs. */
  static forModel(features: Features, inputs: readonly NativeTensorSpec[]): FeatureRows | undefined {
    return FeatureRows.#cut(features, (name, feature) => {
      const spec = inputs.find((input) => input.name === name);
      return spec === undefined ? undefined : modelColumn(spec, feature);
    });
  }

  static #cut(
    features: Features,
    columnOf: (name: string, feature: Feature) => Column | undefined,
  ): FeatureRows | undefined {
    const given: unknown = features;
    if (typeof given !== 'object' || given === null || isTensor(given) || ArrayBuffer.isView(given)) return undefined;
    const columns: Column[] = [];
    let count = 0;
    for (const [name, feature] of Object.entries(features) as [string, Feature | undefined][]) {
      if (feature === undefined) continue;
      const column = columnOf(name, feature);
      if (column === undefined || (column.rows > 0 && count > 0 && column.rows !== count)) return undefined;
      count = Math.max(count, column.rows);
      columns.push(column);
    }
    return count === 0 ? undefined : new FeatureRows(columns, count);
  }

  pick(rows: readonly number[]): Features {
    return Object.fromEntries(this.#columns.map((column) => [column.name, column.pick(rows)]));
  }

  all(): Row[] {
    return Array.from({ length: this.count }, (_, row) => ({ of: this, row, features: this.pick([row]) }));
  }
}

function functionColumn(name: string, feature: Feature): Column | undefined {
  if (isTensor(feature)) return tensorColumn(name, feature, 0);
  if (ArrayBuffer.isView(feature)) return arrayColumn(name, feature);
  return Array.isArray(feature) ? listColumn(name, feature) : undefined;
}

function modelColumn({ name, dims, batchAxis }: NativeTensorSpec, feature: Feature): Column | undefined {
  const scalarRows = dims.length === 1 && batchAxis === 0;
  const single = batchAxis < 0 ? 0 : 1;
  if (isTensor(feature)) {
    const rank = Array.isArray(feature.dims) ? feature.dims.length : -1;
    return rank === dims.length ? tensorColumn(name, feature, batchAxis) : undefined;
  }
  if (ArrayBuffer.isView(feature)) {
    return scalarRows ? arrayColumn(name, feature) : { name, rows: single, pick: () => sliceOf(feature) };
  }
  if (!Array.isArray(feature)) return undefined;
  const scalars = typeof feature[0] !== 'object';
  if (scalars && !scalarRows) return { name, rows: single, pick: () => [...(feature as number[])] };
  return batchAxis < 0 ? undefined : listColumn(name, feature);
}

function listColumn(name: string, list: readonly unknown[]): Column {
  return { name, rows: list.length, pick: (rows) => rows.map((row) => isolate(list[row])) as Feature };
}

/** A row is one element. */
function arrayColumn(name: string, array: TypedArray): Column | undefined {
  if (arrayTypeNumber(array) === undefined) return undefined;
  return { name, rows: array.length, pick: (rows) => gather(array, rows, 1, array.length, 1) };
}

/** `axis` is the batch, negative where there is none. */
function tensorColumn(name: string, { type, dims, data }: TensorLike, axis: number): Column | undefined {
  if (typeof type !== 'string' || !ArrayBuffer.isView(data) || arrayTypeNumber(data) === undefined) return undefined;
  if (!Array.isArray(dims) || axis >= dims.length || !dims.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) {
    return undefined;
  }
  const array = data as TypedArray;
  if (product(dims) !== array.length) return undefined;
  const own = [...(dims as number[])];
  if (axis < 0) return { name, rows: 0, pick: () => ({ type, dims: own, data: sliceOf(array) }) };
  const count = own[axis]!;
  const outer = product(own.slice(0, axis));
  const inner = product(own.slice(axis + 1));
  const pick = (rows: readonly number[]): TensorLike => ({
    type,
    dims: own.with(axis, rows.length),
    data: gather(array, rows, outer, count, inner),
  });
  return { name, rows: count, pick };
}

/** Of an array [outer, count, inner]: [outer, rows, inner]. */
function gather(array: TypedArray, rows: readonly number[], outer: number, count: number, inner: number): TypedArray {
  if (outer === 1 && rows.length === 1) return sliceOf(array, rows[0]! * inner, (rows[0]! + 1) * inner);
  const picked = sliceOf(array, 0, outer * rows.length * inner);
  for (let o = 0, to = 0; o < outer; o++) {
    for (const row of rows) {
      const from = (o * count + row) * inner;
      picked.set(array.subarray(from, from + inner) as never, to);
      to += inner;
    }
  }
  return picked;
}

/** The same elements with axis 0 moved to `axis`. */
export function moveBatch({ type, dims, data }: Tensor, axis: number): Tensor {
  if (axis === 0) return { type, dims, data };
  const [count = 1, ...own] = dims;
  const outer = product(own.slice(0, axis));
  const inner = product(own.slice(axis));
  const moved = sliceOf(data);
  for (let row = 0; row < count; row++) {
    for (let o = 0; o < outer; o++) {
      const from = (row * outer + o) * inner;
      moved.set(data.subarray(from, from + inner) as never, (o * count + row) * inner);
    }
  }
  return { type, dims: own.toSpliced(axis, 0, count), data: moved };
}

export function product(dims: readonly number[]): number {
  return dims.reduce((elements, dim) => elements * dim, 1);
}
