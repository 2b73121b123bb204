/** Aborts, deadlines and close, while batches are on the device: every call settles once, and the rest is right. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { ensureModel } from '../../scripts/models';
import { distance } from '../helpers/distance';
import { assertAccounted, BatchedError, embed, featuresOf, madeUpTexts, type Model, open, until } from './support';

const texts = madeUpTexts(512, 120, 1000);
let path: string;
before(async () => {
  path = await ensureModel({ kind: 'random', size: 'micro' });
});

const openSmall = (): Promise<Model> => open(path, { batchSize: 4, lanes: 1 });

/** How each call ended: 'ok', or the error's code or name. */
async function endings(calls: readonly Promise<unknown>[]): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const settled of await Promise.allSettled(calls)) {
    const reason = settled.status === 'rejected' ? (settled.reason as Error & { code?: string | number }) : undefined;
    const how = reason === undefined ? 'ok' : reason instanceof BatchedError ? reason.code : reason.name;
    counts.set(how, (counts.get(how) ?? 0) + 1);
  }
  return counts;
}

const only = (counts: Map<string, number>, ...known: string[]): void =>
  assert.deepEqual(
    [...counts.keys()].filter((how) => !known.includes(how)),
    [],
  );

/** The model still gives what it gave. */
async function stillWorks(model: Model): Promise<void> {
  const [a, b] = [await embed(model, texts[0]!), await embed(model, texts[0]!)];
  assert.ok(a.every(Number.isFinite) && distance(a, b) <= 1e-5);
}

test('half of the calls are aborted while others run', async () => {
  const model = await openSmall();
  const controller = new AbortController();
  const alone = await embed(model, texts[1]!);
  const calls = texts.map((text, i) => model.acall(featuresOf(text), i % 2 === 0 ? { signal: controller.signal } : {}));
  await until(() => model.stats.totalBatches > 2);
  controller.abort();
  const kept = calls.filter((_, i) => i % 2 === 1);
  const counts = await endings(calls);
  only(counts, 'ok', 'AbortError');
  assert.deepEqual(await endings(kept), new Map([['ok', 256]]));
  assert.ok(counts.get('AbortError')! > 0);
  const { data } = (await kept[0]) as { data: Float32Array };
  assert.ok(distance(data, alone) <= 1e-5);
  assertAccounted(model);
  await stillWorks(model);
});

test('deadlines pass in the queue and on the device', async () => {
  const model = await openSmall();
  const calls = texts.map((text, i) => model.acall(featuresOf(text), i % 2 === 0 ? { deadlineMs: 1 } : {}));
  const counts = await endings(calls);
  only(counts, 'ok', 'BATCHED_DEADLINE');
  assert.ok(counts.get('ok')! >= 256);
  assertAccounted(model);
  await stillWorks(model);
});

test('close with drain gives every result', async () => {
  const model = await openSmall();
  const calls = texts.map((text) => model.acall(featuresOf(text)));
  await until(() => model.stats.totalBatches > 0);
  const closing = model.close();
  const late = model.acall(featuresOf(texts[0]!));
  assert.deepEqual(await endings([late]), new Map([['BATCHED_CLOSED', 1]]));
  assert.deepEqual(await endings(calls), new Map([['ok', texts.length]]));
  await closing;
});

test('close without drain settles every call, in the middle of runs', async () => {
  for (let round = 0; round < 5; round++) {
    const model = await openSmall();
    const calls = texts.map((text) => model.acall(featuresOf(text)));
    await until(() => model.stats.totalBatches > round);
    const closed = model.close({ drain: false });
    only(await endings(calls), 'ok', 'BATCHED_CLOSED');
    await closed;
    assertAccounted(model);
  }
});

test('models closed while they are loading', async () => {
  const loading = Array.from({ length: 4 }, () => openSmall());
  await Promise.all(loading.map(async (model) => (await model).close({ drain: false })));
  await stillWorks(await openSmall());
});

test('a wrong input is refused before it meets others', async () => {
  const model = await openSmall();
  const calls = texts.slice(0, 64).map((text) => model.acall(featuresOf(text)));
  const wrong = model.acall({ input_ids: new Float32Array([0.5]) });
  assert.deepEqual(await endings([wrong]), new Map([['BATCHED_INVALID_INPUT', 1]]));
  assert.deepEqual(await endings(calls), new Map([['ok', 64]]));
});
