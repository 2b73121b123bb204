/** Worker threads may end at any point of a model's or a call's life; the process and the other threads go on. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { ensureModel } from '../../scripts/models/index';
import { runProgram } from '../helpers/child-program';
import { REPEATS, report, TIMEOUT_MS } from '../helpers/repeats';

/** Every worker that ends is a repetition; they come in rounds, a few of them in each process. */
function shares(workers: number): { rounds: number; processes: number } {
  const all = Math.ceil(REPEATS / workers);
  const rounds = Math.min(all, 5);
  return { rounds, processes: Math.ceil(all / rounds) };
}

let paths: string[];
beforeAll(async () => {
  paths = [
    await ensureModel({ kind: 'busy', matmuls: 64, width: 512, rows: 64 }),
    await ensureModel({ kind: 'echo', type: 'float32' }),
  ];
});

/** `turns` of the main thread's event loop between a worker's beginning and its termination: other points of its life. */
interface Case {
  step: string;
  turns?: number;
  workers?: number;
}

/** What the workers and the main thread print, of all rounds. */
async function run(scenario: string, { step, turns = 0, workers = 2 }: Case, how: string, mainToo: boolean) {
  const all: string[] = [];
  const { rounds, processes } = shares(workers);
  for (let process = 0; process < processes; process++) {
    const counts = [turns, workers, rounds].map(String);
    const ended = await runProgram('worker.mjs', [step, how, ...counts, ...paths, ...(mainToo ? ['main'] : [])]);
    expect(ended).toMatchObject({ code: 0, signal: null, stderr: '' });
    const lines = ended.stdout.split('\n').filter(Boolean);
    expect(lines.pop()).toBe('all ended');
    // The main thread's own model, called after each round, still answers.
    expect(lines.filter((line) => line === 'main 4')).toHaveLength(mainToo ? rounds : 0);
    all.push(...lines.filter((line) => line !== 'main 4'));
  }
  report(`workers${mainToo ? ', the main thread uses the add-on too' : ''}`, scenario, workers * rounds * processes);
  return all;
}

function times(workers: number, line: string): string[] {
  const { rounds, processes } = shares(workers);
  return Array<string>(workers * rounds * processes).fill(line);
}

describe.each([
  ['alone with the add-on', false],
  ['beside a main thread that uses it', true],
])('workers %s', (_, mainToo) => {
  test.each<[string, Case]>([
    ['when the add-on is loaded', { step: 'imports', workers: 8 }],
    ['while the model loads', { step: 'load', workers: 4 }],
    ['a little later', { step: 'load', turns: 20 }],
    ['in the tick of the calls', { step: 'tick' }],
    ['when calls wait and run', { step: 'calls' }],
    ['when calls are aborted and expire', { step: 'aborts' }],
    ['when calls are refused', { step: 'refusals', turns: 5 }],
    ['when results arrive', { step: 'results', turns: 5 }],
    ['when results have long arrived', { step: 'results', turns: 500 }],
    ['inside a sync call', { step: 'sync', workers: 1 }],
    ['inside one of many sync calls', { step: 'sync quickly', turns: 300 }],
    ['while the model closes', { step: 'closing' }],
    ['when batches of a function run', { step: 'functions' }],
    ['inside a batch function', { step: 'inside a function' }],
  ])(
    'are terminated %s',
    async (when, how) => {
      const lines = await run(`terminated ${when}`, how, 'terminate', mainToo);
      expect(lines).toEqual(times(how.workers ?? 2, 'exit 1 '));
    },
    TIMEOUT_MS,
  );

  test.each<[string, string, number, string]>([
    ['load, call and end by themselves, four at once', 'ends', 4, '1,2,3'],
    ['load, call and end by themselves, sixteen at once', 'ends', 16, '1,2,3'],
    ['make sync calls, three at once, and end by themselves', 'ends after sync calls', 3, '124750'],
  ])(
    '%s',
    async (what, step, workers, line) => {
      const lines = await run(what, { step, workers }, 'wait', mainToo);
      expect(lines.sort()).toEqual([...times(workers, line), ...times(workers, 'exit 0 ')].sort());
    },
    TIMEOUT_MS,
  );

  test.each<[string, string, string]>([
    ['process.exit', 'exits', 'exit 4 '],
    ['an uncaught exception', 'throws', 'exit 1 nobody catches this in the worker'],
  ])(
    'end by %s with pending calls',
    async (how, step, line) => {
      expect(await run(`end by ${how} with pending calls`, { step }, 'wait', mainToo)).toEqual(times(2, line));
    },
    TIMEOUT_MS,
  );
});
