/** What `read` makes of the command line. A wrong one is told in a line, and ends the program with exit code 2. */
export function readCommandLine<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    console.error((error as Error).message);
    process.exit(2);
  }
}
