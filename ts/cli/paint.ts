/** Colours, on a terminal that wants them: elsewhere text is left as it is. */
import { styleText } from 'node:util';

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan';
export type Paint = (style: Style, text: string) => string;

/** `hasColors` knows NO_COLOR and TERM=dumb. */
export function paintFor(stream: NodeJS.WriteStream, wanted: boolean): Paint {
  const colours = wanted && stream.isTTY && stream.hasColors();
  return colours ? (style, text) => styleText(style, text, { validateStream: false }) : (_, text) => text;
}

/** Columns of equal width; those named in `right` hold numbers. `head` is painted as one line. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  right: ReadonlySet<number>,
  paint: Paint,
): string[] {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (right.has(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join('   ')
      .trimEnd();
  return [paint('dim', line(head)), ...rows.map(line)];
}
