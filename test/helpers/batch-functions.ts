/** Batch functions over plain items, for tests of batching. */

export const double = (items: number[]): number[] => items.map((item) => 2 * item);
export const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
export const same = <T>(items: T[]): T[] => [...items];

/** A sync function that remembers its batches. */
export function recorded<T>(): ((items: T[]) => T[]) & { batches: T[][] } {
  const batches: T[][] = [];
  return Object.assign(
    (items: T[]) => {
      batches.push([...items]);
      return items;
    },
    { batches },
  );
}
