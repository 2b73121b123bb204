/** Worker threads may end at any point of a model's or a call's life; the process and the other threads go on. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { ensureModel } from '../../scripts/models/index';
import { runProgram } from '../helpers/child-program';

const ROUNDS = Number(process.env['BATCHED_TEARDOWN_RUNS'] ?? (process.env['CI'] ? 5 : 1));

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

async function run({ step, turns = 0, workers = 2 }: Case, how: string, mainToo: boolean): Promise<string[]> {
  const counts = [turns, workers, ROUNDS].map(String);
  const ended = await runProgram('worker.mjs', [step, how, ...counts, ...paths, ...(mainToo ? ['main'] : [])]);
  expect(ended).toMatchObject({ code: 0, signal: null, stderr: '' });
  const lines = ended.stdout.split('\n').filter(Boolean);
  expect(lines.pop()).toBe('all ended');
  // The main thread's own model, called after each round, still answers.
  expect(lines.filter((line) => line === 'main 4')).toHaveLength(mainToo ? ROUNDS : 0);
  return lines.filter((line) => line !== 'main 4');
}

describe.each([
  ['alone with the add-on', false],
  ['beside a main thread that uses it', true],
])('workers %s', (_, mainToo) => {
  test.each<[string, Case]>([
    ['while the model loads', { step: 'load', workers: 4 }],
    ['a little later', { step: 'load', turns: 20 }],
    ['when calls wait and run', { step: 'calls' }],
    ['when results arrive', { step: 'results', turns: 5 }],
    ['when results have long arrived', { step: 'results', turns: 500 }],
    ['inside a sync call', { step: 'sync', workers: 1 }],
    ['inside one of many sync calls', { step: 'sync quickly', turns: 300 }],
    ['while the model closes', { step: 'closing' }],
  ])('are terminated %s', async (_when, how) => {
    const lines = await run(how, 'terminate', mainToo);
    expect(lines).toEqual(Array<string>((how.workers ?? 2) * ROUNDS).fill('exit 1 '));
  });

  test('load, call and end by themselves, four at once', async () => {
    const lines = await run({ step: 'ends', workers: 4 }, 'wait', mainToo);
    expect(lines.filter((line) => line === '1,2,3')).toHaveLength(4 * ROUNDS);
    expect(lines.filter((line) => line === 'exit 0 ')).toHaveLength(4 * ROUNDS);
  });

  test('make sync calls, three at once, and end by themselves', async () => {
    const lines = await run({ step: 'ends after sync calls', workers: 3 }, 'wait', mainToo);
    expect(lines.filter((line) => line === '124750')).toHaveLength(3 * ROUNDS);
    expect(lines.filter((line) => line === 'exit 0 ')).toHaveLength(3 * ROUNDS);
  });

  test.each<[string, string, string]>([
    ['process.exit', 'exits', 'exit 4 '],
    ['an uncaught exception', 'throws', 'exit 1 nobody catches this in the worker'],
  ])('end by %s with pending calls', async (_how, step, line) => {
    expect(await run({ step }, 'wait', mainToo)).toEqual(Array<string>(2 * ROUNDS).fill(line));
  });
});
