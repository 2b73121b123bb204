/**
 * Resident memory over 200,000 requests of mixed length through a small BERT encoder, 256 clients: the model is small
 * so that requests are many, and a real encoder so that ONNX Runtime allocates for every shape anew. Garbage is
 * collected before every sample, so that what is left is held by someone.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ensureModel } from '../../scripts/models';
import { Random } from '../../scripts/models/random';
import { inference } from '../lib/batched';
import { closedLoop } from '../lib/clients';
import { median } from '../lib/statistics';
import type { Suite } from '../lib/suite';

const clients = 256;
const longest = 128;
const vocabulary = 1000;
const samples = 100;
/** Medians of so many samples each: 5 % of the requests. */
const window = 5;

export const memory: Suite = {
  about: 'resident memory over 200,000 requests of mixed length',
  async run({ quick, log }, report) {
    const path = await ensureModel({ kind: 'random', size: 'micro' });
    const ours = await inference.load(path);
    const count = quick ? 40_000 : 200_000;
    const collect = collector();
    const rss: number[] = [];
    const rssBefore: number[] = [];

    const random = new Random(1, 'memory');
    // As in real text: mostly short, and now and then as long as the model allows.
    const lengths = Uint8Array.from({ length: 4096 }, () => 2 + Math.floor((longest - 1) * random.uniform() ** 3));
    const texts = Array.from(lengths, (length) => {
      const input_ids = BigInt64Array.from({ length }, () => BigInt(random.below(vocabulary)));
      return {
        input_ids,
        attention_mask: new BigInt64Array(length).fill(1n),
        token_type_ids: new BigInt64Array(length),
      };
    });

    const start = performance.now();
    for (let sample = 0; sample < samples; sample++) {
      await closedLoop(clients, count / samples, (i) => ours.acall(texts[(sample * 911 + i) % texts.length]!));
      rssBefore.push(mib(process.memoryUsage.rss()));
      collect();
      rss.push(mib(process.memoryUsage.rss()));
      if (sample % 10 === 9) log(`${((sample + 1) * count) / samples} requests: ${rss[sample]!.toFixed(0)} MiB`);
    }
    const seconds = (performance.now() - start) / 1e3;

    const figures = growth(rss);
    report.add('memory/growth', '', figures.worst, { atMost: 0.05 });
    report.add('memory/growth-at-end', '', figures.atEnd);
    report.add('memory/growth-uncollected', '', growth(rssBefore).worst);
    report.add('memory/level-mib', 'MiB', figures.level);
    report.add('memory/end-mib', 'MiB', rss[samples - 1]!);
    report.add('memory/requests-per-s', '1/s', count / seconds);
    await ours.close();
  },
};

/** Against the level at 20 % of the requests: the highest of the later windows, and the last one. */
function growth(rss: readonly number[]): { level: number; worst: number; atEnd: number } {
  const windows: number[] = [];
  for (let at = 0; at + window <= rss.length; at += window) windows.push(median(rss.slice(at, at + window)));
  const fifth = windows.length / 5;
  const level = windows[fifth - 1]!;
  const later = windows.slice(fifth);
  return { level, worst: Math.max(...later) / level - 1, atEnd: later[later.length - 1]! / level - 1 };
}

/** The garbage collector, without a flag on the command line. */
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}

function mib(bytes: number): number {
  return bytes / 2 ** 20;
}
