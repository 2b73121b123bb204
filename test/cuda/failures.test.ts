/** What CUDA and ONNX Runtime's CUDA provider say when they fail, and what becomes of the calls. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { hiddenStates, joined } from './models';
import { callsOfLanes, environment, type Round, runLoad, runWell } from './support';

const count = (round: Round): number => Object.values(round.endings).reduce((sum, ended) => sum + ended, 0);

describe('memory', () => {
  const model = hiddenStates('float32', 64, 64);
  const options = { batchSize: 32, warmup: false };
  const load = { model, options, clients: 64, requests: 600 };

  // 600 requests of up to 40 tokens: a batch of 32 wants 0.7 MB for its two products.
  const rows: [string, Record<string, unknown>, { memory?: number }][] = [
    ['of the device', {}, { memory: 700_000 }],
    ['that ONNX Runtime may take', { gpuMemLimit: 500_000 }, {}],
  ];
  test.each(rows)('%s: what does not fit is run in halves', async (_name, more, gpu) => {
    const { retries } = await runWell({ ...load, options: { ...options, ...more } }, gpu);
    expect(retries).toBeGreaterThan(0);
  });

  test('is taken at load, for the largest batch that there will be', async () => {
    const outcome = await runWell({ ...load, options: { batchSize: 32 } });
    expect(callsOfLanes(outcome).get('cudaMalloc')).toBeUndefined();
    expect(callsOfLanes(outcome).get('cublasSgemm')).toBe(outcome.totalBatches);
  });

  test('too little for the model is said at load', async () => {
    const { rounds } = await runLoad(load, { memory: 20_000 });
    expect(rounds[0]!.refusal).toMatchObject({ code: 'BATCHED_OUT_OF_MEMORY' });
    expect(rounds[0]!.refusal!.message).not.toMatch(/onnxruntime::|hostname/);
  });

  test('all of it is given back, whatever the model has done', async () => {
    for (const work of [{ model: hiddenStates('float32') }, { model: joined(), inputs: 'pair' as const }]) {
      for (const cudaGraphs of [false, true]) {
        const { rounds, held } = await runLoad({
          ...work,
          options: { lanes: 2, cudaGraphs },
          rounds: 3,
          requests: 100,
        });
        expect(rounds.map(({ wrong }) => wrong)).toEqual([0, 0, 0]);
        expect(held).toBe(0);
      }
    }
  });

  // ONNX Runtime gives back what operators have passed arguments through only at the end of runs that wait.
  test('pinned memory does not pile up', async () => {
    const options = { batchSize: 1, warmup: false };
    const { calls, totalBatches } = await runWell({ model: joined(), inputs: 'pair', options, requests: 3000 });
    const named = (name: string): number => calls.filter((call) => call.name === name).length;
    expect(totalBatches).toBe(3000);
    expect(named('cudaLaunchHostFunc')).toBeGreaterThan(10);
    expect(named('cudaMallocHost')).toBeLessThan(4);
  });
});

describe('a device that is lost', () => {
  const model = hiddenStates('float32');
  const faults = [
    'work kernel:50:700',
    'work copy:70:719',
    'cudaLaunchKernel:60:700',
    'cublasSgemm:20:719',
    'cuMemcpyHtoDAsync:30:700',
    'cuEventSynchronize:25:719',
    'cuEventElapsedTime:9:700',
  ];
  test.each(faults)('with %s', async (fail) => {
    const { rounds } = await runLoad({ model, options: { batchSize: 4, warmup: false } }, { fail, jitter: 50 });
    const [round] = rounds;
    expect(Object.keys(round!.endings).sort()).toEqual(['BATCHED_DEVICE_LOST', 'ok']);
    expect(count(round!)).toBe(500);
    expect(round).toMatchObject({ wrong: 0, accounted: true, lanes: [{ healthy: false }] });
    for (const message of round!.messages) expect(message).toMatch(/GPU 0: cu\w+ failed with CUDA_ERROR_\w+ \(.+\)$/);
  });

  test('the other one goes on', async () => {
    const options = { batchSize: 4, warmup: false, deviceId: [0, 1] };
    const { rounds } = await runLoad({ model, options, clients: 64 }, { devices: 2, fail: 'work kernel:50:700' });
    const [round] = rounds;
    expect(round).toMatchObject({ wrong: 0, accounted: true });
    expect(round!.lanes.map(({ healthy }) => healthy).sort()).toEqual([false, true]);
    // Those of the batches that were on it.
    expect(round!.endings['BATCHED_DEVICE_LOST']).toBeLessThanOrEqual(12);
    expect(round!.endings['ok']).toBeGreaterThanOrEqual(488);
  });
});

describe('at load', () => {
  const model = hiddenStates('float32');

  test.each([
    ['cublasCreate:1:1', /^the model \S+ could not be loaded on GPU 0: .*CUBLAS failure 13: \w+ \(GPU 0, cublasCreate/],
    ['cublasLtCreate:1:1', /CUBLAS failure 13/],
    ['cudaGetDeviceCount:1:100', /no CUDA-capable device/],
    ['cuInit:1:100', /^NVIDIA's driver does not start: no CUDA-capable device is detected$/],
    ['cuDevicePrimaryCtxRetain:1:999', /cuDevicePrimaryCtxRetain failed with CUDA_ERROR_UNKNOWN/],
  ])("%s is the provider's failing, and the CPU takes over if it may", async (fail, message) => {
    const refused = (await runLoad({ model, requests: 10 }, { fail })).rounds[0]!.refusal!;
    expect(refused.message).toMatch(message);
    expect(refused.message).not.toMatch(/onnxruntime::|hostname|\n/);
    expect(refused.code).toMatch(/^BATCHED_PROVIDER_UNAVAILABLE$/);
    const options = { executionProviders: ['cuda', 'cpu'] };
    const { rounds, stderr } = await runLoad({ model, options, requests: 10 }, { fail });
    expect(rounds[0]).toMatchObject({ endings: { ok: 10 }, wrong: 0, provider: 'cpu' });
    expect(rounds[0]!.providerNote).toMatch(message);
    expect(stderr).toMatch(/BATCHED_CUDA_FALLBACK/);
  });
});

// A prime, so that each round meets other calls.
describe.each([
  ['a call that runs out of memory', 'any:%47:2'],
  ['a call that fails in passing', 'any:%53:1'],
  ['both', 'any:%97:2,any:%89:1'],
])('%s, now and then', (_name, fail) => {
  test('costs the calls that it hits, and nothing else', async () => {
    const options = { batchSize: 4, warmup: false };
    const { rounds } = await runLoad({ model: hiddenStates('float32'), options, rounds: 40, requests: 60 }, { fail });
    for (const round of rounds) {
      if (round.refusal !== undefined) {
        expect(round.refusal.code).toMatch(/^BATCHED_(OUT_OF_MEMORY|PROVIDER_UNAVAILABLE)$/);
        continue;
      }
      expect(round).toMatchObject({ wrong: 0, accounted: true });
      expect(count(round)).toBe(60);
      for (const code of Object.keys(round.endings)) expect(code).toMatch(/^(ok|BATCHED_(OUT_OF_MEMORY|BACKEND))$/);
    }
    expect(rounds.filter(({ refusal }) => refusal === undefined).length).toBeGreaterThan(3);
  });
});

test('doctor runs a model on the GPU', () => {
  const cli = join(__dirname, '../../dist/cli/main.js');
  const env = { ...process.env, ...environment({}, '/dev/null') };
  const { status, stdout } = spawnSync(process.execPath, [cli, 'doctor', '--cuda'], { env, encoding: 'utf8' });
  expect(stdout).toMatch(/✓ A model +runs, on cuda\n/);
  expect(stdout).toMatch(/Models can run here, on CUDA and on the CPU\./);
  expect(status).toBe(0);
});
