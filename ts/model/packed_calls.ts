/**
 * Calls of this tick that are described and copied here, in memory shared with native code, which then takes them all
 * with one call: that is cheaper than a call into native code for each, where reading a typed array alone costs as
 * much as copying a small one here.
 */
import { absent, type FeatureEncoder, notAnArray } from './features';
import { CallNumbers, type NativeEngine } from '../native';
import { arrayClasses, trueLength, type TypedArray } from '../tensor';

const alignment = 8;

/** A Float16Array is no Uint16Array to `set`, which would convert its elements. */
const float16Array = 2;

export class PackedCalls {
  readonly #engine: NativeEngine;
  readonly #encoder: FeatureEncoder;
  readonly #numbers: Float64Array;
  readonly #stride: number;
  readonly #most: number;
  /** The memory of the elements, as each class of typed array sees it. */
  readonly #views: TypedArray[];
  readonly #bytes: number;
  #count = 0;
  #used = 0;

  constructor(engine: NativeEngine, encoder: FeatureEncoder) {
    const { numbers, arena, signature } = engine;
    this.#engine = engine;
    this.#encoder = encoder;
    this.#numbers = numbers;
    this.#stride = CallNumbers.header + signature.inputs.length * CallNumbers.perInput;
    this.#most = numbers.length / this.#stride;
    this.#bytes = arena.byteLength;
    this.#views = arrayClasses.map((Class) => new Class(arena, 0, arena.byteLength / Class.BYTES_PER_ELEMENT));
  }

  /**
   * Takes the call that the encoder has just described, with its elements; false: it has some that cannot be copied
   * from here. After each call that was taken, the next is described behind it.
   */
  take(slot: number): boolean {
    const { data, arrays, elements } = this.#encoder;
    let at = this.#used;
    for (let i = 0; i < data.length; i++) {
      const array = arrays[i]!;
      if (array === absent) continue;
      if (array === notAnArray || array === float16Array) return false;
      const view = this.#views[array]!;
      const size = view.BYTES_PER_ELEMENT;
      const count = elements[i]!;
      // Its true length: a subclass or an object of somebody's own making may say another.
      if (count === 0 || trueLength(data[i] as TypedArray) !== count || at + count * size > this.#bytes) return false;
      (view as Float64Array).set(data[i] as Float64Array, at / size);
      at = Math.ceil((at + count * size) / alignment) * alignment;
    }
    const base = this.#count * this.#stride;
    this.#numbers[base + CallNumbers.slot] = slot;
    this.#numbers[base + CallNumbers.offset] = this.#used;
    this.#used = at;
    this.#encoder.base = ++this.#count * this.#stride;
    return true;
  }

  /** There is no room to describe another call. */
  get full(): boolean {
    return this.#count === this.#most;
  }

  /**
   * Gives the calls to native code. `described`: one more call, which was not taken, is described behind them, in part
   * or whole; it becomes the first.
   */
  handOver(described: boolean): void {
    const count = this.#count;
    if (count === 0) return;
    this.#engine.submitPacked(count); // throws where the stack ends: then nothing was taken
    this.#count = this.#used = this.#encoder.base = 0;
    if (described) this.#numbers.copyWithin(0, count * this.#stride, (count + 1) * this.#stride);
  }
}
