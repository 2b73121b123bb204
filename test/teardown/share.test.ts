/** Worker threads that call one model, and how they leave it. */
import { beforeAll, expect, test } from '@jest/globals';
import { ensureModel } from '../../scripts/models/index';
import { runProgram } from '../helpers/child-program';

const RUNS = Number(process.env['BATCHED_TEARDOWN_RUNS'] ?? (process.env['CI'] ? 5 : 1));

let paths: string[];
beforeAll(async () => {
  paths = [
    await ensureModel({ kind: 'echo', type: 'float32' }),
    await ensureModel({ kind: 'busy', matmuls: 16, width: 256, rows: 64 }),
    await ensureModel({ kind: 'lookup', vocabulary: 65536, dim: 512 }), // 128 MiB
  ];
});

const ACCOUNTED = '"unaccounted" 0 "queued" 0 "failed" 0';
const CLOSED = '"BATCHED_CLOSED"';

test.each<[scenario: string, prints: string[], code?: number]>([
  ['one batch of five threads', ['[14,4] [4]', '[[[0],[10,0]],[[1],[11,1]],[[2],[12,2]],[[3],[13,3]]]', '{"10":1} 1']],
  ['sync calls of four threads', ['true', '100', '"in common batches" true', '"most" true']],
  ['a sync call blocks its own thread', ['"pong"', '"pong" false', '[3] [1] [[2]] "pong"']],
  ['one session in memory', ['"same" true', '"one copy" true "no more" true', '"new lanes" 0']],
  ['terminated while calls wait', ['4 2', '[1,2,3] [[[1,1],[10]],[[2,2],[20]]]', '{"7":1}', ACCOUNTED]],
  ['terminated while calls run', ['[5]', ACCOUNTED]],
  ['attached and closed again and again', ['"more handles" [0,0,0]', '[3] 421']],
  ['threads come and go', ['20 true']],
  [
    'the owner closes',
    [`[${Array<string>(4).fill(CLOSED).join()}]`, `[${CLOSED},${CLOSED}]`, 'false', CLOSED, ACCOUNTED],
  ],
  ['the owner drains', ['[[[0]],[[1]],[2],[3]]', `[${CLOSED},${CLOSED}]`, 'false', CLOSED, ACCOUNTED]],
  ['one of several closes', [`${CLOSED} 1 false true`, CLOSED, '[3,4] [[2]]']],
  ['the owner ends', ['[1] [[2]] true', '[3]', 'false', CLOSED]],
  ['nobody is left', [CLOSED]],
  ['the callable is collected', ['[[1]]', '[2]']],
  ['another process', ['"BATCHED_INVALID_INPUT"']],
  ['idle threads end by themselves', ['[0,0]']],
  ['process.exit under load', ['"exits"'], 3],
])('%s', async (scenario, prints, code = 0) => {
  for (let run = 0; run < RUNS; run++) {
    const ended = await runProgram('share.mjs', [scenario, ...paths], { node: ['--expose-gc'] });
    expect(ended).toMatchObject({ code, signal: null, stderr: '' });
    expect(ended.stdout.split('\n').filter(Boolean)).toEqual(prints);
  }
});
