/** The process ends when nothing is pending, waits for what is, and never by a crash, whatever was going on. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { ensureModel } from '../../scripts/models/index';
import { type Ended, runProgram } from '../helpers/child-program';
import { repeated, TIMEOUT_MS } from '../helpers/repeats';

let paths: string[];
beforeAll(async () => {
  paths = [
    await ensureModel({ kind: 'busy', matmuls: 64, width: 512, rows: 64 }),
    await ensureModel({ kind: 'echo', type: 'float32' }),
  ];
});

/** What the program prints, its lines sorted; and for one that ends itself by an error, what stderr must name. */
type Expected = { code?: number; signal?: string; prints?: string[]; stderr?: RegExp };
type Row = [scenario: string, expected: Expected];

function check(scenario: string, expected: Expected): Promise<void> {
  return repeated('a process ends', scenario, async () => {
    const ended: Ended = await runProgram('exit.mjs', [scenario, ...paths]);
    const { code = expected.signal === undefined ? 0 : null, signal = null, prints, stderr = /^$/ } = expected;
    expect(ended).toMatchObject({ code, signal, stderr: expect.stringMatching(stderr) });
    if (prints !== undefined) expect(ended.stdout.split('\n').filter(Boolean).sort()).toEqual([...prints].sort());
  });
}

const times = (count: number, line: string): string[] => Array<string>(count).fill(line);

describe('the process ends by itself', () => {
  test.each<Row>([
    ['idle model, not closed', { prints: ['called'] }],
    ['loaded, never called', { prints: [] }],
    ['load not awaited', { prints: ['loaded'] }],
    ['load rejected', { prints: ['BATCHED_INVALID_INPUT'] }],
    ['load rejected, not caught', { code: 1, stderr: /nowhere/ }],
    ['sync call', { prints: ['called'] }],
    ['close without draining', {}],
    ['close while loading', { prints: ['closed', 'settled'] }],
    ['close twice', { prints: times(6, 'closed') }],
    ['call after close', { prints: times(4, 'BATCHED_CLOSED') }],
    ['sync call while the process exits', { prints: ['called', 'called'] }],
    ['calls while the process exits', { prints: [] }],
    ['a function, idle and not closed', { prints: ['called'] }],
    ['a function held by a timer, its call aborted', { prints: ['AbortError'] }],
    ['a function that never settles', { prints: [] }],
  ])('%s', (scenario, expected) => check(scenario, expected), TIMEOUT_MS);
});

describe('pending calls keep it alive until they have settled', () => {
  test.each<Row>([
    ['pending calls are waited for', { prints: times(3, 'settled') }],
    ['pending call with a deadline', { prints: times(4, 'BATCHED_DEADLINE') }],
    ['pending calls aborted', { prints: times(4, 'AbortError') }],
    ['SIGTERM with a handler that drains', { prints: [...times(6, 'settled'), 'closed'] }],
    ['uncaught exception with a handler', { prints: [...times(6, 'settled'), 'caught'] }],
    ['a call made when the process was about to end', { prints: times(2, 'settled') }],
    ['pending calls of a function', { prints: times(3, 'settled') }],
    ['calls of a function that wait for company', { prints: times(2, 'settled') }],
  ])('%s', (scenario, expected) => check(scenario, expected), TIMEOUT_MS);
});

describe('an end in the middle of work is the end that was asked for', () => {
  test.each<Row>([
    ['process.exit with pending calls', { code: 3 }],
    ['process.exit in the tick of the calls', { code: 3 }],
    ['process.exit while results arrive', { code: 3 }],
    ['process.exit while loading', { code: 3 }],
    ['process.exit while closing', { code: 3 }],
    ['process.exit after a sync call', { code: 3 }],
    ['uncaught exception with pending calls', { code: 1, stderr: /nobody catches this/ }],
    ['unhandled rejection with pending calls', { code: 1, stderr: /nobody catches this/ }],
    ['SIGTERM with pending calls', { signal: 'SIGTERM' }],
    ['process.exit in a batch of a function', { code: 3 }],
    ['process.exit in a sync call of a function', { code: 3 }],
    ['process.exit when a call settles', { code: 3 }],
    ['uncaught exception of a caller', { code: 1, stderr: /nobody catches this/, prints: ['settled'] }],
  ])('%s', (scenario, expected) => check(scenario, expected), TIMEOUT_MS);
});

test(
  'where the stack ends, no call is lost',
  () =>
    repeated('a process goes on', 'calls at every depth of a stack that overflows', async () => {
      const { stderr, ...ended } = await runProgram('stack.mjs', [paths[1]!]);
      const prints = ['single items', 'items with options', 'several items', 'tensors', 'rows'];
      const lines = [...prints.map((way) => `${way}: all settled`), '0 unaccounted', '0 unaccounted', ''];
      expect({ ...ended, stderr: /SIG|fatal/i.exec(stderr) }).toEqual({
        code: 0,
        signal: null,
        stdout: lines.join('\n'),
        stderr: null,
      });
    }),
  TIMEOUT_MS,
);
