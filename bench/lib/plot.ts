/** A line plot as SVG: a few series over time, each with its own scale on a strip of its own. */
export interface Strip {
  readonly title: string;
  readonly unit: string;
  readonly values: readonly number[];
}

const width = 900;
const stripHeight = 130;
const left = 70;
const top = 30;

/** `minutes`: the time of every value. All strips begin at zero, so that a slope looks like what it is. */
export function plot(title: string, minutes: readonly number[], strips: readonly Strip[]): string {
  const right = width - 20;
  const last = Math.max(...minutes);
  const x = (minute: number): number => left + ((right - left) * minute) / last;
  const parts = strips.map(({ title, unit, values }, s) => {
    const base = top + (s + 1) * stripHeight - 20;
    const most = Math.max(...values) || 1;
    const y = (value: number): number => base - ((stripHeight - 45) * value) / most;
    const points = values.map((value, i) => `${x(minutes[i]!).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
    return [
      `<text x="${left}" y="${base - stripHeight + 38}">${title}${unit && ` (${unit})`}</text>`,
      `<text x="${left - 8}" y="${y(most) + 4}" text-anchor="end">${Number(most.toPrecision(3))}</text>`,
      `<text x="${left - 8}" y="${base + 4}" text-anchor="end">0</text>`,
      `<path d="M${left} ${y(most)}V${base}H${right}" fill="none" stroke="#999"/>`,
      `<polyline points="${points}" fill="none" stroke="#0b6" stroke-width="1.5"/>`,
    ].join('\n');
  });
  const height = top + strips.length * stripHeight + 20;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    `<text x="${left}" y="20" font-size="14">${title}</text>`,
    ...parts,
    `<text x="${right}" y="${height - 8}" text-anchor="end">${last.toFixed(0)} minutes</text>`,
    `</svg>\n`,
  ].join('\n');
}
