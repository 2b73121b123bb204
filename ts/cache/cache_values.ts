/** How results go into a cache and come out of it. */
import { deserialize, serialize } from 'node:v8';
import { isPlainObject } from './cache_key';

// %TypedArray%.prototype.slice: copies, whichever the class and realm, where a Buffer's own slice() gives a view.
// eslint-disable-next-line @typescript-eslint/unbound-method
const typedArraySlice = (Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array).slice;

/** A copy of the elements from `start` to `end`, of the same class, in memory of its own. */
export function sliceOf<A extends ArrayBufferView>(array: A, start?: number, end?: number): A {
  return typedArraySlice.call(array as unknown as Uint8Array, start, end) as unknown as A;
}

/**
 * A copy of plain data: of typed arrays, arrays and plain objects (so of tensors), to any depth. Rows of a batch are
 * views into one block of memory, and a copy holds its own bytes only. Everything else (instances of classes, maps,
 * functions) is handed on as it is.
 */
export function isolate<V>(value: V): V {
  if (typeof value !== 'object' || value === null) return value;
  try {
    return copy(value, new Map()) as V;
  } catch {
    return value; // nested too deeply, or a getter that throws
  }
}

function copy(value: unknown, seen: Map<object, unknown>): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const known = seen.get(value);
  if (known !== undefined) return known;
  if (ArrayBuffer.isView(value)) {
    const copied =
      value instanceof DataView
        ? new DataView(value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength))
        : sliceOf(value);
    seen.set(value, copied);
    return copied;
  }
  if (Array.isArray(value)) {
    const copied: unknown[] = new Array(value.length);
    seen.set(value, copied);
    value.forEach((element, i) => (copied[i] = copy(element, seen)));
    return copied;
  }
  if (!isPlainObject(value)) return value;
  const copied = Object.create(Object.getPrototypeOf(value) as object | null) as Record<string, unknown>;
  seen.set(value, copied);
  for (const name of Object.keys(value)) {
    Object.defineProperty(copied, name, {
      value: copy(value[name], seen),
      writable: true,
      enumerable: true,
      configurable: true,
    });
  }
  return copied;
}

/** About how many bytes of memory a value takes. */
export function bytesOf(value: unknown, seen = new Set<object>()): number {
  if (typeof value === 'string') return 16 + 2 * value.length;
  if (typeof value !== 'object' || value === null) return 8;
  if (seen.has(value)) return 8;
  seen.add(value);
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return 128 + value.byteLength;
  let bytes = 32;
  for (const [name, part] of Object.entries(value)) {
    bytes += (Array.isArray(value) ? 8 : 8 + name.length) + bytesOf(part, seen);
  }
  return bytes;
}

const mark = 'batched:v8:';

/** Whether a value comes out of JSON as it went in. */
export function survivesJson(value: unknown): boolean {
  switch (typeof value) {
    case 'string':
      return !value.startsWith(mark);
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0);
    case 'boolean':
      return true;
    case 'object':
      if (value === null) return true;
      if (Array.isArray(value)) return Array.from(value as unknown[]).every(survivesJson); // a hole becomes undefined
      return isPlainObject(value) && !('toJSON' in value) && Object.values(value).every(survivesJson);
    default:
      return false;
  }
}

/** Whether a value cannot be told from a miss, or from what {@link pack} makes. */
export function needsPacking(value: unknown): boolean {
  return value === undefined || value === null || (typeof value === 'string' && value.startsWith(mark));
}

/** Any plain data as a string, so that it survives stores that keep JSON or text. */
export function pack(value: unknown): string {
  return mark + serialize(value).toString('base64');
}

/** What {@link pack} was given; everything else as it is. Throws for a string that was cut or changed. */
export function unpack(value: unknown): unknown {
  if (typeof value !== 'string' || !value.startsWith(mark)) return value;
  return deserialize(Buffer.from(value.slice(mark.length), 'base64'));
}
