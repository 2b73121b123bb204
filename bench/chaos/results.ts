/** What a chaos run leaves for docs/reliability.md. */
import { writeFileSync } from 'node:fs';
import type { Machine } from '../lib/machine';
import type { Ending, Kind, Outcome } from './plan';

export interface ChaosResult {
  readonly suite: 'chaos';
  readonly machine: Machine;
  readonly seed: number;
  readonly seconds: number;
  readonly made: number;
  /** Requests that ended with the worker that had made them. */
  readonly gone: number;
  readonly endings: Readonly<Record<Ending, number>>;
  readonly kinds: Readonly<Record<Kind, { made: number; outcomes: Record<Outcome, number>; ended: number }>>;
}

export function writeResult(file: string, result: object): void {
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`);
}
