/**
 * One client with one text of 32 tokens in flight, against a bare session.run of onnxruntime-node with its default
 * options. Blocks of calls alternate, so that both see the same machine; the first calls of a block, in which the other
 * one's threads may still spin, don't count.
 */
import { ensureModel } from '../../scripts/models';
import { inference } from '../lib/batched';
import { ort } from '../lib/ort-node';
import { quantile, sorted } from '../lib/statistics';
import type { Suite } from '../lib/suite';

const tokens = 32;
const skipped = 3;
const allowedRatio = 1.05;
const allowedUs = 100;

export const lone: Suite = {
  about: 'MiniLM fp32, one client, 32 tokens, against a bare session.run',
  async run({ rounds, quick, log }, report) {
    const path = await ensureModel({ kind: 'minilm', precision: 'fp32' });
    const ours = await inference.load(path);
    const bare = await ort.InferenceSession.create(path);
    const ids = BigInt64Array.from({ length: tokens }, (_, i) => BigInt(1000 + 37 * i));
    const mask = new BigInt64Array(tokens).fill(1n);
    const types = new BigInt64Array(tokens);

    const features = { input_ids: ids, attention_mask: mask, token_type_ids: types };
    const feeds = Object.fromEntries(
      Object.entries(features).map(([name, data]) => [name, new ort.Tensor('int64', data, [1, tokens])]),
    );
    const contenders = {
      acall: () => ours.acall(features),
      sync: () => ours(features),
      bare: () => bare.run(feeds),
    };
    type Contender = keyof typeof contenders;
    const names = Object.keys(contenders) as Contender[];
    const blocks = quick ? 4 : 12;
    const calls = quick ? 20 : 30;

    for (const name of names) await block(contenders[name], 30);
    for (let round = 0; round < rounds; round++) {
      const times: Record<Contender, number[]> = { acall: [], sync: [], bare: [] };
      for (let i = 0; i < blocks; i++) {
        // Whoever is first rotates: everyone comes after everyone else equally often.
        for (let j = 0; j < names.length; j++) {
          const name = names[(i + j) % names.length]!;
          times[name].push(...(await block(contenders[name], calls)));
        }
      }
      const [acall, sync, bareRun] = names.map((name) => sorted(times[name])) as [
        Float64Array,
        Float64Array,
        Float64Array,
      ];
      const [p50, syncP50, bareP50] = [quantile(acall, 0.5), quantile(sync, 0.5), quantile(bareRun, 0.5)];
      report.add('lone/within-goal', '', p50 / (allowedRatio * bareP50 + allowedUs), { atMost: 1 });
      report.add('lone/ratio', '', p50 / bareP50);
      report.add('lone/added-us', 'us', p50 - bareP50);
      report.add('lone/sync-ratio', '', syncP50 / bareP50);
      report.add('lone/sync-added-us', 'us', syncP50 - bareP50);
      report.add('lone/p50-us', 'us', p50);
      report.add('lone/sync-p50-us', 'us', syncP50);
      report.add('lone/bare-p50-us', 'us', bareP50);
      report.add('lone/p90-us', 'us', quantile(acall, 0.9));
      report.add('lone/bare-p90-us', 'us', quantile(bareRun, 0.9));
      log(
        `round ${round + 1}/${rounds}: p50 acall ${p50.toFixed(0)}, sync ${syncP50.toFixed(0)}, ` +
          `bare run ${bareP50.toFixed(0)} us`,
      );
    }
    log(`\nThe goal: acall's p50 is at most ${allowedRatio} x bare + ${allowedUs} us; within-goal is their quotient.`);
    await ours.close();
    await bare.release();
  },
};

/** Microseconds of each of `count` calls, one after the other. */
async function block(call: () => unknown, count: number): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < skipped + count; i++) {
    const start = performance.now();
    await call();
    if (i >= skipped) times.push(1e3 * (performance.now() - start));
  }
  return times;
}
