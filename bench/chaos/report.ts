/**
 * Writes docs/reliability.md from what chaos and teardown runs left:
 *
 *   npm run chaos -- --seed 1 --requests 1000000 --json bench/results/chaos-cpu-2-cores.json
 *   BATCHED_TEARDOWN_REPEATS=100 BATCHED_TEARDOWN_REPORT=$PWD/bench/results/teardown-cpu-2-cores.jsonl \
 *     npm test -- --only jest test/teardown
 *   npx tsx bench/chaos/report.ts
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { machineLine } from '../lib/machine';
import { KINDS, OUTCOMES } from './plan';
import type { ChaosResult } from './results';

const root = path.join(__dirname, '..', '..');
const results = (name: string): string => readFileSync(path.join(root, 'bench', 'results', name), 'utf8');
const number = (value: number): string => value.toLocaleString('en-US');

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [head, ...rows.map((row) => row.map((cell) => (typeof cell === 'number' ? number(cell) : cell)))];
  const widths = head.map((_, i) => Math.max(...cells.map((row) => row[i]!.length)));
  const isNumber = head.map((_, i) => rows.every((row) => typeof row[i] === 'number'));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, i) => (isNumber[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join(' | ')} |`;
  const rule = widths.map((width, i) => (isNumber[i] ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)));
  const [first, ...rest] = cells.map(line);
  return [first, `| ${rule.join(' | ')} |`, ...rest].join('\n');
}

function chaos(): string {
  const { seed, machine, seconds, made, gone, endings, kinds } = JSON.parse(results('chaos-cpu-2-cores.json')) as ChaosResult; // prettier-ignore
  const columns = OUTCOMES.filter((outcome) => KINDS.some((kind) => kinds[kind].outcomes[outcome] > 0));
  const rows = KINDS.map((kind) => {
    const { made, outcomes, ended } = kinds[kind];
    return [kind, made, ...columns.map((outcome) => outcomes[outcome]), made - ended];
  });
  const workers = Object.entries(endings);
  return `## Chaos

\`npm run chaos -- --seed ${seed} --requests ${made >= 1e6 ? 1_000_000 : made}\`: ${number(made)} requests in ${seconds.toFixed(0)} s
(${number(Math.round(made / seconds))} a second; ${machineLine(machine)}). Clients in worker threads call a user function, a lookup model and a
BERT encoder, with engines of their own and options at random. Every result was compared with its reference, and every
request was accounted for: **${number(made)} made, ${number(made - gone)} ended in one of the ways below, ${number(gone)} went with a worker that was
terminated or exited while they were on their way, 0 lost, 0 wrong.** For each engine that lived to its close,
admitted = processed + failed + cancelled + expired + closed.

${table(['injected', 'requests', ...columns, 'gone with their worker'], rows)}

A function fails a batch as a whole, so good rows fail beside a bad one; a model's bad rows are found and fail alone, up
to four in a batch. One run in CI has a million requests and a seed of its own each time.

${table(
  ['a worker', 'times'],
  workers.map(([ending, times]) => [ending, times]),
)}
`;
}

function teardown(): string {
  const lines = results('teardown-cpu-2-cores.jsonl').trim().split('\n');
  const times = new Map<string, number>();
  for (const line of lines) {
    const { group, scenario, times: own } = JSON.parse(line) as { group: string; scenario: string; times: number };
    const key = JSON.stringify([group, scenario]);
    times.set(key, (times.get(key) ?? 0) + own);
  }
  const rows = [...times].map(([key, count]) => [...(JSON.parse(key) as [string, string]), count]);
  const total = [...times.values()].reduce((sum, count) => sum + count, 0);
  return `## Teardown

test/teardown with \`BATCHED_TEARDOWN_REPEATS=${Math.min(...times.values())}\`: ${number(total)} processes and worker threads ended while models and
functions were at work, each with a hang deadline: no crash, no hang, no warning of a promise that never settles, and
the exit code, output and results that were to be expected.

${table(['what ends', 'how', 'times'], rows)}
`;
}

const settlement = `## Exactly once

test/ts/settlement-matrix.test.ts is the table of every way in which a call can end, for promises and sync calls, of
functions and models: each cell is a test (one settlement, the right error, stats that add up, the next call works) or
says why it cannot be. Inside, a second settlement is an assertion in C++ and an uncaught internal error in TypeScript.
test/ts/hostile-input.test.ts is what callers can do to their own arguments; their neighbours' results stay right.
`;

writeFileSync(
  path.join(root, 'docs', 'reliability.md'),
  `# Reliability

Written by \`npx tsx bench/chaos/report.ts\` from runs on this project's machine; not by hand.

${settlement}
${chaos()}
${teardown()}`,
);
