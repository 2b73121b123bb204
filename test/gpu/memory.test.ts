/** Running out of device memory costs runs, never results; and closing a model gives its memory back. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { encodedOf } from '../../scripts/data/token-file';
import { ensureModel } from '../../scripts/models';
import { Random } from '../../scripts/models/random';
import { assertAccounted, embed, load, onGpu, open, openReference, worst } from './support';

const mib = 2 ** 20;

test('a batch that does not fit is run in halves', async () => {
  // 45 MB of weights; of 512 rows with 128 tokens each, one layer's widest matrix alone takes 256 MiB.
  const path = await ensureModel({ kind: 'random', size: 'mini' });
  const rows = onGpu ? 512 : 16;
  const random = new Random(1, 'memory');
  const length = onGpu ? 128 : 16;
  const texts = Array.from({ length: rows }, () =>
    encodedOf(BigInt64Array.from({ length }, () => BigInt(random.below(30_522)))),
  );
  const model = await open(path, { batchSize: rows, lanes: 1, warmup: false }, { gpuMemLimit: 300 * mib });
  const got = await Promise.all(texts.map((text) => embed(model, text)));
  const every = onGpu ? 32 : 4;
  const reference = await openReference(path);
  const wanted = await Promise.all(texts.filter((_, i) => i % every === 0).map((text) => embed(reference, text)));
  const difference = worst(
    got.filter((_, i) => i % every === 0),
    wanted,
  );
  assert.ok(difference <= 1e-5, `differs by ${difference}`);
  assert.equal(model.stats.failed, 0);
  assertAccounted(model);
  if (onGpu) assert.ok(model.stats.retries > 0, 'nothing ran out of memory: the limit is too generous for this test');
  // What did not fit is known now, or at least survives again.
  const again = await Promise.all(texts.map((text) => embed(model, text)));
  assert.ok(worst(again, got) <= 1e-5);
});

/** Used on the first device, in MiB; undefined without nvidia-smi. */
function deviceMemory(): number | undefined {
  const args = ['--id=0', '--query-gpu=memory.used', '--format=csv,noheader,nounits'];
  const { status, stdout } = spawnSync('nvidia-smi', args, { encoding: 'utf8', timeout: 20_000 });
  return status === 0 ? Number(stdout) : undefined;
}

/** Collects garbage: the sessions of a closed model live as long as something refers to it. */
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}

test('models, one after the other, leave the memory as the third one did', async () => {
  const path = await ensureModel({ kind: 'random', size: 'tiny' });
  const text = encodedOf(BigInt64Array.from({ length: 64 }, (_, i) => BigInt(i)));
  const collect = collector();
  const used: (number | undefined)[] = [];
  const resident: number[] = [];
  const one = async (): Promise<void> => {
    const model = await load(path, { lanes: 1, warmup: false });
    await Promise.all(Array.from({ length: 256 }, () => embed(model, text)));
    await model.close();
  };
  for (let i = 0; i < (onGpu ? 20 : 8); i++) {
    await one();
    // Twice, with a turn between them: what a finalizer lets go of is garbage of the next collection.
    for (let turn = 0; turn < 2; turn++) {
      collect();
      await new Promise((resolve) => setImmediate(resolve));
    }
    used.push(deviceMemory());
    resident.push(process.memoryUsage.rss() / mib);
  }
  const [first, last] = [used[2], used.at(-1)];
  if (first !== undefined && last !== undefined) {
    assert.ok(last <= first + 256, `device memory went from ${first} to ${last} MiB`);
  }
  // A model holds some 20 MB: those that stayed would show.
  assert.ok(resident.at(-1)! <= resident[2]! + 150, `resident: ${resident.map((value) => value.toFixed(0)).join(' ')}`);
});
