/** Counts of every request, in memory that outlives the worker that makes them. */
import { type Kind, KINDS, type Outcome, OUTCOMES } from './plan';

const width = 1 + OUTCOMES.length;

export class Ledger {
  readonly counts: Int32Array;

  constructor(shared = new SharedArrayBuffer(4 * KINDS.length * width)) {
    this.counts = new Int32Array(shared);
  }

  get shared(): SharedArrayBuffer {
    return this.counts.buffer as SharedArrayBuffer;
  }

  made(kind: Kind): void {
    this.counts[KINDS.indexOf(kind) * width]!++;
  }

  ended(kind: Kind, outcome: Outcome): void {
    this.counts[KINDS.indexOf(kind) * width + 1 + OUTCOMES.indexOf(outcome)]!++;
  }

  add(other: Ledger): void {
    other.counts.forEach((count, i) => (this.counts[i]! += count));
  }

  /** Requests that were made and that ended, of one kind or of all. */
  of(kind?: Kind): { made: number; outcomes: Record<Outcome, number>; ended: number } {
    const kinds = kind === undefined ? KINDS.map((_, i) => i) : [KINDS.indexOf(kind)];
    const sum = (column: number): number => kinds.reduce((total, k) => total + this.counts[k * width + column]!, 0);
    const outcomes = Object.fromEntries(OUTCOMES.map((name, i) => [name, sum(1 + i)])) as Record<Outcome, number>;
    return { made: sum(0), outcomes, ended: Object.values(outcomes).reduce((total, count) => total + count, 0) };
  }
}
