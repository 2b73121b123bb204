/** Rows through ONNX Runtime's CUDA provider and our lanes come back as the CPU has them, whatever the streams' timing. */
import { describe, expect, test } from '@jest/globals';
import { ensureModel } from '../../scripts/models';
import { hiddenStates, joined, partlyOnCpu } from './models';
import { callsOfLanes, type Gpu, runLoad, runWell } from './support';

/** So that work overtakes what it does not wait for. */
const jitter = 300;

describe('a model', () => {
  const rows: [string, () => string, Record<string, unknown>, number?][] = [
    ['with hidden states', () => hiddenStates('float32'), {}],
    ['in float16, but for the last of its bits', () => hiddenStates('float16'), {}, 2],
    ['with a mean made on the device', () => hiddenStates('float32'), { pooling: 'mean' }],
    ['with a mean of length 1', () => hiddenStates('float32'), { pooling: 'mean', normalize: true }],
  ];
  test.each(rows)('%s', async (_name, model, options, tolerance = 1e-5) => {
    await runWell({ model: model(), options, tolerance }, { jitter });
  });

  test.each([{}, { lanes: 2 }, { cudaGraphs: true, batchSize: 4 }])('that is an encoder, with %j', async (options) => {
    const model = await ensureModel({ kind: 'random', size: 'micro' });
    await runWell({ model, options: { warmup: false, ...options }, requests: 200 }, { jitter });
  });

  test('of two inputs that are joined', async () => {
    await runWell({ model: joined(), inputs: 'pair' }, { jitter });
  });

  test('that reads an input on the CPU gets it from there', async () => {
    const outcome = await runWell({ model: partlyOnCpu(), inputs: 'bytes' }, { jitter });
    expect([...callsOfLanes(outcome).keys()].filter((name) => /to the host|synchroni/i.test(name))).toEqual([]);
  });
});

describe('lanes', () => {
  const rows: [string, Record<string, unknown>, Gpu, string[]][] = [
    ['two on one GPU', { lanes: 2 }, {}, ['batched-g0-0', 'batched-g0-1']],
    ['one on the second GPU', { deviceId: 1 }, { devices: 2 }, ['batched-g1-0']],
    ['one on each of two', { deviceId: [0, 1] }, { devices: 2 }, ['batched-g0-0', 'batched-g1-0']],
  ];
  test.each(rows)('%s', async (_name, options, gpu, names) => {
    const { lanes } = await runWell(
      { model: hiddenStates('float32'), options: { batchSize: 8, ...options }, clients: 64 },
      { jitter, ...gpu },
    );
    expect(lanes.map(({ name }) => name)).toEqual(names);
    for (const { batches, healthy, device } of lanes) {
      expect(batches).toBeGreaterThan(0);
      expect(healthy).toBe(true);
      expect(device!.busy).toBeGreaterThan(0);
      expect(device!.bytes).toBeGreaterThan(0);
    }
  });
});

// ONNX Runtime waits for nothing either: its calls are among these.
test('a run waits for nothing: two copies, two events to order the streams, two to time the run', async () => {
  const outcome = await runWell({ model: hiddenStates('float32'), options: { batchSize: 4 }, clients: 64 });
  const counts = callsOfLanes(outcome);
  const batches = outcome.totalBatches;
  const waits = [...counts.keys()].filter((name) => /synchroni|memcpy$/i.test(name));
  expect(waits).toEqual([]);
  // Of other kinds there are few: what a new shape needs.
  const perBatch = new Map([...counts].map(([name, count]) => [name, Math.round(count / batches)]));
  expect(Object.fromEntries([...perBatch].filter(([, count]) => count > 0))).toMatchObject({
    cuMemcpyHtoDAsync: 1,
    cuMemcpyDtoHAsync: 1,
    cuStreamWaitEvent: 2,
    cuEventRecord: 4,
    cublasSgemm: 1,
  });
  expect([...counts.keys()].filter((name) => name.startsWith('cudaMemcpyAsync'))).toEqual([]);
});

describe('CUDA graphs', () => {
  test('small batches are launched as one', async () => {
    const options = { cudaGraphs: true, batchSize: 4, warmup: false };
    const outcome = await runWell({ model: hiddenStates('float32'), options, requests: 2000 }, { jitter: 100 });
    const counts = callsOfLanes(outcome);
    expect(outcome.lanes[0]!.device!.graphs).toBeGreaterThan(0);
    expect(outcome.lanes[0]!.device!.graphs).toBe(counts.get('cuGraphInstantiateWithFlags'));
    expect(counts.get('cuGraphLaunch')!).toBeGreaterThan(outcome.totalBatches / 2);
  });

  // A session that is made waits for the whole device, which would spoil a capture and fail itself.
  test('models that come and go meanwhile', async () => {
    const options = { cudaGraphs: true, batchSize: 4, lanes: 2, warmup: false };
    await runWell({ model: hiddenStates('float32'), options, requests: 2000, beside: 8 }, { jitter: 200 });
  });

  // Between two launches of a graph other shapes take the memory that its copies were from.
  test('a model that copies from the host in the middle runs as ever', async () => {
    const options = { cudaGraphs: true, batchSize: 4, warmup: false };
    const outcome = await runWell({ model: joined(), inputs: 'pair', options, requests: 1000 });
    expect(outcome.lanes[0]!.device!.graphs).toBe(0);
    expect(callsOfLanes(outcome).get('cuStreamBeginCapture')).toBeGreaterThan(0);
  });

  // It would be launched with the values that the CPU has read when it was captured.
  test('a model that reads an input on the CPU runs as ever', async () => {
    const options = { cudaGraphs: true, batchSize: 4, warmup: false };
    const outcome = await runWell({ model: partlyOnCpu(), inputs: 'bytes', options, requests: 1000 });
    expect(callsOfLanes(outcome).get('cuStreamBeginCapture')).toBeUndefined();
  });
});

test('an encoder asks the host for nothing in a run, at any precision that is for a GPU', async () => {
  for (const precision of ['fp32', 'fp16'] as const) {
    for (const padding of ['any', 'right'] as const) {
      const model = await ensureModel({ kind: 'random', size: 'micro', precision, padding });
      // Not all of its kernels are those that the emulated GPU knows: only the calls are looked at.
      const outcome = await runLoad({ model, requests: 16, options: { batchSize: 4, warmup: false } });
      const round = outcome.rounds[0]!;
      expect(round.endings).toEqual({ ok: 16 });
      const wrong = [...callsOfLanes({ ...outcome, ...round }).keys()].filter((name) =>
        /synchroni|^cudaMemcpy|^cudnn(?!Create)/i.test(name),
      );
      expect({ precision, padding, wrong }).toEqual({ precision, padding, wrong: [] });
    }
  }
});
