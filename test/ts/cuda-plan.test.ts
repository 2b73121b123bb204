/** What a model runs on: a table of what is wanted and what is here. */
import { describe, expect, test } from '@jest/globals';
import { obstacleOf, planProvider, planWithout, type Provider, type ProviderPlan } from '../../ts/cuda/plan';
import type { CudaSearch } from '../../ts/cuda/search';

const found = (name: string, file: string | undefined = `/cuda/${name}`) => ({ name, file, version: undefined });

const complete: CudaSearch = {
  complete: true,
  core: '/set-up/libonnxruntime.so.1',
  cuda: 13,
  provider: [found('libonnxruntime_providers_shared.so'), found('libonnxruntime_providers_cuda.so')],
  libraries: [found('libcublasLt.so.13'), found('libcublas.so.13')],
  driver: found('libcuda.so.1'),
  missing: [],
  searched: [],
};

const lacks = (name: string, fix: string) => ({ name, problem: 'not found', fix });

/** The provider is here, a library is not. */
const incomplete: CudaSearch = {
  ...complete,
  complete: false,
  libraries: [found('libcublasLt.so.13'), { ...found('libcublas.so.13'), file: undefined }],
  missing: [lacks('libcublas.so.13', 'pip install nvidia-cublas')],
};

const nothing: CudaSearch = {
  ...incomplete,
  provider: complete.provider.map((one) => ({ ...one, file: undefined })),
  missing: [lacks('libonnxruntime_providers_cuda.so', 'npx batched setup-cuda')],
};

const cpu: ProviderPlan = { provider: 'cpu', preload: [], note: undefined, warn: false };
const cuda: ProviderPlan = {
  provider: 'cuda',
  preload: ['/cuda/libcuda.so.1', '/cuda/libcublasLt.so.13', '/cuda/libcublas.so.13'],
  note: undefined,
  warn: false,
};
const says = (note: RegExp): string => expect.stringMatching(note) as unknown as string;

type Wanted = readonly Provider[] | undefined;

describe('a plan', () => {
  test.each<[Wanted, string, CudaSearch, ProviderPlan]>([
    [undefined, 'complete', complete, cuda],
    [['cuda'], 'complete', complete, cuda],
    [['cuda', 'cpu'], 'complete', complete, cuda],
    [['cpu', 'cuda'], 'complete', complete, cpu],
    [['cpu'], 'complete', complete, cpu],
    [undefined, 'incomplete', incomplete, { ...cpu, note: says(/libcublas/) }],
    [['cuda'], 'incomplete', incomplete, { ...cpu, provider: undefined, note: says(/libcublas/) }],
    [['cuda', 'cpu'], 'incomplete', incomplete, { ...cpu, note: says(/libcublas/), warn: true }],
    [['cpu', 'cuda'], 'incomplete', incomplete, cpu],
    [undefined, 'not here', nothing, cpu],
    [['cuda'], 'not here', nothing, { ...cpu, provider: undefined, note: says(/setup-cuda/) }],
    [['cuda', 'cpu'], 'not here', nothing, { ...cpu, note: says(/setup-cuda/), warn: true }],
    [['cpu'], 'not here', nothing, cpu],
  ])('for %j where CUDA is %s', (wanted, _, search, plan) => {
    expect(planProvider(wanted, search)).toEqual(plan);
  });

  test.each<[Wanted, ProviderPlan]>([
    [undefined, { ...cpu, note: 'no device' }],
    [['cuda'], { ...cpu, provider: undefined, note: 'no device' }],
    [['cuda', 'cpu'], { ...cpu, note: 'no device', warn: true }],
  ])('for %j when CUDA is complete and does not load all the same', (wanted, plan) => {
    expect(planWithout(wanted, 'no device')).toEqual(plan);
  });
});

test('every missing thing is named with its fix; what has one fix in common says it once', () => {
  const missing = [lacks('a', 'do x'), lacks('b', 'do x'), { name: 'c', problem: 'too old', fix: 'do y' }];
  expect(obstacleOf({ missing })).toBe(
    [
      'CUDA cannot be used here. Missing:',
      '  a: not found',
      '  b: not found. Fix: do x',
      '  c: too old. Fix: do y',
    ].join('\n'),
  );
});
