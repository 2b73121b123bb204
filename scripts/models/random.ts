// Taken out of the global object: in Jest's realms each use of a global costs more than the arithmetic around it.
const { cos, floor, imul, log, PI, sin, sqrt } = Math;

/**
 * Seeded random numbers for weights: xoshiro128** (Blackman and Vigna), seeded through splitmix32 so
 * that neighbouring seeds give unrelated streams. The same seed gives the same model on every machine.
 */
export class Random {
  private a: number;
  private b: number;
  private c: number;
  private d: number;

  /** `stream` names an independent sequence of the same seed: one per tensor, so order does not matter. */
  constructor(seed: number, stream = '') {
    let state = hash(stream) ^ seed;
    const next = (): number => {
      state = (state + 0x9e3779b9) | 0;
      let z = state;
      z = imul(z ^ (z >>> 16), 0x21f0aaad);
      z = imul(z ^ (z >>> 15), 0x735a2d97);
      return (z ^ (z >>> 15)) | 0;
    };
    [this.a, this.b, this.c, this.d] = [next(), next(), next(), next() | 1]; // never all zero
  }

  /** Uniform in [0, 2^32). */
  uint32(): number {
    const scrambled = imul(this.b, 5);
    const result = imul((scrambled << 7) | (scrambled >>> 25), 9);
    const t = this.b << 9;
    this.c ^= this.a;
    this.d ^= this.b;
    this.b ^= this.c;
    this.a ^= this.d;
    this.c ^= t;
    this.d = (this.d << 11) | (this.d >>> 21);
    return result >>> 0;
  }

  /** Uniform in [0, 1). */
  uniform(): number {
    return this.uint32() * 2 ** -32;
  }

  /** Uniform integer in [0, bound). The bias of at most bound / 2^32 does not matter here. */
  below(bound: number): number {
    return floor(this.uniform() * bound);
  }

  /** `length` normal values of the given mean and standard deviation (Box-Muller, both values used). */
  normals(length: number, deviation: number, mean = 0): Float32Array {
    const values = new Float32Array(length);
    for (let i = 0; i < length; i += 2) {
      const radius = deviation * sqrt(-2 * log(1 - this.uniform())); // 1 - u is never 0
      const angle = 2 * PI * this.uniform();
      values[i] = mean + radius * cos(angle);
      if (i + 1 < length) values[i + 1] = mean + radius * sin(angle);
    }
    return values;
  }

  /** Shuffles in place (Fisher-Yates) and returns the same array. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [items[i], items[j]] = [items[j]!, items[i]!];
    }
    return items;
  }
}

/** FNV-1a over the UTF-16 units of a name. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = imul(h ^ text.charCodeAt(i), 0x01000193);
  return h;
}
