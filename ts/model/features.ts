/**
 * Describes the features of a call to native code: names, types and shapes are checked here, in numbers; elements are
 * never touched.
 */
import { CallNumbers, type NativeSignature, type NativeTensorSpec } from '../native';
import {
  arrayTypeNumber,
  describe,
  elementTypes,
  type Feature,
  invalidInput,
  isTensor,
  type TensorLike,
  typeNumber,
} from '../tensor';

/** What a call takes: a feature for each input, by name. All have as many rows. */
export type Features = Readonly<Record<string, Feature>>;

const float16 = 2;
const uint8 = 7;
const uint16 = 8;
const bool = 11;
const noRows = -1;

/** In {@link FeatureEncoder.arrays}: an input that the engine makes, and one that is not a single typed array. */
export const absent = -1;
export const notAnArray = -2;

/** Inputs that the engine makes where a caller leaves them out. */
const automatic = new Set(['attention_mask', 'token_type_ids']);

export const isAutomatic = (input: string): boolean => automatic.has(input);

interface InputPlan {
  spec: NativeTensorSpec;
  type: number;
  /** Where the input's numbers begin. */
  at: number;
  /** Elements of a row that the model fixes. */
  fixed: number;
  /** The row's only dynamic axis (in the tensor's dims), -1 if none, -2 if several. */
  dynamic: number;
  /** The dims of a single row; the dynamic one is written anew for each. */
  oneRow: number[];
}

function planOf(spec: NativeTensorSpec, index: number): InputPlan {
  let fixed = 1;
  let dynamic = -1;
  spec.dims.forEach((dim, axis) => {
    if (axis === spec.batchAxis) return;
    if (dim >= 0) fixed *= dim;
    else dynamic = dynamic === -1 ? axis : -2;
  });
  const oneRow = spec.dims.map((dim, axis) => (axis === spec.batchAxis ? 1 : dim));
  const type = typeNumber(spec.type)!;
  return { spec, type, at: CallNumbers.header + index * CallNumbers.perInput, fixed, dynamic, oneRow };
}

export class FeatureEncoder {
  readonly #inputs: InputPlan[];
  readonly #names: Set<string>;
  readonly #numbers: Float64Array;
  /** Where in the numbers the next call is described. Moves when calls are handed over, as a getter may make happen. */
  base = 0;
  // Of the last call that was encoded, by input: the argument for native code, the number of the typed array's class,
  // and the elements that its dims say it has.
  readonly data: unknown[];
  readonly arrays: number[];
  readonly elements: number[];

  constructor(signature: NativeSignature, numbers: Float64Array) {
    this.#inputs = signature.inputs.map(planOf);
    this.#names = new Set(signature.inputs.map(({ name }) => name));
    this.#numbers = numbers;
    this.data = signature.inputs.map(() => undefined);
    this.arrays = signature.inputs.map(() => absent);
    this.elements = signature.inputs.map(() => 0);
  }

  /** Writes the call's numbers and `data`; gives the number of rows. Throws BATCHED_INVALID_INPUT. */
  encode(features: Features): number {
    if (typeof (features as unknown) !== 'object' || (features as unknown) === null) {
      throw invalidInput(`features must be an object of tensors by input name, got ${describe(features)}`);
    }
    let given = 0;
    let known = 0;
    for (const _ in features) given++;
    let rows = noRows;
    let first = '';
    for (let i = 0; i < this.#inputs.length; i++) {
      const input = this.#inputs[i]!;
      const feature = features[input.spec.name];
      if (feature !== undefined) known++;
      const own = feature === undefined ? this.#absent(i, input, features) : this.#feature(i, input, feature);
      if (own === noRows || own === rows) continue;
      if (rows !== noRows) {
        throw invalidInput(`inputs '${first}' and '${input.spec.name}' differ in rows: ${rows} and ${own}`);
      }
      rows = own;
      first = input.spec.name;
    }
    if (given > known) this.#refuseUnknown(features);
    if (rows === noRows) throw invalidInput(`no input was given (the model wants: ${[...this.#names].join(', ')})`);
    this.#numbers[this.base + CallNumbers.rows] = rows;
    return rows;
  }

  #refuseUnknown(features: Features): void {
    for (const name in features) {
      if (this.#names.has(name)) continue;
      throw invalidInput(`the model has no input '${name}' (it has: ${[...this.#names].join(', ')})`);
    }
  }

  #absent(i: number, { spec, at }: InputPlan, features: Features): number {
    if (!isAutomatic(spec.name)) {
      this.#refuseUnknown(features); // a misspelt name says more
      throw invalidInput(`input '${spec.name}' is missing`);
    }
    this.#numbers[this.base + at + CallNumbers.form] = CallNumbers.absent;
    this.data[i] = undefined;
    this.arrays[i] = absent;
    return noRows;
  }

  #feature(i: number, input: InputPlan, feature: Feature): number {
    if (ArrayBuffer.isView(feature)) return this.#array(i, input, feature);
    if (isTensor(feature)) return this.#tensor(i, input, feature);
    if (Array.isArray(feature)) return this.#list(i, input, feature as readonly unknown[]);
    throw invalidInput(
      `input '${input.spec.name}' must be a tensor, a typed array or an array of rows, got ${describe(feature)}`,
    );
  }

  #tensor(i: number, input: InputPlan, tensor: TensorLike): number {
    const { spec } = input;
    const type = typeNumber(tensor.type);
    if (type === undefined) {
      throw invalidInput(
        `input '${spec.name}' is of type ${describe(tensor.type)} (known: ${elementTypes.join(', ')})`,
      );
    }
    const data: unknown = tensor.data;
    if (!ArrayBuffer.isView(data) || arrayTypeNumber(data) === undefined) {
      throw invalidInput(`input '${spec.name}': the data of a tensor must be a typed array, got ${describe(data)}`);
    }
    const { dims } = tensor;
    if (!Array.isArray(dims) || dims.length > CallNumbers.mostRank) {
      throw invalidInput(`input '${spec.name}': dims must be an array of at most 8 numbers, got ${describe(dims)}`);
    }
    if (dims.length !== spec.dims.length) {
      throw invalidInput(
        `input '${spec.name}' has rank ${dims.length} (dims [${dims.join(', ')}]); the model wants rank ${spec.dims.length}`,
      );
    }
    if (!stores(arrayTypeNumber(data)!, type)) {
      throw invalidInput(`input '${spec.name}' is a tensor of ${tensor.type}, but its data is ${describe(data)}`);
    }
    return this.#dense(i, input, type, data, dims as readonly number[]);
  }

  /** A typed array has no dims: it is one row, or a row per element where a row is a scalar. */
  #array(i: number, input: InputPlan, array: ArrayBufferView, fromNumbers = false): number {
    const { spec } = input;
    let type = arrayTypeNumber(array);
    if (type === undefined) throw invalidInput(`input '${spec.name}' must be a typed array, got ${describe(array)}`);
    // JavaScript keeps float16 in a Uint16Array and bool in a Uint8Array.
    if (type === uint16 && input.type === float16) type = float16;
    if (type === uint8 && input.type === bool) type = bool;
    const { length } = array as Float32Array;
    if (spec.dims.length === 1 && spec.batchAxis === 0)
      return this.#dense(i, input, type, array, [length], fromNumbers);
    if (input.dynamic === -2) {
      throw invalidInput(`input '${spec.name}' has several dynamic dimensions: give a tensor with dims`);
    }
    if (input.dynamic === -1 ? length !== input.fixed : input.fixed === 0 || length % input.fixed !== 0) {
      throw invalidInput(
        `input '${spec.name}': ${length} elements do not make one row of [${this.#rowShape(spec)}]; ` +
          'for several rows give a tensor or an array of rows',
      );
    }
    if (input.dynamic >= 0) input.oneRow[input.dynamic] = length / input.fixed;
    return this.#dense(i, input, type, array, input.oneRow, fromNumbers);
  }

  #list(i: number, input: InputPlan, list: readonly unknown[]): number {
    const { spec, at } = input;
    if (list.length === 0) throw invalidInput(`input '${spec.name}' is an empty array`);
    const [first] = list;
    const scalars = typeof first === 'number' || typeof first === 'bigint' || typeof first === 'boolean';
    if (scalars && (spec.batchAxis < 0 || spec.dims.length === 1)) {
      return this.#array(i, input, typedArrayOf(spec.name, list), true);
    }
    if (spec.batchAxis < 0) throw invalidInput(`input '${spec.name}' is shared by the batch: give one value, not rows`);
    this.#numbers[this.base + at + CallNumbers.form] = CallNumbers.ragged;
    this.#numbers[this.base + at + CallNumbers.type] = input.type;
    this.arrays[i] = notAnArray;
    // An array of scalars is one row.
    this.data[i] = scalars ? [typeof first === 'number' ? list : typedArrayOf(spec.name, list)] : list;
    return scalars ? 1 : list.length;
  }

  #dense(
    i: number,
    input: InputPlan,
    type: number,
    data: ArrayBufferView,
    dims: readonly number[],
    fromNumbers = false,
  ): number {
    const { spec } = input;
    // Integers widen to floats, but a float tensor where the model wants integers is a mistake, whatever is in it.
    if (type !== input.type && type <= float16 && input.type > float16 && !fromNumbers) {
      throw invalidInput(`input '${spec.name}' is ${elementTypes[type]!}; the model wants ${spec.type}`);
    }
    const numbers = this.#numbers;
    let at = this.base + input.at;
    let elements = 1;
    const rank = spec.dims.length; // and not dims.length, which a getter may answer differently by now
    numbers[at + CallNumbers.form] = CallNumbers.dense;
    numbers[at + CallNumbers.type] = type;
    numbers[at + CallNumbers.rank] = rank;
    for (let axis = 0; axis < rank; axis++) {
      const dim = dims[axis]!;
      at = this.base + input.at; // a getter of that dim may have moved the description
      if (!Number.isSafeInteger(dim) || dim < 0) {
        throw invalidInput(`input '${spec.name}': dims [${dims.join(', ')}] must be whole numbers of at least 0`);
      }
      numbers[at + CallNumbers.dims + axis] = dim;
      elements *= dim;
    }
    this.data[i] = data;
    this.arrays[i] = arrayTypeNumber(data)!;
    this.elements[i] = elements;
    if (spec.batchAxis < 0) return noRows;
    const rows = numbers[at + CallNumbers.dims + spec.batchAxis]!;
    if (rows === 0) throw invalidInput(`input '${spec.name}' has no rows (dims [${dims.join(', ')}])`);
    return rows;
  }

  #rowShape(spec: NativeTensorSpec): string {
    return spec.dims
      .filter((_, axis) => axis !== spec.batchAxis)
      .map((dim, axis) => (dim < 0 ? spec.symbols[axis < spec.batchAxis ? axis : axis + 1] || '?' : dim))
      .join(', ');
  }
}

/** Whether an array of the class that holds `array` holds elements of `type`. */
function stores(array: number, type: number): boolean {
  return array === type || (type === float16 && array === uint16) || (type === bool && array === uint8);
}

/** The few numbers of scalar rows or of a shared value, as a typed array. */
function typedArrayOf(name: string, list: readonly unknown[]): ArrayBufferView {
  const [first] = list;
  const kind = typeof first;
  if (!list.every((value) => typeof value === kind)) {
    throw invalidInput(`input '${name}' mixes ${kind}s with other values`);
  }
  if (kind === 'bigint') return bigIntArray(name, list as readonly bigint[]);
  if (kind === 'boolean') return Uint8Array.from(list as boolean[], Number);
  return Float64Array.from(list as number[]);
}

/** Signed where that holds them all: an array of 64-bit integers would wrap what does not fit. */
function bigIntArray(name: string, list: readonly bigint[]): ArrayBufferView {
  const outside = (bits: (value: bigint) => bigint) => list.find((value) => bits(value) !== value);
  if (outside((value) => BigInt.asIntN(64, value)) === undefined) return BigInt64Array.from(list);
  const wrong = outside((value) => BigInt.asUintN(64, value));
  if (wrong === undefined) return BigUint64Array.from(list);
  throw invalidInput(`input '${name}': ${wrong} does not fit into 64 bits`);
}
