/**
 * IEEE 754 half precision. JavaScript has no Float16Array in Node 20, so halves travel as their bit
 * patterns in a Uint16Array.
 */

/** One float32, to be read as its bits. */
const scratch = new DataView(new ArrayBuffer(4));

/** Bit pattern of the half nearest to `value` (ties to even); overflow becomes an infinity. */
export function toHalf(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x7f800000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00);
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65520 and above round to infinity
  if (magnitude >= 0x38800000) {
    // Normal: rebias the exponent by 127 - 15, then round away the 13 low bits of the mantissa.
    const rebiased = magnitude - 0x38000000;
    return sign | ((rebiased + 0xfff + ((rebiased >>> 13) & 1)) >>> 13);
  }
  // Subnormal: units of 2^-24, the last place of a float32 near 0.5, so the addition does the rounding.
  scratch.setUint32(0, magnitude);
  scratch.setFloat32(0, scratch.getFloat32(0) + 0.5);
  return sign | (scratch.getUint32(0) - 0x3f000000);
}

/** The value of one half. */
export function fromHalf(half: number): number {
  const exponent = (half >>> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  const sign = half & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : NaN;
  return sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

let decodeTable: Float32Array | undefined; // 256 KiB, made at first use

/** Halves to float32, exactly. */
export function halvesToFloats(halves: Uint16Array): Float32Array {
  decodeTable ??= Float32Array.from({ length: 0x10000 }, (_, bits) => fromHalf(bits));
  const table = decodeTable;
  const floats = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) floats[i] = table[halves[i]!]!;
  return floats;
}

/** Float32 to halves, rounded to nearest even. */
export function floatsToHalves(floats: Float32Array): Uint16Array {
  const halves = new Uint16Array(floats.length);
  for (let i = 0; i < floats.length; i++) halves[i] = toHalf(floats[i]!);
  return halves;
}
