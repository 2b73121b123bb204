/** `batched bench`: how many rows a second, and how long one takes, by batch size and length. */
import { accessSync, constants, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { SingleBar } from 'cli-progress';
import { BatchedError } from '../errors';
import { inferenceDynamically } from '../inference';
import { loadLibrary } from '../library';
import type { ModelOptions } from '../model/model_options';
import { OnnxModel } from '../model/onnx_model';
import type { PaddingSide } from '../options';
import type { BenchReport, Result, Setting } from './bench_report';
import { chartOf } from './chart';
import { checkChartFile, writeChart } from './chart_file';
import { type Figures, measure } from './measure';
import { hasLengths, madeUpRow, seeded } from './made_up_inputs';
import { type Paint, table } from './paint';

type Described = Pick<ModelOptions, 'batchAxis' | 'shared' | 'outputs' | 'libraryPath' | 'lanes' | 'intraOpThreads'>;

export interface BenchOptions extends Described {
  lengths: number[];
  batchSizes: number[];
  clients: number;
  seconds: number;
  maxId: number;
  value?: Record<string, number>;
  paddingSide?: PaddingSide;
  json?: string;
  chart?: string;
}

/** Requests that the clients take turns with. */
const differentRows = 64;

/** By length: a lone client first, then every batch size under load. */
function settingsOf(model: OnnxModel, { lengths, batchSizes, clients }: BenchOptions): Setting[] {
  const sizes = model.fixedBatch > 0 ? [model.fixedBatch] : batchSizes;
  return (hasLengths(model.native.signature) ? lengths : [null]).flatMap((length) => [
    ...(clients === 1 ? [] : [{ length, batchSize: sizes[0]!, clients: 1 }]),
    ...sizes.map((batchSize) => ({ length, batchSize, clients })),
  ]);
}

async function figuresOf(model: OnnxModel, setting: Setting, options: BenchOptions): Promise<Figures> {
  const { length, batchSize, clients } = setting;
  const random = seeded(1);
  const madeUp = { maxId: options.maxId, values: options.value ?? {} };
  const { signature } = model.native;
  const rows = Array.from({ length: differentRows }, () => madeUpRow(signature, length ?? 1, madeUp, random));
  const { paddingSide } = options;
  const call = inferenceDynamically(model, { batchSize, ...(paddingSide === undefined ? {} : { paddingSide }) });
  try {
    return await measure(call, rows, clients, options.seconds);
  } catch (error) {
    if (!(error instanceof BatchedError)) throw error;
    const made = `The inputs were made up${length === null ? '' : ` (length ${length})`}: `;
    const advice = '--max-id, --value or --lengths may make valid ones.';
    throw new BatchedError(error.code, `${error.message}\n${made}${advice}`, { cause: error });
  } finally {
    await call.close({ drain: false });
  }
}

/** On a terminal, a bar that moves with the time; stop it before anything is printed. */
function progressBar(settings: readonly Setting[], perSetting: number) {
  let done = 0;
  let since = performance.now();
  const format = ' {bar} {percentage} %  {setting}, {eta_formatted} left';
  const bar = new SingleBar({ format, stream: process.stderr, clearOnComplete: true, barsize: 30 });
  const shown = process.stderr.isTTY;
  const now = () => done + Math.min(perSetting, (performance.now() - since) / 1000);
  const label = ({ length, batchSize, clients }: Setting) =>
    `${length === null ? '' : `length ${length}, `}${clients === 1 ? 'alone' : `batches of ${batchSize}`}`;
  if (shown) bar.start(settings.length * perSetting, 0, { setting: '' });
  const timer = setInterval(() => bar.update(now()), 100);
  return {
    begin: (setting: Setting) => {
      since = performance.now();
      bar.update(now(), { setting: label(setting) });
    },
    end: () => void (done += perSetting),
    stop: () => {
      clearInterval(timer);
      if (shown) bar.stop();
    },
  };
}

async function run(model: OnnxModel, options: BenchOptions): Promise<Result[]> {
  const settings = settingsOf(model, options);
  const bar = progressBar(settings, 1.2 * options.seconds);
  const results: Result[] = [];
  try {
    for (const setting of settings) {
      bar.begin(setting);
      results.push({ ...setting, ...(await figuresOf(model, setting, options)) });
      bar.end();
    }
  } finally {
    bar.stop();
  }
  return results;
}

function notes(model: OnnxModel): string[] {
  const said: string[] = [];
  if (model.fixedBatch > 0) said.push(`The model fixes its batch at ${model.fixedBatch}: --batch-sizes has no say.`);
  if (!hasLengths(model.native.signature)) said.push('All rows have one shape: --lengths has no say.');
  return said;
}

/** The most of every length stands out. */
function lines({ results }: BenchReport, paint: Paint): string[] {
  const cells = results.map(({ length, batchSize, clients, rowsPerSecond, latency, avgBatchSize }) => [
    length === null ? '' : String(length),
    String(clients),
    clients === 1 ? '' : String(batchSize),
    rowsPerSecond < 100 ? rowsPerSecond.toFixed(1) : rowsPerSecond.toFixed(0),
    ...[latency.p50, latency.p90, latency.p99].map((ms) => ms.toFixed(ms < 10 ? 2 : 1)),
    avgBatchSize.toFixed(1),
  ]);
  const heads = ['length', 'clients', 'batchSize', 'rows/s', 'p50 ms', 'p90 ms', 'p99 ms', 'rows in a batch'];
  const [head, ...body] = table(heads, cells, new Set(heads.keys()), paint);
  const best = new Map<number | null, number>();
  for (const { length, rowsPerSecond } of results) {
    best.set(length, Math.max(best.get(length) ?? 0, rowsPerSecond));
  }
  const isBest = ({ length, rowsPerSecond }: Result): boolean => best.get(length) === rowsPerSecond;
  return [head!, ...body.map((line, i) => (isBest(results[i]!) ? paint('green', line) : line))];
}

/** Better now than after minutes of work. */
function checkFolder(file: string): void {
  accessSync(path.dirname(path.resolve(file)), constants.W_OK);
}

export async function bench(file: string, options: BenchOptions, paint: Paint): Promise<number> {
  const { json, chart } = options;
  for (const written of [json === '-' ? undefined : json, chart]) if (written !== undefined) checkFolder(written);
  if (chart !== undefined) await checkChartFile(chart);
  const { batchAxis, shared, outputs, libraryPath, lanes, intraOpThreads } = options;
  const described = { batchAxis, shared, outputs, libraryPath, lanes, intraOpThreads };
  const given = Object.fromEntries(Object.entries(described).filter(([, value]) => value !== undefined));
  const model = await OnnxModel.load(file, given);
  const report: BenchReport = {
    model: path.basename(file),
    fixedBatch: model.fixedBatch,
    provider: 'cpu',
    onnxruntime: loadLibrary().version,
    machine: {
      cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
      cores: os.availableParallelism(),
      platform: `${process.platform}-${process.arch}`,
      node: process.version,
    },
    date: new Date().toISOString(),
    seconds: options.seconds,
    results: await run(model, options),
  };
  if (json === '-') console.log(JSON.stringify(report, null, 2));
  else {
    const { cpu, cores, node } = report.machine;
    const head = `${report.model}: ${cpu}, ${cores} cores, Node ${node}, ONNX Runtime ${report.onnxruntime}`;
    console.log([paint('bold', head), ...notes(model), '', ...lines(report, paint)].join('\n'));
    if (json !== undefined) writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`);
  }
  if (chart !== undefined) {
    await writeChart(chart, chartOf(report));
    if (json !== '-') console.log(`\nThe chart is in ${chart}`);
  }
  return 0;
}
