/** A model that is released, or closed with the callable that loaded it, gives its memory back without the collector. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { ensureModel } from '../../scripts/models/index';
import { type Ended, runProgram } from '../helpers/child-program';
import { repeated, TIMEOUT_MS } from '../helpers/repeats';

/** MiB of the table in the model, which each of its sessions has. */
const weights = 45;

let path: string;
beforeAll(async () => {
  path = await ensureModel({ kind: 'lookup' });
});

async function run(scenario: string): Promise<string[]> {
  const ended: Ended = await runProgram('release.mjs', [scenario, path]);
  expect(ended).toMatchObject({ code: 0, signal: null, stderr: '' });
  return ended.stdout.split('\n').filter(Boolean);
}

describe('memory comes back', () => {
  test.each<[scenario: string, prints: string[]]>([
    ['inference.load, closed', []],
    ['closed without draining, twice', []],
    ['OnnxModel, released when its callable is closed', []],
    ['OnnxModel, released before its callable is closed', ['BATCHED_CLOSED']],
    ['two callables, the one that loaded it closed first', ['BATCHED_CLOSED']],
  ])(
    '%s',
    (scenario, prints) => {
      return repeated('a model is released', scenario, async () => {
        const lines = await run(scenario);
        const { took, back } = JSON.parse(lines.pop()!) as { took: number; back: number };
        expect(lines).toEqual(prints);
        expect(took).toBeGreaterThan(weights);
        expect(back).toBeGreaterThan(0.8 * weights);
      });
    },
    TIMEOUT_MS,
  );
});

describe('the process ends', () => {
  test.each<[scenario: string, prints: string[]]>([
    ['process.exit while it is released', []],
    ['the process ends while it is released', ['released']],
  ])(
    '%s',
    (scenario, prints) => {
      return repeated('a model is released', scenario, async () => {
        expect(await run(scenario)).toEqual(prints);
      });
    },
    TIMEOUT_MS,
  );
});
