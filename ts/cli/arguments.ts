/** What the words of a command line mean. A wrong one is refused with the word and what was expected. */
import { InvalidArgumentError } from 'commander';

function whole(text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('It is a whole number of at least 1.');
  return value;
}

export const positiveCount = (text: string): number => whole(text);

export function seconds(text: string): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (!(value > 0 && value <= 3600)) throw new InvalidArgumentError('It is a number above 0, at most 3600.');
  return value;
}

/** `16,64,256`: ascending, each once. */
export function counts(text: string): number[] {
  const values = text.split(',').map((part) => whole(part.trim()));
  return [...new Set(values)].sort((a, b) => a - b);
}

/** `state=1`, as often as it is given, as a record. */
export function namedNumber(text: string, previous: Record<string, number> = {}): Record<string, number> {
  const at = text.lastIndexOf('=');
  const value = at < 1 || at === text.length - 1 ? NaN : Number(text.slice(at + 1));
  if (Number.isNaN(value)) throw new InvalidArgumentError('It is a name and a number, such as state=1.');
  return { ...previous, [text.slice(0, at)]: value };
}

/** As often as it is given, as a list. */
export function names(text: string, previous: string[] = []): string[] {
  return [...previous, text];
}

export function chartFile(text: string): string {
  if (!/\.(svg|png)$/i.test(text)) throw new InvalidArgumentError('It is the name of an .svg or a .png file.');
  return text;
}
