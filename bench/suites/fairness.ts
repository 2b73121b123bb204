/**
 * A flood of large calls and a few small ones, and the reverse, through a small BERT encoder: how long the few wait,
 * against the bound in engine.h.
 */
import { ensureModel } from '../../scripts/models';
import { Random } from '../../scripts/models/random';
import { inference } from '../lib/batched';
import { timedLoop } from '../lib/clients';
import { openLoop, text, type Text } from '../lib/open-loop';
import { quantile, sorted } from '../lib/statistics';
import type { Suite } from '../lib/suite';

const vocabulary = 30_522;
const length = 32;
const batchSize = 32;
const largeRows = 64;
const maxQueueRows = 2048;
/** The default of the policy: how much later than a small call a large one may start. */
const largeCallSlackMs = 50;

export const fairness: Suite = {
  about: 'a flood of large calls and a few small ones, and the reverse: their waiting against the bound',
  async run({ rounds, quick, log }, report) {
    const path = await ensureModel({ kind: 'random', size: 'tiny' });
    const random = new Random(1, 'fairness');
    const small = text(random, length, vocabulary);
    const large = {
      input_ids: tensor(largeRows, () => BigInt(random.below(vocabulary))),
      attention_mask: tensor(largeRows, () => 1n),
      token_type_ids: tensor(largeRows, () => 0n),
    };
    const seconds = quick ? 4 : 15;
    for (let round = 0; round < (quick ? 1 : rounds); round++) {
      const model = await inference.load(path, { batchSize, maxQueueRows });
      const count = quick ? 1000 : 4000;
      await timedLoop(128, count, () => model.acall(small));
      const start = performance.now();
      await timedLoop(128, count, () => model.acall(small));
      const peak = (1e3 * count) / (performance.now() - start);

      const few = async (name: string, flood: Call, floodRows: number, call: Call, rows: number, slackMs: number) => {
        model.clearStats();
        const waits: { ms: number; before: number }[] = [];
        const pending: Promise<void>[] = [];
        await Promise.all([
          openLoop((1.1 * peak) / floodRows, seconds, () => pending.push(model.acall(flood).then(ignore, ignore))),
          openLoop(10, seconds, (due) => {
            // What may go before it: what waits, and what comes within its slack.
            const before = model.stats.queueSize + rows + (slackMs / 1e3) * 1.1 * peak;
            const done = (): void => void waits.push({ ms: performance.now() - due, before });
            pending.push(model.acall(call).then(done, ignore));
          }),
        ]);
        await Promise.all(pending);
        // engine.h, by batches as large as they were, and the batch that runs, and the one that it joins. A lane's
        // turn is longer than the run: it stages and gives results too, and under a flood nothing else.
        const { processingTime, lanes, avgBatchSize } = model.stats;
        const busy = lanes.reduce((sum, lane) => sum + lane.busy, 0) / lanes.length;
        const bound = (before: number): number =>
          slackMs + (Math.ceil((before + 1) / (lanes.length * avgBatchSize)) + 2) * (processingTime.max / busy);
        const ms = sorted(waits.map((wait) => wait.ms));
        const worst = Math.max(...waits.map((wait) => wait.ms / bound(wait.before)));
        report.add(`fairness/${name}-longest-of-bound`, '', worst, { atMost: 1 });
        report.add(`fairness/${name}-p50-ms`, 'ms', quantile(ms, 0.5));
        report.add(`fairness/${name}-longest-ms`, 'ms', quantile(ms, 1));
        log(
          `round ${round + 1}: ${name}: ${waits.length} answered, p50 ${quantile(ms, 0.5).toFixed(1)}, ` +
            `longest ${quantile(ms, 1).toFixed(1)} ms, at most ${worst.toFixed(2)} of the bound`,
        );
      };
      await few('small-among-large', large, largeRows, small, 1, 0);
      await few('large-among-small', small, 1, large, largeRows, largeCallSlackMs);
      await model.close();
    }
  },
};

type Call = Text | Record<string, ReturnType<typeof tensor>>;

const ignore = (): void => {};

function tensor(rows: number, value: () => bigint): { type: 'int64'; dims: number[]; data: BigInt64Array } {
  return { type: 'int64', dims: [rows, length], data: BigInt64Array.from({ length: rows * length }, value) };
}
