/**
 * Batches of a user function run on the JavaScript thread, and leave it now and then: when those of one turn of the
 * event loop have taken longer than the limit, the next one waits for the next turn.
 */
export class Stretch {
  /** In milliseconds. Tests that count turns take the clock out of it. */
  static longestMs = 8;

  readonly #goOn: () => void;
  /** When the first batch of this turn was asked for; negative: none was. */
  #start = -1;
  #over = false;

  /** `goOn` is called in the next turn when a batch had to wait for it. */
  constructor(goOn: () => void) {
    this.#goOn = goOn;
  }

  /** Whether another batch may start in this turn; `now` is the time of performance.now(). */
  mayStart(now: number): boolean {
    if (this.#start < 0) {
      this.#start = now;
      setImmediate(this.#nextTurn);
    }
    this.#over ||= now - this.#start > Stretch.longestMs;
    return !this.#over;
  }

  readonly #nextTurn = (): void => {
    this.#start = -1;
    if (!this.#over) return;
    this.#over = false;
    this.#goOn();
  };
}
