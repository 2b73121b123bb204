/** Many callers, several lanes, several engines, on one device. */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import type { Encoded } from '../../scripts/data/tokenize';
import { ensureModel } from '../../scripts/models';
import { distance } from '../helpers/distance';
import { assertAccounted, type CudaOptions, embed, madeUpTexts, type Model, open, openReference } from './support';

const tolerance = 1e-5;
const texts = madeUpTexts(64, 120, 1000);
let path: string;
let wanted: Float32Array[];

before(async () => {
  path = await ensureModel({ kind: 'random', size: 'micro' });
  const reference = await openReference(path);
  wanted = [];
  for (const text of texts) wanted.push(await embed(reference, text));
});

/** So many clients that each wait for their result, `count` requests in all; each result is checked. */
async function load(model: Model, clients: number, count: number, some: readonly Encoded[] = texts): Promise<void> {
  let next = 0;
  const client = async (): Promise<void> => {
    while (next < count) {
      const i = next++ % some.length;
      const difference = distance(await embed(model, some[i]!), wanted[i]!);
      if (!(difference <= tolerance)) throw new Error(`text ${i} differs by ${difference}`);
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
}

test('1,024 clients each get their own result', async () => {
  const model = await open(path, { batchSize: 128 });
  await load(model, 1024, 8192);
  assert.equal(model.stats.totalProcessed, 8192);
  assert.ok(model.stats.avgBatchSize > 2, `batches of ${model.stats.avgBatchSize}`);
  assertAccounted(model);
});

describe('lanes', () => {
  const ways: [string, number, CudaOptions][] = [
    ['one on the first device', 1, { deviceId: 0 }],
    ['two on one device', 2, { deviceId: 0 }],
    ['two on one device, which a list names', 2, { deviceId: [0] }],
  ];
  for (const [name, lanes, cuda] of ways) {
    test(name, async () => {
      const model = await open(path, { batchSize: 16, lanes }, cuda);
      assert.equal(model.stats.lanes.length, lanes);
      await load(model, 256, 4096);
      for (const lane of model.stats.lanes) {
        assert.ok(lane.healthy && lane.batches > 0, `${lane.name} ran ${lane.batches} batches`);
      }
      assertAccounted(model);
    });
  }
});

test('four engines at once, each under load', async () => {
  const models = await Promise.all([1, 2, 3, 4].map(() => open(path, { batchSize: 32, lanes: 1 })));
  await Promise.all(models.map((model) => load(model, 64, 1024)));
  models.forEach(assertAccounted);
});

test('engines that come and go while another works', async () => {
  const lasting = await open(path, { batchSize: 32, lanes: 1 });
  const under = load(lasting, 64, 8192);
  for (let i = 0; i < 5; i++) {
    const passing = await open(path, { batchSize: 32, lanes: 1 });
    await load(passing, 16, 64);
    await passing.close();
  }
  await under;
  assertAccounted(lasting);
});

describe('CUDA graphs', () => {
  // Equal lengths, and few rows: what a graph is captured for. Several of each, since the first runs only warm up.
  for (const cudaGraphs of [false, true]) {
    test(`${cudaGraphs ? 'on' : 'off'}: lone calls and small batches`, async () => {
      const model = await open(path, { batchSize: 8, lanes: 1 }, { cudaGraphs });
      for (let round = 0; round < 10; round++) await load(model, 1, 16);
      await load(model, 8, 512);
      await load(model, 64, 1024);
      assertAccounted(model);
    });
  }
});
