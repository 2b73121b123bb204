/**
 * Encoders through the Node API against a raw loop over the same lane: the limit that no queue, no JavaScript and no
 * event loop stands before. Per model and length: the raw loop at the best of its batch sizes, then 64, 256 and 1,024
 * clients that each wait for their result, and a lone call against a lone run.
 *
 * Made for CUDA; `--provider cpu` runs the same on the CPU, in fp32, without goals. `--models base,minilm` chooses,
 * `--minutes` ends the suite early: what is left out then is said.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Encoded } from '../../scripts/data/tokenize';
import { Random } from '../../scripts/models/random';
import type { BatchedModel, LaneStats } from '../../ts/index';
import { inference, loadLibrary } from '../lib/batched';
import {
  fixedLength,
  type GpuModel,
  gpuModel,
  mixNames,
  type MixName,
  type ModelName,
  modelNames,
  textsOf,
} from '../lib/gpu-models';
import { GpuWatch } from '../lib/nvidia-smi';
import { type BatchSize, RawLoop } from '../lib/raw-loop';
import type { Goal, Report } from '../lib/report';
import { median, quantile, sorted } from '../lib/statistics';
import type { Settings, Suite } from '../lib/suite';
import { busiestThread, threadTimes } from '../lib/threads';

const clientCounts = [64, 256, 1024];
/** The engine always has the next full batch at hand from so many clients on. */
const clientsPerRow = 1.5;
/** A batch is as good as the best one: the smaller then counts, since it takes fewer clients to fill. */
const asGood = 0.98;
const resolutionMs = 1;
/** Where a run takes so long, larger batches are not tried: nobody would wait for them. */
const longestRunUs = 500_000;

interface Amounts {
  readonly texts: number;
  readonly batchSizes: readonly number[];
  readonly mostTokens: number;
  readonly rawSeconds: number;
  readonly warmSeconds: number;
  readonly seconds: number;
  readonly loneCalls: number;
}

function amounts(provider: string, quick: boolean): Amounts {
  if (provider === 'cpu') {
    const seconds = quick ? 0.3 : 3;
    return {
      texts: quick ? 64 : 512,
      batchSizes: [1, 4, 16],
      mostTokens: 4096,
      rawSeconds: quick ? 0.1 : 1,
      warmSeconds: seconds / 3,
      seconds,
      loneCalls: quick ? 10 : 50,
    };
  }
  return {
    texts: 2048,
    batchSizes: [8, 16, 32, 64, 128, 256, 512],
    mostTokens: 65_536,
    rawSeconds: quick ? 0.3 : 0.7,
    warmSeconds: quick ? 0.5 : 1,
    seconds: quick ? 1 : 3,
    loneCalls: quick ? 50 : 300,
  };
}

/** What one model and mix is measured with. */
interface Subject {
  readonly name: string;
  readonly mix: MixName;
  readonly model: GpuModel;
  readonly texts: readonly Encoded[];
  readonly provider: string;
}

interface Limit {
  readonly batchSize: number;
  /** Of the raw loop; undefined: it failed. */
  readonly sequencesPerS: number | undefined;
  /** Of a run with one row, where the mix has one length. */
  readonly loneUs: number | undefined;
}

export const gpu: Suite = {
  about:
    'encoders through the Node API against a raw loop over a lane (--provider cuda|cpu, --models base,minilm,large)',
  async run(settings, report) {
    const provider = settings.provider ?? 'cuda';
    const names = modelsOf(settings);
    const watch = GpuWatch.start();
    const failures: string[] = [];
    const session: Session = {
      provider,
      amount: amounts(provider, settings.quick),
      end: performance.now() + 6e4 * (settings.minutes ?? Infinity),
      watch,
      report,
      settings,
      // Time on such a machine is scarce: what fails costs its own figures only.
      attempt: async (what, work) => {
        try {
          return await work();
        } catch (error) {
          failures.push(`${what}: ${(error as Error).message}`);
          settings.log(`FAILED ${failures.at(-1)!}`);
          return undefined;
        }
      },
    };
    try {
      for (let round = 0; round < settings.rounds; round++) {
        for (const name of names) await session.attempt(name, () => measureModel(name, session));
      }
    } finally {
      watch.stop();
    }
    if (failures.length > 0) {
      settings.log(`\n${report.table()}`);
      throw new Error(`failed:\n  ${failures.join('\n  ')}`);
    }
  },
};

/** What all measurements share. */
interface Session {
  readonly provider: string;
  readonly amount: Amounts;
  /** Of performance.now(). */
  readonly end: number;
  readonly watch: GpuWatch;
  readonly report: Report;
  readonly settings: Settings;
  /** Undefined, and one failure more, if it rejects. */
  readonly attempt: <T>(what: string, work: () => Promise<T>) => Promise<T | undefined>;
}

/** The raw loop first, over all mixes, and then, when its memory is free again, the clients. */
async function measureModel(name: ModelName, session: Session): Promise<void> {
  const { provider, amount, settings, attempt } = session;
  const begin = performance.now();
  const model = await gpuModel(name, provider);
  settings.log(`${name}: ${model.path} (${((performance.now() - begin) / 1e3).toFixed(1)} s)`);
  const subjects: Subject[] = [];
  for (const mix of mixNames) {
    if ((fixedLength(mix) ?? 0) > model.longest) continue;
    subjects.push({ name: `gpu/${name}/${mix}`, mix, model, texts: await textsOf(mix, model, amount.texts), provider });
  }
  const inTime = (what: string): boolean => {
    if (performance.now() <= session.end) return true;
    settings.log(`${what}: left out, the time is up`);
    return false;
  };
  const limits = new Map<MixName, Limit>();
  const raw = await attempt(`${name}, raw loop`, () => RawLoop.start(model.path, loadLibrary().path, provider));
  for (const subject of raw === undefined ? [] : subjects) {
    if (!inTime(`${subject.name}, raw loop`)) continue;
    const limit = await attempt(`${subject.name}, raw loop`, () => findLimit(raw!, subject, session));
    if (limit !== undefined) limits.set(subject.mix, limit);
    settings.save();
  }
  await raw?.close();
  for (const subject of subjects) {
    if (!inTime(subject.name)) continue;
    await attempt(subject.name, () => measure(subject, limits.get(subject.mix) ?? noLimit(subject, amount), session));
    settings.save();
  }
}

/** Where the raw loop failed: a batch size that is not far off, and nothing to compare with. */
function noLimit({ texts }: Subject, { mostTokens, batchSizes }: Amounts): Limit {
  const longest = Math.max(...texts.map(({ length }) => length));
  const fitting = batchSizes.filter((rows) => rows <= 128 && rows * longest <= mostTokens);
  return { batchSize: fitting.at(-1) ?? 1, sequencesPerS: undefined, loneUs: undefined };
}

function modelsOf({ models, quick, provider }: Settings): readonly ModelName[] {
  if (models === undefined) return provider === 'cpu' && quick ? ['micro'] : ['base', 'minilm', 'large'];
  const unknown = models.find((name) => !(modelNames as readonly string[]).includes(name));
  if (unknown !== undefined) throw new TypeError(`--models knows ${modelNames.join(', ')}, not ${unknown}`);
  return models as ModelName[];
}

/** All texts in batches of `rows`, as well as it can be done with all of them known beforehand. */
function staticBatches(texts: readonly Encoded[], rows: number): BatchSize[] {
  const lengths = texts.map(({ length }) => length).sort((a, b) => a - b);
  const batches: BatchSize[] = [];
  for (let at = 0; at < lengths.length; at += rows) {
    const group = lengths.slice(at, at + rows);
    batches.push({ rows: group.length, length: group.at(-1)! });
  }
  return new Random(1, 'static batches').shuffle(batches);
}

/** The raw loop at its best batch. */
async function findLimit(raw: RawLoop, { name, mix, texts }: Subject, session: Session): Promise<Limit> {
  const { batchSizes, mostTokens, rawSeconds } = session.amount;
  const { report } = session;
  const { log } = session.settings;
  const length = fixedLength(mix);
  const longest = Math.max(...texts.map((text) => text.length));
  const tried: { batchSize: number; sequencesPerS: number }[] = [];
  for (const batchSize of batchSizes) {
    if (batchSize * longest > Math.max(mostTokens, longest)) break;
    const batches = length === undefined ? staticBatches(texts, batchSize) : [{ rows: batchSize, length }];
    try {
      const { rows, seconds, p50Us } = await raw.run({ seconds: rawSeconds, batches });
      tried.push({ batchSize, sequencesPerS: rows / seconds });
      if (p50Us > longestRunUs) break;
    } catch (error) {
      if (tried.length === 0) throw error;
      log(`${name}: the raw loop with ${batchSize} rows: ${(error as Error).message}`);
      break;
    }
  }
  const most = Math.max(...tried.map(({ sequencesPerS }) => sequencesPerS));
  const { batchSize } = tried.find(({ sequencesPerS }) => sequencesPerS >= asGood * most)!;
  log(
    `${name} raw, sequences/s by batch: ${tried.map((t) => `${t.batchSize}: ${t.sequencesPerS.toFixed(0)}`).join('  ')}`,
  );
  report.add(`${name}/raw-sequences-per-s`, '1/s', most);
  report.add(`${name}/raw-tokens-per-s`, '1/s', most * meanLength(texts));
  report.add(`${name}/batch-size`, 'rows', batchSize);
  if (length === undefined) return { batchSize, sequencesPerS: most, loneUs: undefined };
  const lone = await raw.run({ seconds: rawSeconds, batches: [{ rows: 1, length }], inFlight: 1 });
  report.add(`${name}/raw-lone-p50-us`, 'us', lone.p50Us);
  return { batchSize, sequencesPerS: most, loneUs: lone.p50Us };
}

async function measure(subject: Subject, limit: Limit, session: Session): Promise<void> {
  const { name, model, texts, provider } = subject;
  const { amount, report, watch } = session;
  const { log } = session.settings;
  const begin = performance.now();
  const executionProviders = [provider as 'cpu' | 'cuda'];
  const ours = await inference.load(model.path, { executionProviders, batchSize: limit.batchSize });
  try {
    if (ours.stats.provider !== provider) throw new Error(`the model runs on ${ours.stats.provider}, not ${provider}`);
    report.add(`${name}/load-s`, 's', (performance.now() - begin) / 1e3);
    const goal = (wanted: Goal, holds = true): Goal | undefined => (provider === 'cuda' && holds ? wanted : undefined);
    if (fixedLength(subject.mix) !== undefined) {
      const { p50, p99 } = await lone(ours, texts[0]!, amount.loneCalls);
      const added = p50 - (limit.loneUs ?? NaN);
      report.add(`${name}/lone-p50-us`, 'us', p50);
      report.add(`${name}/lone-p99-us`, 'us', p99);
      if (limit.loneUs !== undefined) report.add(`${name}/lone-added-us`, 'us', added, goal({ atMost: 100 }));
      log(`${name} lone: ${p50.toFixed(0)} us, ${added.toFixed(0)} us more than a raw run`);
    }
    for (const clients of clientCounts) {
      const load = await drive(ours, texts, clients, amount, watch);
      const at = `${name}/${clients}-clients`;
      const ofRaw = load.sequencesPerS / (limit.sequencesPerS ?? NaN);
      const isHeadline = name === 'gpu/base/128' && clients === 1024;
      const fills = clients >= clientsPerRow * limit.batchSize;
      if (limit.sequencesPerS !== undefined) report.add(`${at}/of-raw`, '', ofRaw, goal({ atLeast: 0.97 }, fills));
      report.add(`${at}/sequences-per-s`, '1/s', load.sequencesPerS, goal({ atLeast: 16_000 }, isHeadline));
      report.add(`${at}/tokens-per-s`, '1/s', load.tokensPerS);
      report.add(`${at}/mean-batch`, 'rows', load.meanBatch);
      report.add(`${at}/padding-efficiency`, '', load.paddingEfficiency);
      report.add(`${at}/lane-busy`, '', load.laneBusy);
      if (load.device !== undefined) {
        report.add(`${at}/device-busy`, '', load.device.busy);
        report.add(`${at}/lanes-mib`, 'MiB', load.device.bytes / 2 ** 20);
      }
      if (load.gpuBusy !== undefined) report.add(`${at}/gpu-busy`, '', load.gpuBusy);
      if (load.deviceMiB !== undefined) report.add(`${at}/device-mib`, 'MiB', load.deviceMiB);
      report.add(`${at}/event-loop-p99-ms`, 'ms', load.loopP99Ms);
      report.add(`${at}/busiest-thread`, '', load.busiest.share, goal({ atMost: 0.8 }, isHeadline));
      report.add(`${at}/process-cores`, '', load.cores);
      log(
        `${name} ${clients} clients: ${load.sequencesPerS.toFixed(0)}/s, ${ofRaw.toFixed(3)} of raw; batch ` +
          `${load.meanBatch.toFixed(1)}; lanes ${load.laneBusy.toFixed(3)} busy; loop p99 ${load.loopP99Ms.toFixed(2)} ms; ` +
          `busiest thread ${load.busiest.name} ${load.busiest.share.toFixed(2)}`,
      );
    }
    report.add(`${name}/resident-mib`, 'MiB', process.memoryUsage.rss() / 2 ** 20);
  } finally {
    await ours.close();
  }
}

const featuresOf = ({ inputIds, attentionMask, tokenTypeIds }: Encoded) => ({
  input_ids: inputIds,
  attention_mask: attentionMask,
  token_type_ids: tokenTypeIds,
});

/** Microseconds of calls that have the machine for themselves. */
async function lone(model: BatchedModel, text: Encoded, calls: number): Promise<{ p50: number; p99: number }> {
  const times: number[] = [];
  for (let i = 0; i < calls + calls / 5; i++) {
    const start = performance.now();
    await model.acall(featuresOf(text));
    if (i >= calls / 5) times.push(1e3 * (performance.now() - start));
  }
  const ascending = sorted(times);
  return { p50: quantile(ascending, 0.5), p99: quantile(ascending, 0.99) };
}

interface Load {
  readonly sequencesPerS: number;
  readonly tokensPerS: number;
  readonly meanBatch: number;
  readonly paddingEfficiency: number;
  /** Mean of the lanes' own account: the part of the time in which a run was under way. */
  readonly laneBusy: number;
  /** The same by the GPU's own clock, and the bytes that the lanes have taken of its memory. */
  readonly device: { busy: number; bytes: number } | undefined;
  /** The driver's account, where there is one. */
  readonly gpuBusy: number | undefined;
  readonly deviceMiB: number | undefined;
  readonly loopP99Ms: number;
  readonly busiest: { name: string; share: number };
  /** Cores that all threads together kept busy. */
  readonly cores: number;
}

/** Keeps `clients` requests in flight, and counts what is answered once it has warmed up. */
async function drive(
  model: BatchedModel,
  texts: readonly Encoded[],
  clients: number,
  { warmSeconds, seconds }: Amounts,
  watch: GpuWatch,
): Promise<Load> {
  const done = { sequences: 0, tokens: 0, ended: false };
  let next = 0;
  const client = async (): Promise<void> => {
    while (!done.ended) {
      const text = texts[next++ % texts.length]!;
      await model.acall(featuresOf(text));
      done.sequences++;
      done.tokens += text.length;
    }
  };
  const all = Promise.all(Array.from({ length: clients }, client));
  const measured = async (): Promise<Load> => {
    await sleep(1e3 * warmSeconds);
    const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
    const [threads, cpu, mark, begin] = [threadTimes(), process.cpuUsage(), watch.mark, performance.now()];
    model.clearStats();
    done.sequences = done.tokens = 0;
    histogram.enable();
    await sleep(1e3 * seconds);
    const ms = performance.now() - begin;
    const { sequences, tokens } = done;
    const { lanes, avgBatchSize, paddingEfficiency } = model.stats;
    const { user, system } = process.cpuUsage(cpu);
    const samples = watch.since(mark);
    histogram.disable();
    const most = (values: number[]): number | undefined => (values.length === 0 ? undefined : Math.max(...values));
    return {
      sequencesPerS: (1e3 * sequences) / ms,
      tokensPerS: (1e3 * tokens) / ms,
      meanBatch: avgBatchSize,
      paddingEfficiency,
      laneBusy: lanes.reduce((sum, { busy }) => sum + busy, 0) / lanes.length,
      device: deviceOf(lanes),
      gpuBusy: samples.length === 0 ? undefined : median(samples.map(({ busy }) => busy)),
      deviceMiB: most(samples.map(({ memoryMiB }) => memoryMiB)),
      loopP99Ms: Math.max(0, histogram.percentile(99) / 1e6 - resolutionMs),
      busiest: busiestThread(threads, ms),
      cores: (user + system) / 1e3 / ms,
    };
  };
  try {
    return await Promise.race([measured(), all.then(() => Promise.reject(new Error('the clients ended early')))]);
  } finally {
    done.ended = true;
    await all;
  }
}

/** Of all lanes together, where they run on a GPU. */
function deviceOf(lanes: readonly LaneStats[]): Load['device'] {
  const devices = lanes.flatMap(({ device }) => device ?? []);
  if (devices.length === 0) return undefined;
  const sum = (part: 'busy' | 'bytes'): number => devices.reduce((total, device) => total + device[part], 0);
  return { busy: sum('busy') / devices.length, bytes: sum('bytes') };
}

function meanLength(texts: readonly Encoded[]): number {
  return texts.reduce((sum, { length }) => sum + length, 0) / texts.length;
}
