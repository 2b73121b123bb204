/** Subscribers of diagnostics channels that throw, in several threads, and where the process ends. */
import { beforeAll, expect, test } from '@jest/globals';
import { ensureModel } from '../../scripts/models/index';
import { runProgram } from '../helpers/child-program';

let path: string;
beforeAll(async () => {
  path = await ensureModel({ kind: 'echo', type: 'float32' });
});

const thrown = (name: string, times: number) => Array<string>(times).fill(JSON.stringify(name));

test.each<[scenario: string, prints: string[]]>([
  [
    'one that throws',
    ['[2,[4,6]] 8', '[[1],[2]]', `[${[...thrown('batched:batch', 3), ...thrown('batched:request', 5)].join()}]`],
  ],
  ['two threads', ['1 [[3,"string"]]', '[[1,"model"],[2,"model"],[3,"model"],[1,"model"]]']],
  ['a rejection that nobody handles', ['"failed"', '"unhandled" "boom"']],
  ['the process ends by itself', ['"done"']],
])('%s', async (scenario, prints) => {
  const ended = await runProgram('diagnostics.mjs', [scenario, path]);
  expect(ended).toMatchObject({ code: 0, signal: null, stderr: '' });
  expect(ended.stdout.split('\n').filter(Boolean)).toEqual(prints);
});
