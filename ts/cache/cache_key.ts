/** What tells items apart in a cache: a string made of their contents, never of their identity. */
import { createHash, type Hash } from 'node:crypto';
import { types } from 'node:util';

/** Longer strings go by their digest: some stores bound the length of a key. */
const longestPlainKey = 100;

/**
 * The default key of an item: equal for equal contents, so that an object or a typed array that is used again with
 * other contents is another item. `1` and `'1'` differ, and so do `0` and `-0`, `undefined` and `null`, a Float32Array
 * and a Float64Array. Of an object the own enumerable string keys count, in any order.
 *
 * @throws TypeError for what cannot be told by its contents: functions, symbols, instances of classes
 */
export function itemKey(item: unknown): string {
  if (typeof item !== 'string') {
    const text = scalar(item);
    if (text !== undefined) return text;
  } else if (item.length <= longestPlainKey && !/\p{Surrogate}/u.test(item)) {
    return `s:${item}`;
  }
  return `h:${new Contents().of(item)}`;
}

/** One token for what is neither a string nor an object. No token is the beginning of another. */
function scalar(value: unknown): string | undefined {
  switch (typeof value) {
    case 'number':
      return `n:${Object.is(value, -0) ? '-0' : String(value)};`;
    case 'bigint':
      return `i:${value.toString()};`;
    case 'boolean':
    case 'undefined':
      return `${String(value)};`;
    case 'function':
    case 'symbol':
      throw new TypeError(`a ${typeof value} cannot be told by its contents: give cacheKey`);
    default:
      return value === null ? 'null;' : undefined;
  }
}

/** A digest over self-delimiting tokens: what differs gives different streams. */
class Contents {
  readonly #hash: Hash = createHash('sha256');
  #text = '';

  of(value: unknown): string {
    this.#add(value);
    this.#flush();
    return this.#hash.digest('base64url');
  }

  #add(value: unknown): void {
    if (typeof value === 'string') {
      this.#text += `s${value.length}:${value}`;
      return;
    }
    const text = scalar(value);
    if (text === undefined) this.#object(value as object);
    else this.#text += text;
  }

  #object(value: object): void {
    if (ArrayBuffer.isView(value)) {
      this.#bytes(Object.prototype.toString.call(value), value.buffer, value.byteOffset, value.byteLength);
    } else if (types.isAnyArrayBuffer(value)) {
      this.#bytes('buffer', value, 0, value.byteLength);
    } else if (Array.isArray(value)) {
      this.#list(`[${value.length}:`, value);
    } else if (types.isDate(value)) {
      this.#text += `date:${value.getTime()}`;
    } else if (types.isMap(value)) {
      this.#list(`map${value.size}:`, [...value].flat());
    } else if (types.isSet(value)) {
      this.#list(`set${value.size}:`, [...value]);
    } else if (isPlainObject(value)) {
      const names = Object.keys(value).sort();
      this.#text += `{${names.length}:`;
      for (const name of names) {
        this.#add(name);
        this.#add(value[name]);
      }
    } else {
      const name = (value.constructor as { name?: string } | undefined)?.name ?? 'an unnamed class';
      throw new TypeError(`an instance of ${name} cannot be told by its contents: give cacheKey`);
    }
    this.#text += ';';
  }

  #list(opening: string, values: readonly unknown[]): void {
    this.#text += opening;
    for (const value of values) this.#add(value);
  }

  #bytes(name: string, buffer: ArrayBufferLike, offset: number, length: number): void {
    this.#text += `${name}${length}:`;
    this.#flush();
    this.#hash.update(new Uint8Array(buffer, offset, length));
  }

  #flush(): void {
    // UTF-16 as it is: UTF-8 has one form for all lone surrogates.
    this.#hash.update(Buffer.from(this.#text, 'utf16le'));
    this.#text = '';
  }
}

/** Made by `{}`, `Object.create(null)` or the like, in whichever realm. */
export function isPlainObject(value: object): value is Record<string, unknown> {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
