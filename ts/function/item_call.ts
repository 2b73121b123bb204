/** A call of a batched function, from its arrival to its result. */

/** What a call asks for beside its results. */
export interface CallRequest {
  /** Lower runs first, within bounds. */
  readonly priority: number;
  /** Milliseconds from the call; negative: none. */
  readonly deadlineMs: number;
  /** The same, on performance.now()'s scale; Infinity: none. */
  readonly due: number;
}

export class ItemCall<T, U> {
  /** Rows without a result. */
  left: number;
  /** The native queue has been asked to take it. A plain single item cannot be settled before it has. */
  handed = true;
  settled = false;
  /** Lets go of the signal and the deadline. */
  release: (() => void) | undefined = undefined;

  // There is one of these objects for every call: few fields, and no array for a single item.
  constructor(
    /** The item, or the items of an array call. */
    readonly input: T | readonly T[],
    /** The row's slot, or those of an array call. */
    readonly slots: number | readonly number[],
    /** Results of an array call; undefined for a single item. */
    readonly results: U[] | undefined,
    /** Undefined: nothing. */
    readonly request: CallRequest | undefined,
    readonly resolve: (value: never) => void,
    readonly reject: (error: unknown) => void,
  ) {
    this.left = results === undefined ? 1 : results.length;
  }

  get rows(): number {
    return this.results === undefined ? 1 : this.results.length;
  }

  itemAt(place: number): T {
    return this.results === undefined ? (this.input as T) : (this.input as readonly T[])[place]!;
  }

  slotAt(place: number): number {
    return typeof this.slots === 'number' ? this.slots : this.slots[place]!;
  }

  /** Takes a row's result; with the last one the call is settled. */
  take(place: number, result: U): void {
    if (this.results !== undefined) {
      this.results[place] = result;
      if (--this.left > 0) return;
    }
    this.end();
    this.resolve((this.results ?? result) as never);
  }

  fail(error: unknown): void {
    this.end();
    this.reject(error);
  }

  private end(): void {
    if (this.settled) throw new Error('internal error of batched: a call was settled twice');
    this.settled = true;
    this.release?.();
  }
}
