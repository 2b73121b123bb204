/** Models that nobody refers to any more are collected, threads and all, and the process ends. */
import { beforeAll, expect, test } from '@jest/globals';
import { ensureModel } from '../../scripts/models/index';
import { runProgram } from '../helpers/child-program';
import { repeated, TIMEOUT_MS } from '../helpers/repeats';

let paths: string[];
beforeAll(async () => {
  paths = [
    await ensureModel({ kind: 'busy', matmuls: 64, width: 512, rows: 64 }),
    await ensureModel({ kind: 'echo', type: 'float32' }),
  ];
});

const times = (count: number, line: string): string[] => Array<string>(count).fill(line);

test.each<[scenario: string, prints: string[]]>([
  ['idle model', ['collected']],
  ['many models in turn', ['collected']],
  ['model with pending calls', [...times(10, 'settled'), 'collected']],
  ['model that is closing', [...times(6, 'settled'), 'closed']],
  ['model whose call was aborted while it ran', ['AbortError', 'collected']],
  ['loaded model without a callable', ['collected']],
])('%s', collects, TIMEOUT_MS);

function collects(scenario: string, prints: string[]): Promise<void> {
  return repeated('a model is collected', scenario, async () => {
    const ended = await runProgram('collect.mjs', [scenario, ...paths], { node: ['--expose-gc'] });
    expect(ended).toMatchObject({ code: 0, signal: null, stderr: '' });
    expect(ended.stdout.split('\n').filter(Boolean).sort()).toEqual([...prints].sort());
  });
}
