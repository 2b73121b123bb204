/** Results: collected round by round, printed as a table with their goals, written as JSON. */
import { writeFileSync } from 'node:fs';
import type { Machine } from './machine';
import { median, spread } from './statistics';

/** What a result has to be. `aim` is where it should get to. */
export interface Goal {
  readonly atLeast?: number;
  readonly atMost?: number;
  readonly aim?: number;
}

export interface Result {
  readonly name: string;
  /** The median of the rounds. */
  readonly value: number;
  readonly unit: string;
  /** (largest - smallest) / median of the rounds. */
  readonly spread: number;
}

interface Series {
  readonly name: string;
  readonly unit: string;
  readonly goal: Goal | undefined;
  readonly rounds: number[];
}

/** The figures of a suite. Each `add` is one round's value of a result; the order of first mention is that of the table. */
export class Report {
  readonly #series = new Map<string, Series>();

  add(name: string, unit: string, value: number, goal?: Goal): void {
    let series = this.#series.get(name);
    if (series === undefined) {
      series = { name, unit, goal, rounds: [] };
      this.#series.set(name, series);
    }
    series.rounds.push(value);
  }

  get results(): Result[] {
    return [...this.#series.values()].map(({ name, unit, rounds }) => ({
      name,
      value: median(rounds),
      unit,
      spread: spread(rounds),
    }));
  }

  /** One line per result: figure, spread, goal and verdict. */
  table(): string {
    const lines = this.results.map((result) => {
      const { goal, rounds } = this.#series.get(result.name)!;
      const spreadText = rounds.length > 1 ? `±${(50 * result.spread).toFixed(0)} %` : '';
      return [
        result.name,
        significant(result.value),
        result.unit,
        spreadText,
        goalText(goal),
        verdict(goal, result.value),
      ];
    });
    return aligned([['result', 'median', 'unit', 'spread', 'goal', ''], ...lines]);
  }
}

export function meets(goal: Goal, value: number): boolean {
  return !(value < (goal.atLeast ?? -Infinity)) && !(value > (goal.atMost ?? Infinity)) && !Number.isNaN(value);
}

function verdict(goal: Goal | undefined, value: number): string {
  if (goal === undefined) return '';
  if (!meets(goal, value)) return 'MISSED';
  if (goal.aim === undefined) return 'reached';
  const beyond = goal.atMost === undefined ? value >= goal.aim : value <= goal.aim;
  return beyond ? 'reached, and the aim' : 'reached';
}

function goalText(goal: Goal | undefined): string {
  if (goal === undefined) return '';
  const bound = goal.atMost === undefined ? `>= ${String(goal.atLeast)}` : `<= ${String(goal.atMost)}`;
  return goal.aim === undefined ? bound : `${bound}, aim ${goal.aim}`;
}

/** Four significant digits, without an exponent. */
export function significant(value: number): string {
  if (!Number.isFinite(value) || value === 0) return String(value);
  const digits = Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(6, digits));
}

/** Columns of equal width: numbers (the second column) to the right, the rest to the left. */
function aligned(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 1 ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export function writeJson(file: string, suite: string, machine: Machine, results: readonly Result[]): void {
  writeFileSync(file, `${JSON.stringify({ suite, machine, results }, null, 2)}\n`);
}
