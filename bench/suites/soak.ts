/**
 * Half an hour (`--minutes n`) at 80 % of what a small BERT encoder can run, texts of mixed length in an open loop:
 * resident memory, handles and p99 over time. With `--svg file` they are plotted.
 */
import { writeFileSync } from 'node:fs';
import { ensureModel } from '../../scripts/models';
import { Random } from '../../scripts/models/random';
import { inference } from '../lib/batched';
import { timedLoop } from '../lib/clients';
import { openLoop, randomTexts } from '../lib/open-loop';
import { plot } from '../lib/plot';
import { median, quantile, sorted } from '../lib/statistics';
import type { Suite } from '../lib/suite';

const load = 0.8;
const longest = 128;
const vocabulary = 30_522;
/** Per sample. */
const sampleSeconds = 10;

interface Sample {
  readonly minute: number;
  readonly rssMiB: number;
  readonly handles: number;
  readonly p99: number;
}

export const soak: Suite = {
  about: 'half an hour at 80 % load: memory, handles and p99 over time (--minutes n, --svg file)',
  async run({ quick, minutes = quick ? 1 : 30, svg, log }, report) {
    const path = await ensureModel({ kind: 'random', size: 'tiny' });
    const texts = randomTexts(new Random(1, 'soak'), 4096, longest, vocabulary);
    const model = await inference.load(path);
    const request = (i: number): Promise<unknown> => model.acall(texts[i % texts.length]!);
    await timedLoop(128, 2000, request);
    const start = performance.now();
    await timedLoop(128, 4000, request);
    const peak = 4e6 / (performance.now() - start);
    log(`peak ${peak.toFixed(0)}/s; ${minutes} minutes at ${(load * peak).toFixed(0)}/s`);

    const samples: Sample[] = [];
    const begin = performance.now();
    let next = 0;
    let failed = 0;
    while (performance.now() - begin < 60e3 * minutes) {
      const latencies: number[] = [];
      await openLoop(load * peak, sampleSeconds, (due) => {
        const answered = (): void => void latencies.push(performance.now() - due);
        request(next++).then(answered, () => failed++);
      });
      const sample = {
        minute: (performance.now() - begin) / 60e3,
        rssMiB: process.memoryUsage.rss() / 2 ** 20,
        handles: process.getActiveResourcesInfo().length,
        p99: quantile(sorted(latencies), 0.99),
      };
      samples.push(sample);
      if (samples.length % 6 === 0) {
        const { minute, rssMiB, handles, p99 } = sample;
        log(`minute ${minute.toFixed(0)}: ${rssMiB.toFixed(0)} MiB, ${handles} handles, p99 ${p99.toFixed(1)} ms`);
      }
    }
    await model.close();

    // The first fifth warms up: arenas and the heap grow to their size.
    const settled = samples.slice(Math.floor(samples.length / 5));
    const rss = settled.map((sample) => sample.rssMiB);
    const half = Math.ceil(settled.length / 2);
    const [early, late] = [settled.slice(0, half), settled.slice(half)];
    const later = (key: keyof Sample): number =>
      median(late.map((sample) => sample[key])) / median(early.map((sample) => sample[key]));
    report.add('soak/memory-growth', '', later('rssMiB') - 1, { atMost: 0.05 });
    report.add(
      'soak/memory-slope-mib-per-hour',
      'MiB/h',
      60 *
        slope(
          settled.map((sample) => sample.minute),
          rss,
        ),
    );
    report.add('soak/handles-growth', '', Math.max(...settled.map((s) => s.handles)) - samples[0]!.handles, {
      atMost: 2,
    });
    report.add('soak/p99-late-of-early', '', later('p99'));
    report.add('soak/p99-ms', 'ms', median(settled.map((sample) => sample.p99)));
    report.add('soak/failed', '', failed, { atMost: 0 });
    report.add('soak/requests', '', next);
    if (svg !== undefined) {
      const strips = [
        { title: 'resident memory', unit: 'MiB', values: samples.map((sample) => sample.rssMiB) },
        { title: 'active handles', unit: '', values: samples.map((sample) => sample.handles) },
        { title: `p99 of ${sampleSeconds} s`, unit: 'ms', values: samples.map((sample) => sample.p99) },
      ];
      const title = `batched: ${minutes} minutes at 80 % load, ${next} requests`;
      writeFileSync(
        svg,
        plot(
          title,
          samples.map((sample) => sample.minute),
          strips,
        ),
      );
    }
  },
};

/** Least squares. */
function slope(x: readonly number[], y: readonly number[]): number {
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [mx, my] = [mean(x), mean(y)];
  const products = x.map((value, i) => (value - mx) * (y[i]! - my));
  return mean(products) / mean(x.map((value) => (value - mx) ** 2));
}
