/**
 * Inference over user functions, the way in: rows of tensors become one padded tensor per feature. Shapes are handled
 * here, elements are moved by native code.
 */
import { type BatchedError, fromNative } from '../errors';
import { native } from '../native';
import type { PaddingSide } from '../options';
import type { OutputTrims } from './output_trims';
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
interface Source {
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

function padOf(padTokens: Readonly<Record<string, number>>, name: string): number {
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

/** How many of each the tables of {@link FeatureGroups} keep; beyond that they begin anew. */
const mostGroups = 1024;

/**
 * Says which rows may share a batch: those whose features have the same names, types and ranks, and with padding side
 * `'none'` the same shapes. A wrong or unusual call thus runs alone and cannot fail others.
 */
export class FeatureGroups {
  readonly #side: PaddingSide;
  readonly #padTokens: Readonly<Record<string, number>>;
  /** By the sorted names: their order in the first call that had them. */
  readonly #orders = new Map<string, readonly string[]>();
  readonly #groups = new Map<string, number>();
  readonly #trims: OutputTrims;
  #next = 0;

  constructor(side: PaddingSide, padTokens: Readonly<Record<string, number>>, trims: OutputTrims) {
    this.#side = side;
    this.#padTokens = padTokens;
    this.#trims = trims;
  }

  /** The call with its features in the order of the first such call, and its group. */
  arrange(call: CallFeatures): CallFeatures {
    const names = this.#order(call.names);
    const sources = names === call.names ? call.sources : names.map((name) => call.sources[call.names.indexOf(name)]!);
    let key = JSON.stringify(names);
    for (const { type, tensors } of sources) key += `${type}/${tensors[0]!.dims.length};`;
    return {
      first: call.first,
      names,
      sources,
      rows: call.rows,
      group: this.#number(key, () => this.#check(names, sources)),
    };
  }

  of(row: FeatureRow): number {
    const { group } = row.call;
    return this.#side === 'none' ? this.#number(`${group}:${shapeKey(row)}`) : group;
  }

  #order(names: readonly string[]): readonly string[] {
    const key = JSON.stringify([...names].sort());
    const known = this.#orders.get(key);
    if (known !== undefined) return known;
    if (this.#orders.size >= mostGroups) this.#orders.clear();
    this.#orders.set(key, names);
    return names;
  }

  #number(key: string, check?: () => void): number {
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    check?.();
    if (this.#groups.size >= mostGroups) this.#groups.clear();
    this.#groups.set(key, ++this.#next);
    return this.#next;
  }

  #check(names: readonly string[], sources: readonly Source[]): void {
    this.#trims.checkCall(names, sources);
    names.forEach((name, i) => {
      const { type } = sources[i]!;
      const value = padOf(this.#padTokens, name);
      if (!padFits(elementTypes[type]!, value)) {
        throw invalidInput(`'${name}' is ${elementTypes[type]!}, which cannot hold its pad value ${value}`);
      }
    });
  }
}

function padFits(type: ElementType, value: number): boolean {
  if (type.startsWith('float')) return true;
  if (type === 'bool') return value === 0 || value === 1;
  const bits = Number(/\d+/.exec(type));
  const [least, above] = type.startsWith('u') ? [0, 2 ** bits] : [-(2 ** (bits - 1)), 2 ** (bits - 1)];
  return Number.isInteger(value) && value >= least && value < above;
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

export function copyOf({ type, dims, data }: Tensor): Tensor {
  const copy = new arrayClasses[typeNumber(type)!]!(trueLength(data));
  // By bytes: a Buffer's slice() would not copy, and a Float16Array would convert.
  new Uint8Array(copy.buffer).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return { type, dims: [...dims], data: copy };
}
