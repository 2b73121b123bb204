/** Scales and numbers of a chart. */

export interface Scale {
  /** From a value to its place. */
  at: (value: number) => number;
  ticks: number[];
}

/** Ratios above this are shown on a logarithmic scale: else the small values would lie on the axis. */
const mostLinear = 6;

/**
 * A scale for positive values between two places, with round ticks; `from` is the place of the smallest.
 */
export function scaleFor(values: readonly number[], from: number, to: number): Scale {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  if (most / least <= mostLinear) {
    const step = roundStep(most / 4);
    const top = Math.ceil((most * 1.02) / step) * step;
    const ticks = Array.from({ length: Math.round(top / step) + 1 }, (_, i) => i * step);
    return { at: (value) => from + ((to - from) * value) / top, ticks };
  }
  const [low, high] = [Math.log(least / 1.15), Math.log(most * 1.15)];
  const ticks = roundValues(least / 1.15, most * 1.15);
  return { at: (value) => from + ((to - from) * (Math.log(value) - low)) / (high - low), ticks };
}

/** 1, 2 or 5 times a power of ten, at least `value`. */
function roundStep(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 5].find((digit) => digit * power >= value * 0.999) ?? 10);
}

/** Round values within bounds: 1, 2, 5 in every decade, or powers of ten alone where these are many. */
function roundValues(least: number, most: number): number[] {
  const all: number[] = [];
  for (let exponent = Math.floor(Math.log10(least)); 10 ** exponent <= most; exponent++) {
    for (const digit of [1, 2, 5]) all.push(Number(`${digit}e${exponent}`));
  }
  const within = all.filter((value) => value >= least && value <= most);
  const tens = within.filter((value) => Number.isInteger(Math.log10(value)));
  return within.length > 8 && tens.length > 2 ? tens : within;
}

/** For a reader: three digits, and thousands apart. */
export function readable(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString('en-US');
  return String(Number(value.toPrecision(value >= 1 ? 3 : 2)));
}

/** Places of labels, in the order of the wanted ones, moved so that no two are closer than `gap`. */
export function spreadLabels(wanted: readonly number[], gap: number): number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a]! - wanted[b]!);
  const placed = [...wanted];
  for (let pass = 0; pass < 50; pass++) {
    for (let i = 1; i < order.length; i++) {
      const [above, below] = [order[i - 1]!, order[i]!];
      const overlap = gap - (placed[below]! - placed[above]!);
      if (overlap <= 0.01) continue;
      placed[above]! -= overlap / 2;
      placed[below]! += overlap / 2;
    }
  }
  return placed;
}
