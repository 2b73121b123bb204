/** Tensors and features: structurally those of onnxruntime-common, so its tensors pass straight in and out. */
import { BatchedError } from './errors';

/** The element types, in the order of `DType` in native/engine/tensor.h. */
export const elementTypes = [
  'float32',
  'float64',
  'float16',
  'int8',
  'int16',
  'int32',
  'int64',
  'uint8',
  'uint16',
  'uint32',
  'uint64',
  'bool',
] as const;

/** `float16` is kept in a Uint16Array (its bits), `bool` in a Uint8Array. */
export type ElementType = (typeof elementTypes)[number];

/** The typed arrays of JavaScript that hold elements of tensors. */
export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint8ClampedArray
  | Uint16Array
  | Uint32Array
  | BigUint64Array;

/** A dense tensor, row-major: `data.length` is the product of `dims`. */
export interface Tensor<Data extends TypedArray = TypedArray> {
  /** What the elements are; `data` is of the class that stores it. */
  readonly type: ElementType;
  /** The shape, at most 8 axes; axis 0 is the batch unless `batchAxis` says otherwise. */
  readonly dims: readonly number[];
  /** The elements. Of a result it is a view into the memory of its batch: `slice()` what you keep for long. */
  readonly data: Data;
}

/**
 * What a caller may give for one input: a {@link Tensor} with the batch on its axis 0, a typed array (the elements of
 * one row, or one scalar per row where a row is a scalar), an array of numbers (the same), or an array with a typed
 * array or an array of numbers for each row; rows may differ in length. Elements become those of the model's type where
 * it has their values: integers any integer type that holds them, any numbers a float type, `float16` included (rounded,
 * and refused beyond 65504). Floats do not become integers, unless they come as plain numbers that are integers.
 */
export type Feature = TensorLike | TypedArray | readonly number[] | readonly (TypedArray | readonly number[])[];

/** A tensor as others make them: `type` is checked at the call. */
export interface TensorLike {
  /** One of {@link ElementType}. */
  readonly type: string;
  /** The shape. */
  readonly dims: readonly number[];
  /** A typed array. */
  readonly data: unknown;
}

interface TypedArrayClass {
  new (buffer: ArrayBuffer, byteOffset: number, length: number): TypedArray;
  new (length: number): TypedArray;
  readonly BYTES_PER_ELEMENT: number;
}

/** By number of the element type: the class that stores it. */
export const arrayClasses: readonly TypedArrayClass[] = [
  Float32Array,
  Float64Array,
  Uint16Array,
  Int8Array,
  Int16Array,
  Int32Array,
  BigInt64Array,
  Uint8Array,
  Uint16Array,
  Uint32Array,
  BigUint64Array,
  Uint8Array,
];

const numberOfType = new Map<string, number>(elementTypes.map((type, number) => [type, number]));

/** By a typed array's class name: the number of the element type it holds when nothing else is said. */
const numberOfArray = new Map<string, number>([
  ['Float32Array', 0],
  ['Float64Array', 1],
  ['Float16Array', 2],
  ['Int8Array', 3],
  ['Int16Array', 4],
  ['Int32Array', 5],
  ['BigInt64Array', 6],
  ['Uint8Array', 7],
  ['Uint8ClampedArray', 7],
  ['Uint16Array', 8],
  ['Uint32Array', 9],
  ['BigUint64Array', 10],
]);

/** The number of an element type, or undefined for one that batched does not know. */
export function typeNumber(type: string): number | undefined {
  return numberOfType.get(type);
}

const typedArrayPrototype = Object.getPrototypeOf(Uint8Array.prototype) as object;

/** The getter that all typed arrays inherit, as a function of the array. */
function inherited<V>(name: PropertyKey): (array: ArrayBufferView) => V {
  // eslint-disable-next-line @typescript-eslint/unbound-method -- `call` binds it anew each time
  const { get } = Object.getOwnPropertyDescriptor(typedArrayPrototype, name)!;
  return Function.prototype.call.bind(get!) as (array: ArrayBufferView) => V;
}

/** A typed array's length, whatever its `length` says. */
export const trueLength = inherited<number>('length');

/** The name of a typed array's class, whatever it calls itself and whichever realm it is from; undefined for others. */
const trueName = inherited<string | undefined>(Symbol.toStringTag);

/** The element type's number by the array's class, undefined for what is not a typed array (a DataView, say). */
export function arrayTypeNumber(array: ArrayBufferView): number | undefined {
  const name = trueName(array);
  return name === undefined ? undefined : numberOfArray.get(name);
}

export function isTensor(value: unknown): value is TensorLike {
  return (
    typeof value === 'object' && value !== null && 'dims' in value && 'data' in value && !ArrayBuffer.isView(value)
  );
}

export function invalidInput(message: string): BatchedError {
  return new BatchedError('BATCHED_INVALID_INPUT', message);
}

/** What a value is, for messages. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return 'an array';
  if (ArrayBuffer.isView(value)) return `a ${trueName(value) ?? 'DataView'}`;
  if (typeof value === 'string')
    return `the string ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`;
  if (typeof value === 'object') return `an object (${Object.prototype.toString.call(value).slice(8, -1)})`;
  if (typeof value === 'function') return 'a function';
  return typeof value === 'symbol' ? value.toString() : `${typeof value} ${value as number}`;
}
