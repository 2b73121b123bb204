/** An error whose message says all that there is to say: it is printed without a stack. */
export class Advice extends Error {
  readonly code = 'ADVICE';
}
