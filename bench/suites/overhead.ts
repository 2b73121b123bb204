/**
 * What batching costs the JavaScript thread per row, 1,024 in flight: CPU time of the main thread, garbage collection
 * included, divided by the rows. Clients are part of it and not subtracted; the floors beside show how much they are:
 * the same clients over a promise that is already there, and over promises resolved in groups by plain JavaScript.
 */
import DataLoader from 'dataloader';
import { ensureModel } from '../../scripts/models';
import { dynamically, inference } from '../lib/batched';
import { mainThreadMs } from '../lib/cpu-time';
import type { Goal, Report } from '../lib/report';
import type { Settings, Suite } from '../lib/suite';

const inFlight = 1024;
const batchSize = 64;
const tokens = 32;
const columns = 384;

type Request = (index: number) => Promise<unknown>;
type Loop = (count: number, request: Request) => Promise<void>;

interface Trial {
  readonly name: string;
  readonly request: Request;
  readonly loop: Loop;
  readonly rows: number;
  readonly goal?: Goal;
}

export const overhead: Suite = {
  about: 'main-thread microseconds per row, 1,024 in flight: a lookup model, and a scalar function',
  async run(settings, report) {
    const model = await inference.load(await ensureModel({ kind: 'lookup' }), { batchSize });
    const increment = dynamically((items: number[]) => items.map((item) => item + 1), { batchSize });
    const loader = new DataLoader<number, number>((keys) => Promise.resolve(keys.map((key) => key + 1)), {
      cache: false,
      maxBatchSize: batchSize,
    });
    await check(model, increment);

    const ids = Array.from({ length: 64 }, (_, i) => new BigInt64Array(tokens).fill(BigInt(i)));
    const row: Request = (i) => model.acall({ ids: ids[i % ids.length]! });
    const tensors = ids.map((data) => ({ ids: { type: 'int64' as const, dims: [1, tokens], data } }));
    const rowTensor: Request = (i) => model.acall(tensors[i % tensors.length]!);
    const scalar: Request = (i) => increment.acall(i);
    const ready = Promise.resolve(0);

    const rows = settings.quick ? 60_000 : 200_000;
    const scalars = settings.quick ? 300_000 : 1_000_000;
    await measure(settings, report, [
      { name: 'row-384f-us', request: row, loop: awaiting, rows, goal: { atMost: 1, aim: 0.5 } },
      { name: 'row-384f-then-us', request: row, loop: chaining, rows },
      { name: 'row-384f-tensor-us', request: rowTensor, loop: awaiting, rows },
      { name: 'row-384f-promise-floor-us', request: grouped(cutRow()), loop: awaiting, rows },
      { name: 'scalar-us', request: scalar, loop: awaiting, rows: scalars, goal: { atMost: 0.3, aim: 0.15 } },
      { name: 'scalar-then-us', request: scalar, loop: chaining, rows: scalars },
      { name: 'scalar-dataloader-us', request: (i) => loader.load(i), loop: awaiting, rows: scalars },
      { name: 'scalar-dataloader-then-us', request: (i) => loader.load(i), loop: chaining, rows: scalars },
      { name: 'scalar-promise-floor-us', request: grouped((i) => i + 1), loop: awaiting, rows: scalars },
      { name: 'client-await-floor-us', request: () => ready, loop: awaiting, rows: scalars },
      { name: 'client-then-floor-us', request: () => ready, loop: chaining, rows: scalars },
    ]);
    await model.close();
    await increment.close();
  },
};

async function measure({ rounds, log }: Settings, report: Report, trials: readonly Trial[]): Promise<void> {
  for (const { loop, request, rows } of trials) await loop(rows / 4, request);
  for (let round = 0; round < rounds; round++) {
    const figures: string[] = [];
    for (const { name, request, loop, rows, goal } of trials) {
      const start = mainThreadMs();
      await loop(rows, request);
      const us = (1e3 * (mainThreadMs() - start)) / rows;
      report.add(`overhead/${name}`, 'us', us, goal);
      figures.push(`${name} ${us.toFixed(3)}`);
    }
    log(`round ${round + 1}/${rounds}: ${figures.join(', ')}`);
  }
}

/** Clients as people write them. */
async function awaiting(count: number, request: Request): Promise<void> {
  let next = 0;
  const client = async (): Promise<void> => {
    while (next < count) await request(next++);
  };
  await Promise.all(Array.from({ length: inFlight }, client));
}

/** The lightest clients: one function, no frame to resume. */
function chaining(count: number, request: Request): Promise<void> {
  return new Promise((resolve, reject) => {
    let next = 0;
    let left = count;
    const answered = (): void => {
      if (--left === 0) resolve();
      else if (next < count) request(next++).then(answered, reject);
    };
    while (next < Math.min(inFlight, count)) request(next++).then(answered, reject);
  });
}

/** Promises and nothing else: a tick's requests are all resolved in the next, each with what `result` gives. */
function grouped(result: (index: number) => unknown): Request {
  let resolvers: ((value: unknown) => void)[] = [];
  let indices: number[] = [];
  const settle = (): void => {
    const [settling, of] = [resolvers, indices];
    [resolvers, indices] = [[], []];
    for (let i = 0; i < settling.length; i++) settling[i]!(result(of[i]!));
  };
  return (index) =>
    new Promise((resolve) => {
      if (resolvers.length === 0) setImmediate(settle);
      resolvers.push(resolve);
      indices.push(index);
    });
}

/** Gives rows as the model does: 64 of them share a buffer. */
function cutRow(): (index: number) => unknown {
  let buffer = new ArrayBuffer(0);
  let place = batchSize;
  return () => {
    if (place === batchSize) {
      buffer = new ArrayBuffer(4 * columns * batchSize);
      place = 0;
    }
    const data = new Float32Array(buffer, 4 * columns * place++, columns);
    return { type: 'float32', dims: [1, columns], data };
  };
}

/** A contender that answers wrongly may be as fast as it likes. */
async function check(
  model: Awaited<ReturnType<typeof inference.load>>,
  increment: { acall(item: number): Promise<number> },
): Promise<void> {
  const output = (await model.acall({ ids: new BigInt64Array(tokens) })) as { dims: readonly number[] };
  if (output.dims.join() !== `1,${columns}`) throw new Error(`the lookup model gave [${output.dims.join()}]`);
  if ((await increment.acall(1)) !== 2) throw new Error('1 + 1 is not 2');
}
