/** npm run bench -- <suite> [--json file] [--rounds n] [--quick]: see `about` of each suite, or run it without one. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { describeMachine, machineLine } from './lib/machine';
import { Report, type Result, writeJson } from './lib/report';
import type { Suite } from './lib/suite';

/** Loaded when it is run, so that one suite's packages are not in another's memory. */
const suites: Record<string, () => Promise<Suite>> = {
  throughput: async () => (await import('./suites/throughput.js')).throughput,
  lone: async () => (await import('./suites/lone.js')).lone,
  overhead: async () => (await import('./suites/overhead.js')).overhead,
  functions: async () => (await import('./suites/functions.js')).functions,
  eventloop: async () => (await import('./suites/eventloop.js')).eventloop,
  memory: async () => (await import('./suites/memory.js')).memory,
};

interface Arguments {
  readonly suite: string | undefined;
  readonly json: string | undefined;
  readonly rounds: number;
  readonly quick: boolean;
}

function readArguments(): Arguments {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'string' }, rounds: { type: 'string' }, quick: { type: 'boolean', default: false } },
  });
  const rounds = Number(values.rounds ?? (values.quick ? 2 : 5));
  if (!(Number.isInteger(rounds) && rounds >= 1)) {
    throw new RangeError(`--rounds is a whole number of at least 1, not ${values.rounds}`);
  }
  if (positionals.length > 1) throw new TypeError(`one suite at a time (or all), not ${positionals.join(' ')}`);
  return { suite: positionals[0], json: values.json, rounds, quick: values.quick };
}

async function listSuites(): Promise<void> {
  console.log('npm run bench -- <suite> [--json file] [--rounds n] [--quick]\n');
  for (const [name, load] of Object.entries(suites)) console.log(`  ${name.padEnd(12)} ${(await load()).about}`);
  console.log(`  ${'all'.padEnd(12)} every suite, each in a process of its own`);
}

async function runSuite(name: string, { rounds, quick, json }: Arguments): Promise<void> {
  const suite = await suites[name]!();
  const machine = describeMachine();
  console.log(`${name}: ${suite.about}`);
  console.log(`${machineLine(machine)}; ${rounds} rounds${quick ? ', quick' : ''}\n`);
  const report = new Report();
  const start = performance.now();
  await suite.run({ rounds, quick, log: (line) => console.log(line) }, report);
  console.log(`\n${report.table()}`);
  console.log(`\n${name}: ${((performance.now() - start) / 1e3).toFixed(0)} s`);
  if (json !== undefined) writeJson(json, name, machine, report.results);
}

function runAll({ rounds, quick, json }: Arguments): void {
  const folder = mkdtempSync(path.join(tmpdir(), 'batched-bench-'));
  const machine = describeMachine();
  const results: Result[] = [];
  try {
    for (const name of Object.keys(suites)) {
      const file = path.join(folder, `${name}.json`);
      const args = [...process.execArgv, __filename, name, '--json', file, '--rounds', String(rounds)];
      const { status } = spawnSync(process.execPath, quick ? [...args, '--quick'] : args, { stdio: 'inherit' });
      if (status !== 0) throw new Error(`the suite ${name} failed`);
      results.push(...(JSON.parse(readFileSync(file, 'utf8')) as { results: Result[] }).results);
      console.log();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  if (json !== undefined) writeJson(json, 'all', machine, results);
}

async function main(): Promise<void> {
  const args = readArguments();
  if (args.suite === undefined) await listSuites();
  else if (args.suite === 'all') runAll(args);
  else if (Object.hasOwn(suites, args.suite)) await runSuite(args.suite, args);
  else throw new TypeError(`no suite is called '${args.suite}' (there are: ${Object.keys(suites).join(', ')}, all)`);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
