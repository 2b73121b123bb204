/** Rounds into one figure. */

/** The value at `part` (0 to 1) of ascending values: the nearest rank. */
export function quantile(ascending: ArrayLike<number>, part: number): number {
  if (ascending.length === 0) return NaN;
  const rank = Math.ceil(part * ascending.length) - 1;
  return ascending[Math.min(ascending.length - 1, Math.max(0, rank))]!;
}

export function sorted(values: Iterable<number>): Float64Array {
  return Float64Array.from(values).sort();
}

export function median(values: Iterable<number>): number {
  const ascending = sorted(values);
  const middle = ascending.length / 2;
  if (ascending.length % 2 === 1) return ascending[Math.floor(middle)]!;
  return ascending.length === 0 ? NaN : (ascending[middle - 1]! + ascending[middle]!) / 2;
}

/** How far rounds lie apart: (largest - smallest) / |median|. */
export function spread(values: readonly number[]): number {
  const range = Math.max(...values) - Math.min(...values);
  return range === 0 ? 0 : range / Math.abs(median(values));
}
