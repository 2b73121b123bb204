/** Processes and workers that end while ONNX Runtime's CUDA provider is at work: by the end that was asked for. */
import { expect, test } from '@jest/globals';
import { ensureModel } from '../../scripts/models';
import { runProgram } from '../helpers/child-program';
import { environment } from './support';

// The programs are those of test/gpu.
test.each([
  ['ends by itself, not closed', 0, 'called\n'],
  ['process.exit while runs are under way', 3, ''],
  ['process.exit while closing', 3, ''],
  ['a worker is terminated while its runs are under way', 0, 'terminated\nmain right\n'],
  ['process.exit while workers call', 3, ''],
])('%s', async (scenario, code, stdout) => {
  const model = await ensureModel({ kind: 'random', size: 'micro' });
  const env = environment({}, '/dev/null');
  const ended = await runProgram('../../gpu/programs/ending.mjs', [scenario, model, 'cuda'], { env, hangMs: 90_000 });
  expect(ended).toEqual({ code, signal: null, stdout, stderr: '' });
});
