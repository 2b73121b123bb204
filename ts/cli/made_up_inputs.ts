/** Inputs made up from a model's signature: the same ones every time, small and as valid as can be guessed. */
import { isAutomatic } from '../model/features';
import type { NativeSignature, NativeTensorSpec } from '../native';
import { arrayClasses, type ElementType, type Tensor, typeNumber } from '../tensor';

export interface MadeUp {
  /** Integers are below this. */
  maxId: number;
  /** By input: the number that fills it. */
  values: Readonly<Record<string, number>>;
}

export type Random = () => number;

/** Numbers from 0 to below 1 (mulberry32). */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const normal = (random: Random): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

const largest: Partial<Record<ElementType, number>> = { int8: 127, uint8: 255, int16: 32767, uint16: 65535 };

/** The bits of a half float from 0.25 to 2, of either sign. */
function halfFloat(random: Random): number {
  const [sign, exponent, fraction] = [random() < 0.5 ? 0 : 1, 13 + Math.floor(3 * random()), random()];
  return (sign << 15) | (exponent << 10) | Math.floor(1024 * fraction);
}

/** An element as its array stores it. Ids begin at 1: 0 is for padding. */
function element(type: ElementType, maxId: number, random: Random): number {
  if (type === 'float32' || type === 'float64') return normal(random);
  if (type === 'float16') return halfFloat(random);
  if (type === 'bool') return random() < 0.5 ? 0 : 1;
  const most = Math.min(maxId - 1, largest[type] ?? Infinity);
  return most < 1 ? 0 : 1 + Math.floor(most * random());
}

/** The bits of a half float that is a whole number or nearly so. */
function halfOf(value: number): number {
  if (value === 0) return 0;
  const exponent = Math.max(-14, Math.min(15, Math.floor(Math.log2(Math.abs(value)))));
  const fraction = Math.round((Math.abs(value) / 2 ** exponent - 1) * 1024);
  return ((value < 0 ? 1 : 0) << 15) | (((exponent + 15) << 10) + fraction);
}

function inputTensor(spec: NativeTensorSpec, length: number, { maxId, values }: MadeUp, random: Random): Tensor {
  const { name, type, batchAxis } = spec;
  const dims = spec.dims.map((dim, axis) => (axis === batchAxis ? 1 : dim < 0 ? length : dim));
  const number = typeNumber(type)!;
  const data = new arrayClasses[number]!(dims.reduce((product, dim) => product * dim, 1));
  // Rows share a batch only where what they share is equal.
  const filling = Object.hasOwn(values, name) ? values[name]! : batchAxis < 0 ? 1 : undefined;
  for (let i = 0; i < data.length; i++) {
    const value = filling === undefined ? element(type, maxId, random) : type === 'float16' ? halfOf(filling) : filling;
    data[i] = typeof data[0] === 'bigint' ? BigInt(value) : value;
  }
  return { type, dims, data };
}

/** One row for every input that the engine does not make; the length is that of every dynamic axis. */
export function madeUpRow(
  signature: NativeSignature,
  length: number,
  madeUp: MadeUp,
  random: Random,
): Record<string, Tensor> {
  const inputs = signature.inputs.filter(({ name }) => !isAutomatic(name));
  return Object.fromEntries(inputs.map((spec) => [spec.name, inputTensor(spec, length, madeUp, random)]));
}

/** Whether rows can differ in length. */
export function hasLengths(signature: NativeSignature): boolean {
  return signature.inputs.some(
    ({ dims, batchAxis }) => batchAxis >= 0 && dims.some((dim, axis) => dim < 0 && axis !== batchAxis),
  );
}
