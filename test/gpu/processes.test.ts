/** Processes and workers that end while the device is at work: by the end that was asked for, and without a crash. */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { ensureModel } from '../../scripts/models';
import { runProgram } from '../helpers/child-program';
import { provider } from './support';

let path: string;
before(async () => {
  path = await ensureModel({ kind: 'random', size: 'micro' });
});

interface Expected {
  readonly code?: number;
  readonly signal?: NodeJS.Signals;
  readonly prints?: string;
  readonly stderr?: RegExp;
}

async function check(scenario: string, expected: Expected): Promise<void> {
  // CUDA's libraries alone take seconds to load from a cold disk.
  const ended = await runProgram('../../gpu/programs/ending.mjs', [scenario, path, provider], { hangMs: 90_000 });
  const { signal = null, code = signal === null ? 0 : null, prints = '', stderr = /^$/ } = expected;
  assert.deepEqual({ code: ended.code, signal: ended.signal }, { code, signal }, ended.stderr);
  assert.equal(ended.stdout, prints);
  assert.match(ended.stderr, stderr);
}

describe('a process', () => {
  const rows: [string, Expected][] = [
    ['ends by itself, not closed', { prints: 'called\n' }],
    ['ends by itself, once all that is pending has settled', { prints: 'settled 64\n' }],
    ['process.exit while runs are under way', { code: 3 }],
    ['process.exit while loading', { code: 3 }],
    ['process.exit while closing', { code: 3 }],
    ['an uncaught exception', { code: 1, stderr: /nobody catches this/ }],
    ['SIGTERM', { signal: 'SIGTERM' }],
    ['a sync call, then the end', { prints: 'called\n' }],
  ];
  for (const [scenario, expected] of rows) test(scenario, () => check(scenario, expected));
});

describe('worker threads', () => {
  const rows: [string, Expected][] = [
    ['three share the model of this thread', { prints: 'workers 0 0 0\nmain right\n' }],
    ['a worker with a model of its own ends', { prints: 'workers 0\nmain right\n' }],
    ['a worker is terminated while its runs are under way', { prints: 'terminated\nmain right\n' }],
    ['process.exit while workers call', { code: 3 }],
  ];
  for (const [scenario, expected] of rows) test(scenario, () => check(scenario, expected));
});
