/** Inference over user functions, the way in: rows of tensors become one padded tensor per feature. */
import type { BatchedError } from '../errors';
import type { PaddingSide } from '../options';
import { type PackRow, packRows } from './pack_rows';
import {
  arrayClasses,
  arrayTypeNumber,
  describe,
  type ElementType,
  elementTypes,
  type Feature,
  invalidInput,
  isTensor,
  type Tensor,
  trueLength,
  type TypedArray,
  typeNumber,
} from '../tensor';

/** One feature of a call with the batch on axis 0; rows of a ragged feature each have their own source. */
export interface Source {
  type: number;
  /** By row: the tensor it lies in, and its place there. */
  tensors: Tensor[];
  ragged: boolean;
}

/** The features of one call, checked. */
export interface CallFeatures {
  /** The first feature, as the caller gave it. */
  first: Feature;
  names: readonly string[];
  sources: readonly Source[];
  rows: number;
  /** Rows of calls with equal numbers may share a batch. */
  group: number;
}

/** One row of a call: an item to the queue. */
export interface FeatureRow {
  call: CallFeatures;
  row: number;
}

/** By element type: the number that `arrayTypeNumber` gives for the class that stores it. */
const storage = arrayClasses.map((Class) => arrayTypeNumber(new Class(0)));

/** Whether the elements of a tensor may lie in `data`. Asked by name: other realms have classes of their own. */
function stores(type: number, data: ArrayBufferView): boolean {
  const own = arrayTypeNumber(data);
  return own !== undefined && (own === type || own === storage[type]);
}

export function tensorOf(name: string, value: unknown): Tensor {
  if (isTensor(value)) {
    // Each is read once, and kept: what the caller's object says later does not matter.
    const { type: typeName, dims: given, data } = value as { type: ElementType; dims: unknown; data: unknown };
    const type = typeNumber(typeName);
    if (type === undefined) {
      throw invalidInput(`'${name}' is of type ${describe(typeName)} (known: ${elementTypes.join(', ')})`);
    }
    if (!ArrayBuffer.isView(data) || !stores(type, data)) {
      throw invalidInput(`'${name}': the data of a ${typeName} tensor cannot be ${describe(data)}`);
    }
    const dims = Array.isArray(given) ? (given.slice() as number[]) : [];
    if (dims.length === 0 || dims.length > 8) {
      throw invalidInput(`'${name}': a tensor needs 1 to 8 dims, got ${describe(given)}`);
    }
    let elements = 1;
    for (const dim of dims) {
      if (!Number.isSafeInteger(dim) || dim < 0) throw invalidInput(`'${name}': dims [${dims.join(', ')}] are wrong`);
      elements *= dim;
    }
    if (elements !== trueLength(data)) {
      throw invalidInput(
        `'${name}': dims [${dims.join(', ')}] want ${elements} elements, its data has ${trueLength(data)}`,
      );
    }
    return { type: typeName, dims, data: data as TypedArray };
  }
  if (ArrayBuffer.isView(value)) {
    const type = arrayTypeNumber(value);
    if (type === undefined) throw invalidInput(`'${name}' cannot be ${describe(value)}`);
    const data = value as TypedArray;
    return { type: elementTypes[type]!, dims: [trueLength(data)], data };
  }
  throw invalidInput(`'${name}' must be a tensor, a typed array or an array of rows, got ${describe(value)}`);
}

/** A row given as numbers: float64, or int64 for bigints. */
function rowTensor(name: string, row: unknown): Tensor {
  if (Array.isArray(row)) {
    const [first] = row as unknown[];
    const bigint = typeof first === 'bigint';
    if (!row.every((value) => typeof value === (bigint ? 'bigint' : 'number'))) {
      const other = (row as unknown[]).find((value) => typeof value !== (bigint ? 'bigint' : 'number'));
      throw invalidInput(`'${name}': a row must be ${bigint ? 'bigints' : 'numbers'} alone, got ${describe(other)}`);
    }
    const data = bigint ? BigInt64Array.from(row as bigint[]) : Float64Array.from(row as number[]);
    return { type: bigint ? 'int64' : 'float64', dims: [1, data.length], data };
  }
  if (!ArrayBuffer.isView(row))
    throw invalidInput(`'${name}': a row must be a typed array or numbers, got ${describe(row)}`);
  const { type, dims, data } = tensorOf(name, row);
  return { type, dims: [1, ...dims], data };
}

function sourceOf(name: string, feature: Feature): { source: Source; rows: number } {
  if (Array.isArray(feature)) {
    const list = feature as readonly unknown[];
    if (list.length === 0) throw invalidInput(`'${name}' is an empty array`);
    if (typeof list[0] === 'number' || typeof list[0] === 'bigint') {
      const { data, type } = rowTensor(name, list);
      return {
        source: { type: typeNumber(type)!, tensors: [{ type, dims: [data.length], data }], ragged: false },
        rows: data.length,
      };
    }
    const tensors = list.map((row) => rowTensor(name, row));
    const type = typeNumber(tensors[0]!.type)!;
    for (const tensor of tensors) {
      if (typeNumber(tensor.type) !== type) throw invalidInput(`'${name}': rows differ in type`);
    }
    return { source: { type, tensors, ragged: true }, rows: tensors.length };
  }
  const tensor = tensorOf(name, feature);
  return { source: { type: typeNumber(tensor.type)!, tensors: [tensor], ragged: false }, rows: tensor.dims[0]! };
}

/** Checks the features of a call. */
export function callFeatures(features: Readonly<Record<string, Feature>>): CallFeatures {
  const given: unknown = features;
  if (typeof given !== 'object' || given === null || isTensor(given) || ArrayBuffer.isView(given)) {
    throw invalidInput(`features must be an object of tensors by name, got ${describe(given)}`);
  }
  const names = Object.keys(features);
  if (names.length === 0) throw invalidInput('features has no tensors');
  let rows = -1;
  let first: Feature | undefined;
  const sources = names.map((name) => {
    const feature = features[name]!;
    first ??= feature;
    const made = sourceOf(name, feature);
    if (rows >= 0 && made.rows !== rows) {
      throw invalidInput(`'${names[0]!}' and '${name}' differ in rows: ${rows} and ${made.rows}`);
    }
    rows = made.rows;
    return made.source;
  });
  if (rows === 0) throw invalidInput(`'${names[0]!}' has no rows`);
  return { first: first!, names, sources, rows, group: 0 };
}

export function rowDims(source: Source, row: number): readonly number[] {
  return source.tensors[source.ragged ? row : 0]!.dims.slice(1);
}

/** The length of a row: the first feature's axis 1, or 1 for scalars. */
export function rowLength({ call, row }: FeatureRow): number {
  return rowDims(call.sources[0]!, row)[0] ?? 1;
}

/** Rows with equal keys may share a batch where nothing is padded. */
export function shapeKey({ call, row }: FeatureRow): string {
  return call.sources.map((source) => rowDims(source, row).join('x')).join(';');
}

/** What a feature is padded with. */
export function padOf(padTokens: Readonly<Record<string, number>>, name: string): number {
  return Object.hasOwn(padTokens, name) ? padTokens[name]! : 0;
}

/** The error for a row whose memory has been transferred away since its call; undefined for a sound one. */
export function lostMemory({ call, row }: FeatureRow): BatchedError | undefined {
  for (let feature = 0; feature < call.sources.length; feature++) {
    const source = call.sources[feature]!;
    const { dims, data } = source.tensors[source.ragged ? row : 0]!;
    if (trueLength(data) !== dims.reduce((product, dim) => product * dim, 1)) {
      return invalidInput(
        `'${call.names[feature]!}': the memory of the tensor was transferred or resized after the call`,
      );
    }
  }
  return undefined;
}

/** One padded tensor per feature, of the rows of a batch. */
export function stackFeatures(
  rows: readonly FeatureRow[],
  side: PaddingSide,
  padTokens: Readonly<Record<string, number>>,
): Record<string, Tensor> {
  const { names, sources } = rows[0]!.call;
  const stacked: Record<string, Tensor> = {};
  names.forEach((name, feature) => {
    const packed = rows.map(({ call, row }): PackRow => {
      const source = call.sources[feature]!;
      return {
        tensor: source.tensors[source.ragged ? row : 0]!,
        place: source.ragged ? 0 : row,
        own: rowDims(source, row),
      };
    });
    stacked[name] = packRows(sources[feature]!.type, packed, side, padOf(padTokens, name));
  });
  return stacked;
}
