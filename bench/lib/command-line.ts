/** What `read` makes of the command line. A wrong one is told in a line, and ends the program with exit code 2. */
export function readCommandLine<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    console.error((error as Error).message);
    process.exit(2);
  }
}

/** The whole number of at least `least` that option `name` was given as, or `otherwise`. */
export function wholeNumber<T>(name: string, text: string | undefined, least: number, otherwise: T): number | T {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (text !== '' && Number.isSafeInteger(value) && value >= least) return value;
  throw new RangeError(`--${name} is a whole number of at least ${least}, not ${text}`);
}

/** The number above 0 that option `name` was given as, or `otherwise`. */
export function positiveNumber<T>(name: string, text: string | undefined, otherwise: T): number | T {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (value > 0 && value < Infinity) return value;
  throw new RangeError(`--${name} is a number above 0, not ${text}`);
}
