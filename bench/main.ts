/** npm run bench -- <suite> [--json file] [--rounds n] [--quick] [--minutes n] [--svg file]
 *   [--provider cpu|cuda] [--models a,b]: see `about` of each suite, or run it without one. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { positiveNumber, readCommandLine, wholeNumber } from './lib/command-line';
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
  overload: async () => (await import('./suites/overload.js')).overload,
  fairness: async () => (await import('./suites/fairness.js')).fairness,
  soak: async () => (await import('./suites/soak.js')).soak,
  gpu: async () => (await import('./suites/gpu.js')).gpu,
};

/** Too long to be one of `all`, or for machines that not everybody has. */
const alone = ['soak', 'gpu'];

interface Arguments {
  readonly suite: string | undefined;
  readonly json: string | undefined;
  readonly rounds: number;
  readonly quick: boolean;
  readonly minutes: number | undefined;
  readonly svg: string | undefined;
  readonly provider: 'cpu' | 'cuda' | undefined;
  readonly models: readonly string[] | undefined;
}

function readArguments(): Arguments {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'string' },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      minutes: { type: 'string' },
      svg: { type: 'string' },
      provider: { type: 'string' },
      models: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const rounds = wholeNumber('rounds', values.rounds, 1, values.quick ? 2 : 5);
  const minutes = positiveNumber('minutes', values.minutes, undefined);
  const { json, quick, svg, provider } = values;
  if (provider !== undefined && provider !== 'cpu' && provider !== 'cuda') {
    throw new RangeError(`--provider is cpu or cuda, not ${provider}`);
  }
  if (positionals.length > 1) throw new TypeError(`one suite at a time (or all), not ${positionals.join(' ')}`);
  const suite = values.help ? undefined : positionals[0];
  const names = [...Object.keys(suites), 'all', 'chart'];
  if (suite !== undefined && !names.includes(suite)) {
    throw new TypeError(`no suite is called '${suite}' (there are: ${names.join(', ')})`);
  }
  return { suite, json, rounds, quick, minutes, svg, provider, models: values.models?.split(',') };
}

async function listSuites(): Promise<void> {
  console.log(
    'npm run bench -- <suite> [--json file] [--rounds n] [--quick] [--minutes n] [--svg file] [--provider cpu|cuda] [--models a,b]\n',
  );
  for (const [name, load] of Object.entries(suites)) console.log(`  ${name.padEnd(12)} ${(await load()).about}`);
  console.log(`  ${'all'.padEnd(12)} every suite but ${alone.join(', ')}, each in a process of its own`);
  console.log(`  ${'chart'.padEnd(12)} draws docs/measured.svg from bench/results`);
}

async function runSuite(name: string, args: Arguments): Promise<void> {
  const { rounds, quick, json } = args;
  const suite = await suites[name]!();
  const machine = describeMachine();
  console.log(`${name}: ${suite.about}`);
  console.log(`${machineLine(machine)}; ${rounds} rounds${quick ? ', quick' : ''}\n`);
  const report = new Report();
  const start = performance.now();
  const save = (): void => {
    if (json !== undefined) writeJson(json, name, machine, report.results);
  };
  await suite.run({ ...args, save, log: (line) => console.log(line) }, report);
  console.log(`\n${report.table()}`);
  console.log(`\n${name}: ${((performance.now() - start) / 1e3).toFixed(0)} s`);
  save();
}

function runAll({ rounds, quick, json }: Arguments): void {
  const folder = mkdtempSync(path.join(tmpdir(), 'batched-bench-'));
  const machine = describeMachine();
  const results: Result[] = [];
  try {
    for (const name of Object.keys(suites).filter((name) => !alone.includes(name))) {
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

async function drawChart(): Promise<void> {
  const { measuredChart, measuredChartFile } = await import('./lib/measured-chart.js');
  writeFileSync(measuredChartFile, measuredChart());
  console.log(measuredChartFile);
}

async function main(): Promise<void> {
  const args = readCommandLine(readArguments);
  if (args.suite === undefined) await listSuites();
  else if (args.suite === 'all') runAll(args);
  else if (args.suite === 'chart') await drawChart();
  else await runSuite(args.suite, args);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
