/**
 * A trivial function over single items, 64 and 1,024 in flight: what batching itself costs, next to dataloader in this
 * process and to the Python library `batched` in its own (bench/peers/python). Each item is a call, each client waits
 * for its result before its next call. Python's figures are those of its fastest timeout, chosen anew in every round.
 * CPU time per item says the same of a machine that others share, where items/s depend on who else is at work.
 */
import DataLoader from 'dataloader';
import { dynamically } from '../lib/batched';
import { closedLoop } from '../lib/clients';
import { mainThreadMs } from '../lib/cpu-time';
import { type PythonFigures, pythonPeer, type PythonRun } from '../lib/python-peer';
import type { Report } from '../lib/report';
import type { Suite } from '../lib/suite';

const batchSize = 64;
const inFlight = [64, 1024] as const;
/** The library's default is 5. With 0 it asks its queue again in every turn of its event loop. */
const timeoutsMs = [0, 0.1, 0.5, 1, 5] as const;
const loneCalls = 100;

type Call = (item: number) => Promise<number>;

export const functions: Suite = {
  about: 'a trivial function, 64 and 1,024 items in flight, next to dataloader and the Python library',
  async run({ rounds, quick, log }, report) {
    const increment = dynamically((items: number[]) => items.map((item) => item + 1), { batchSize });
    const loader = new DataLoader<number, number>((keys) => Promise.resolve(keys.map((key) => key + 1)), {
      cache: false,
      maxBatchSize: batchSize,
    });
    const contenders: Record<'ours' | 'dataloader', Call> = {
      ours: (item) => increment.acall(item),
      dataloader: (item) => loader.load(item),
    };
    const python = await pythonPeer(log);
    const items = quick ? 300_000 : 1_000_000;

    for (const call of Object.values(contenders)) {
      if ((await call(1)) !== 2) throw new Error('1 + 1 is not 2');
      for (const clients of inFlight) await measured(clients, items / 4, call);
    }
    for (let round = 0; round < rounds; round++) {
      const peer = await python?.({ batchSize, inFlight, timeoutsMs, seconds: quick ? 0.2 : 0.5 });
      if (round === 0 && peer) log(`Python ${peer.python}, batched ${peer.batched}`);
      for (const clients of inFlight) {
        const ours = await measured(clients, items, contenders.ours);
        const dataloader = await measured(clients, items, contenders.dataloader);
        const name = (figure: string): string => `functions/${clients}-in-flight-${figure}`;
        report.add(name('vs-dataloader-us'), 'x', ours.us / dataloader.us, { atMost: 3 });
        report.add(name('us'), 'us', ours.us);
        report.add(name('dataloader-us'), 'us', dataloader.us);
        report.add(name('items-per-s'), '1/s', ours.itemsPerSecond);
        report.add(name('dataloader-items-per-s'), '1/s', dataloader.itemsPerSecond);
        let line = `ours ${thousands(ours.itemsPerSecond)}, dataloader ${thousands(dataloader.itemsPerSecond)}`;
        if (peer) {
          const best = bestOf(peer, clients);
          report.add(name('vs-python'), 'x', ours.itemsPerSecond / best.itemsPerSecond, { atLeast: 30 });
          report.add(name('vs-python-us'), 'x', best.us / ours.us);
          report.add(name('python-us'), 'us', best.us);
          report.add(name('python-items-per-s'), '1/s', best.itemsPerSecond);
          line += `, Python ${thousands(best.itemsPerSecond)} with timeout_ms ${best.timeoutMs}`;
        }
        log(`round ${round + 1}/${rounds}, ${clients} in flight: ${line} thousand items/s`);
      }
      await measureLone(contenders, report);
    }
    await increment.close();
  },
};

interface Measured {
  readonly itemsPerSecond: number;
  /** Main-thread CPU time per item, garbage collection included. */
  readonly us: number;
}

async function measured(clients: number, items: number, call: Call): Promise<Measured> {
  const start = performance.now();
  const cpuStart = mainThreadMs();
  await closedLoop(clients, items, call);
  const us = (1e3 * (mainThreadMs() - cpuStart)) / items;
  return { itemsPerSecond: (1e3 * items) / (performance.now() - start), us };
}

function bestOf({ runs }: PythonFigures, clients: number): PythonRun {
  const own = runs.filter((run) => run.inFlight === clients);
  return own.reduce((best, run) => (run.itemsPerSecond > best.itemsPerSecond ? run : best));
}

/** The most turns of the event loop that a lone call on an idle batcher took, called from a timer and an immediate. */
async function measureLone(contenders: Record<'ours' | 'dataloader', Call>, report: Report): Promise<void> {
  const most = { ours: 0, dataloader: 0 };
  for (const name of ['ours', 'dataloader'] as const) {
    for (const phase of [setTimeout, setImmediate]) {
      for (let i = 0; i < loneCalls; i++) {
        const turns = await new Promise<number>((resolve, reject) => {
          phase(() => {
            turnsOf(contenders[name], i).then(resolve, reject);
          });
        });
        most[name] = Math.max(most[name], turns);
      }
    }
  }
  report.add('functions/lone-turns-beyond-dataloader', '', most.ours - most.dataloader, { atMost: 0 });
  report.add('functions/lone-turns', '', most.ours);
  report.add('functions/lone-dataloader-turns', '', most.dataloader);
}

/** Turns of the event loop that begin before the call has settled: 0 is the turn that it was made in. */
async function turnsOf(call: Call, item: number): Promise<number> {
  let turns = 0;
  let immediate: NodeJS.Immediate | undefined;
  const count = (): void => {
    turns++;
    immediate = setImmediate(count);
  };
  immediate = setImmediate(count);
  await call(item);
  clearImmediate(immediate);
  return turns;
}

function thousands(value: number): string {
  return (value / 1e3).toFixed(0);
}
