/** The calls of a tick, on their way to the native queue: one hand-over for all of them. */
import type { ItemCall } from './item_call';
import type { NativeFunctionQueue } from '../native';

/** Of a call for the queue: rows, priority and deadline. */
const numbersPerCall = 3;

const none = new Uint32Array(0);

export class EnteringCalls<T, U> {
  readonly #owners: readonly (ItemCall<T, U> | undefined)[];
  /** Of the calls that have entered. */
  #rows = 0;
  /** The same with those of the call that is just entering. Should it fail, where the stack ends say, they don't count. */
  #end = 0;
  /** The calls, once one of them is more than a plain single item; before that there are as many as rows. */
  #calls: ItemCall<T, U>[] = [];

  // By row; empty where no row has a length or a group. Reused from tick to tick, as `#numbers` is.
  #slots = new Uint32Array(64);
  #lengths: Uint32Array;
  #groups: Uint32Array;
  #numbers = new Float64Array(64 * numbersPerCall);

  /** `owners`: the calls by slot. */
  constructor(owners: readonly (ItemCall<T, U> | undefined)[], measured: boolean, grouped: boolean) {
    this.#owners = owners;
    this.#lengths = measured ? new Uint32Array(64) : none;
    this.#groups = grouped ? new Uint32Array(64) : none;
  }

  get empty(): boolean {
    return this.#rows === 0;
  }

  /** Before the rows of a call. */
  begin(): void {
    this.#end = this.#rows;
  }

  addRow(slot: number, length: number, group: number): void {
    const at = this.#end;
    if (at === this.#slots.length) this.#makeRoom();
    this.#slots[at] = slot;
    if (this.#lengths.length > 0) this.#lengths[at] = length;
    if (this.#groups.length > 0) this.#groups[at] = group;
    this.#end = at + 1;
  }

  /** After the rows of a plain single item: it has entered. */
  addSingle(call: ItemCall<T, U>): void {
    if (this.#calls.length > 0) this.addCall(call);
    else this.#rows = this.#end;
  }

  /** After the rows of any other call. */
  addCall(call: ItemCall<T, U>): void {
    if (this.#calls.length === 0) {
      for (let at = 0; at < this.#rows; at++) this.#calls.push(this.#owners[this.#slots[at]!]!);
    }
    this.#calls.push(call);
    call.handed = false;
    this.#rows = this.#end;
  }

  /** Gives the calls that the queue refused. */
  handOver(queue: NativeFunctionQueue): ItemCall<T, U>[] {
    const rows = this.#rows;
    if (rows === 0) return [];
    if (this.#calls.length > 0) return this.#handOverCalls(queue);
    const admitted = queue.admitSingles(this.#slots, this.#lengths, rows);
    this.#rows = 0;
    if (admitted === rows) return [];
    return Array.from(this.#slots.subarray(admitted, rows), (slot) => this.#owners[slot]!);
  }

  #handOverCalls(queue: NativeFunctionQueue): ItemCall<T, U>[] {
    const calls = this.#calls;
    this.#calls = [];
    this.#rows = 0;
    if (this.#numbers.length < numbersPerCall * calls.length) {
      this.#numbers = new Float64Array(2 * numbersPerCall * calls.length);
    }
    let from = 0;
    let to = 0;
    let count = 0;
    for (const call of calls) {
      const { rows, request } = call;
      if (!call.settled) {
        this.#numbers.set([rows, request?.priority ?? 0, request?.deadlineMs ?? -1], numbersPerCall * count);
        call.handed = true;
        calls[count++] = call;
        if (from > to) this.#moveRows(from, from + rows, to);
        to += rows;
      }
      from += rows;
    }
    const refused = queue.admit(this.#slots, this.#lengths, this.#groups, this.#numbers, count);
    if (refused === 0) return [];
    return calls.filter((_, i) => i < count && this.#numbers[numbersPerCall * i]! < 0);
  }

  /** Closes the gap of calls that were aborted within the tick. */
  #moveRows(from: number, end: number, to: number): void {
    for (const rows of [this.#slots, this.#lengths, this.#groups]) {
      if (rows.length > 0) rows.copyWithin(to, from, end);
    }
  }

  #makeRoom(): void {
    const larger = (rows: Uint32Array): Uint32Array<ArrayBuffer> => {
      const copy = new Uint32Array(2 * rows.length);
      copy.set(rows);
      return copy;
    };
    const [slots, lengths, groups] = [larger(this.#slots), larger(this.#lengths), larger(this.#groups)];
    this.#slots = slots;
    this.#lengths = lengths;
    this.#groups = groups;
  }
}
