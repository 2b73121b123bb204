/**
 * npm run chaos -- [--seed N] [--minutes M | --requests N] [--workers N] [--episode E] [--json FILE]
 *
 * Worker threads come and go, each with engines of its own, and their clients make every mistake there is. At the end
 * each request is accounted for, each result was checked, or the exit code is 1 and the seed of it is printed; with
 * `--episode` the worker that failed runs alone.
 */
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { positiveNumber, readCommandLine, wholeNumber } from '../lib/command-line';
import { describeMachine, machineLine } from '../lib/machine';
import { ensureModel } from '../../scripts/models';
import { writeResult } from './results';
import { Ledger } from './ledger';
import { ENDINGS, type Ending, type Episode, KINDS, OUTCOMES, planEpisode } from './plan';
import { embedAlone, LOOKUP, type Paths } from './targets';
import type { WorkerData } from './worker';

/** Requests of one worker. */
const perEpisode = 10_000;
/** Without a request that ends for so long, something hangs. */
const hangMs = 30_000;

/** Worker threads do not take the loader of TypeScript with them. */
const workerSource = ['tsx/cjs', './worker.ts']
  .map((file) => `require(${JSON.stringify(require.resolve(file))});`)
  .join('');

function readArguments() {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      minutes: { type: 'string' },
      requests: { type: 'string' },
      workers: { type: 'string' },
      episode: { type: 'string' },
      json: { type: 'string' },
    },
  });
  return {
    seed: wholeNumber('seed', values.seed, 0, 1 + Math.floor(Math.random() * 1e6)),
    minutes: positiveNumber('minutes', values.minutes, values.requests === undefined ? 1 : Infinity),
    requests: positiveNumber('requests', values.requests, Infinity),
    workers: positiveNumber('workers', values.workers, 2),
    episode: wholeNumber('episode', values.episode, 0, undefined),
    json: values.json,
  };
}

interface Run {
  readonly paths: Paths;
  readonly embeddings: Float32Array;
  /** Of the workers that run. */
  readonly ledgers: Set<Ledger>;
  readonly total: Ledger;
  readonly endings: Record<Ending, number>;
  /** Requests that ended with the worker that had made them. */
  gone: number;
}

/** The worker's own end, and whether its ledger balances. */
async function runEpisode(run: Run, episode: Episode): Promise<void> {
  const ledger = new Ledger();
  const { paths, embeddings } = run;
  const data: WorkerData = { episode, paths, embeddings, ledger: ledger.shared };
  const worker = new Worker(workerSource, { eval: true, workerData: data });
  run.ledgers.add(ledger);
  const told: unknown[] = [];
  const failures: unknown[] = [];
  worker.on('message', (message) => told.push(message));
  worker.on('error', (error) => failures.push(error));
  const poll = setInterval(() => {
    if (episode.ending !== 'is terminated in the middle' || ledger.of().made <= episode.endsAt) return;
    clearInterval(poll);
    void worker.terminate();
  }, 1);
  const code = await new Promise<number>((resolve) => worker.once('exit', resolve));
  clearInterval(poll);
  run.ledgers.delete(ledger);
  run.total.add(ledger);
  run.endings[episode.ending]++;
  if (failures.length > 0) throw failures[0];

  const { made, ended } = ledger.of();
  const cutShort = !told.includes('accounted');
  const expected = { 'is terminated in the middle': 1, 'exits in the middle': 7 }[episode.ending as string] ?? 0;
  // One that was to be terminated may have been done before.
  if (cutShort ? code !== expected || expected === 0 : code !== 0 && code !== expected) {
    throw new Error(`the worker ended with exit code ${code}`);
  }
  const most = cutShort ? episode.clients : 0; // each client has one request on its way
  if (made - ended < 0 || made - ended > most) throw new Error(`${made} requests were made, ${ended} ended`);
  run.gone += made - ended;
}

function table(run: Run): string {
  const rows = [...KINDS, undefined].map((kind) => {
    const { made, outcomes, ended } = run.total.of(kind);
    return [kind ?? 'all', made, ...OUTCOMES.map((outcome) => outcomes[outcome]), made - ended];
  });
  const head = ['injected', 'requests', ...OUTCOMES, 'gone with their worker'];
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => String(row[i]).length)));
  const line = (cells: readonly (string | number)[]): string =>
    cells.map((cell, i) => (i === 0 ? String(cell).padEnd(widths[i]!) : String(cell).padStart(widths[i]!))).join('  ');
  return [head, ...rows].map(line).join('\n');
}

/** Ends the process if no request ends for long. */
function watch(run: Run, hung: () => void): NodeJS.Timeout {
  let last = -1;
  let since = performance.now();
  return setInterval(() => {
    let ended = run.total.of().ended;
    for (const ledger of run.ledgers) ended += ledger.of().ended;
    if (ended !== last) [last, since] = [ended, performance.now()];
    else if (performance.now() - since > hangMs) hung();
  }, 500);
}

async function main(): Promise<void> {
  const args = readCommandLine(readArguments);
  const { seed } = args;
  const machine = describeMachine();
  console.log(`chaos, seed ${seed}: ${machineLine(machine)}`);
  const paths = {
    lookup: await ensureModel({ kind: 'lookup', ...LOOKUP }),
    encoder: await ensureModel({ kind: 'random', size: 'micro' }),
  };
  const endings = Object.fromEntries(ENDINGS.map((ending) => [ending, 0])) as Record<Ending, number>;
  const run: Run = { paths, embeddings: await embedAlone(paths.encoder), ledgers: new Set(), total: new Ledger(), endings, gone: 0 }; // prettier-ignore
  const start = performance.now();
  const running = new Map<number, Episode>();

  const fail = (why: string, episode: number): never => {
    console.log(`\n${table(run)}\n\nchaos FAILED: ${why}`);
    console.log(`again, that worker alone: npm run chaos -- --seed ${seed} --episode ${episode}`);
    process.exit(1);
  };
  const watching = watch(run, () => {
    const stuck = [...running.values()].map(({ number, ending }) => `${number} (${ending})`).join(', ');
    fail(`nothing has ended for ${hangMs / 1e3} s; episodes that run: ${stuck}`, [...running.keys()][0]!);
  });

  let next = args.episode ?? 0;
  const more = (): boolean =>
    args.episode === undefined
      ? (performance.now() - start) / 60e3 < args.minutes && run.total.of().made < args.requests
      : next === args.episode;
  let shown = 0;
  const lane = async (): Promise<void> => {
    while (more()) {
      const episode = planEpisode(seed, next++, perEpisode);
      running.set(episode.number, episode);
      await runEpisode(run, episode).catch((error: unknown) => {
        fail(`episode ${episode.number} (a worker that ${episode.ending}): ${String(error)}`, episode.number);
      });
      running.delete(episode.number);
      const seconds = (performance.now() - start) / 1e3;
      if (seconds - shown >= 5) {
        shown = seconds;
        const { made } = run.total.of();
        console.log(`${seconds.toFixed(0)} s: ${made} requests, ${next - running.size} workers came and went`);
      }
    }
  };
  await Promise.all(Array.from({ length: args.workers }, lane));
  clearInterval(watching);

  const seconds = (performance.now() - start) / 1e3;
  const { made, ended } = run.total.of();
  if (made !== ended + run.gone) fail(`${made} requests were made, ${ended} ended, ${run.gone} went`, 0);
  console.log(`\n${table(run)}\n`);
  for (const ending of ENDINGS) console.log(`workers: ${String(run.endings[ending]).padStart(4)} ${ending}`);
  console.log(
    `\n${made} requests in ${seconds.toFixed(0)} s (${(made / seconds).toFixed(0)}/s): all are accounted for`,
  );
  if (args.json !== undefined) {
    const kinds = Object.fromEntries(KINDS.map((kind) => [kind, run.total.of(kind)]));
    writeResult(args.json, { suite: 'chaos', machine, seed, seconds, made, gone: run.gone, endings, kinds });
  }
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
