/** Deadlines of the calls of a batched function: one timer serves them all. */
import type { ItemCall } from './item_call';

/** setTimeout's bound. */
export const longestTimerMs = 2 ** 31 - 1;

export class CallDeadlines<T, U> {
  readonly #calls = new Set<ItemCall<T, U>>();
  readonly #expired: (call: ItemCall<T, U>) => void;
  /** None of the calls is due before. */
  #first = Infinity;
  #timer: NodeJS.Timeout | undefined;

  constructor(expired: (call: ItemCall<T, U>) => void) {
    this.#expired = expired;
  }

  watch(call: ItemCall<T, U>, due: number): void {
    this.#calls.add(call);
    if (due < this.#first) this.#await(due);
  }

  forget(call: ItemCall<T, U>): void {
    if (this.#calls.delete(call) && this.#calls.size === 0) this.#await(Infinity);
  }

  /** Asked before each batch too, since a long batch keeps timers from firing. */
  expire(now: number): void {
    if (now >= this.#first) this.#sweep(now);
  }

  expireNow(): void {
    if (this.#first < Infinity) this.expire(performance.now());
  }

  #sweep(now: number): void {
    let next = Infinity;
    for (const call of this.#calls) {
      const { due } = call.request!;
      if (due > now) next = Math.min(next, due);
      else this.#expired(call);
    }
    this.#await(next);
  }

  #await(due: number): void {
    clearTimeout(this.#timer);
    this.#first = due;
    if (due === Infinity) return;
    const wait = Math.min(Math.ceil(due - performance.now()), longestTimerMs);
    this.#timer = setTimeout(() => this.#sweep(performance.now()), wait);
  }
}
