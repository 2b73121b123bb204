/** `batched inspect`: what a model takes and gives, and what batched does with it. */
import { BatchedError } from '../errors';
import { isAutomatic } from '../model/features';
import type { NativeTensorSpec } from '../native';
import type { ModelOptions } from '../model/model_options';
import { OnnxModel } from '../model/onnx_model';
import { type Paint, table } from './paint';

export interface InspectOptions extends Pick<ModelOptions, 'batchAxis' | 'shared' | 'outputs' | 'libraryPath'> {
  json?: boolean;
}

/** An input or output, as `--json` has it. */
interface TensorReport {
  name: string;
  type: string;
  /** A number, or for a dynamic axis its symbol (`?` where it has none). */
  dims: (number | string)[];
  /** Null: shared by the whole batch. */
  batchAxis: number | null;
  /** Of an input: the axes that rows of a batch are padded on. Of an output: those that are cut back to a row's own. */
  paddedAxes: number[];
  /** The engine makes it where a call leaves it out. */
  automatic: boolean;
}

interface ModelReport {
  inputs: TensorReport[];
  outputs: TensorReport[];
  /** Rows of every run where the model fixes them, else 0. */
  fixedBatch: number;
}

function dimsOf({ dims, symbols }: NativeTensorSpec): (number | string)[] {
  return dims.map((dim, axis) => (dim < 0 ? symbols[axis] || '?' : dim));
}

function inputReport(spec: NativeTensorSpec): TensorReport {
  const { name, type, batchAxis } = spec;
  const shared = batchAxis < 0;
  const padded = spec.dims.flatMap((dim, axis) => (dim < 0 && axis !== batchAxis && !shared ? [axis] : []));
  const own = { batchAxis: shared ? null : batchAxis, paddedAxes: padded, automatic: isAutomatic(name) };
  return { name, type, dims: dimsOf(spec), ...own };
}

/** An output is cut back where an axis carries the name of a padded one. */
function outputReport(spec: NativeTensorSpec, paddedNames: ReadonlySet<string>): TensorReport {
  const { name, type, batchAxis, symbols } = spec;
  const padded = spec.dims.flatMap((dim, axis) =>
    dim < 0 && axis !== batchAxis && paddedNames.has(symbols[axis]!) ? [axis] : [],
  );
  return { name, type, dims: dimsOf(spec), batchAxis, paddedAxes: padded, automatic: false };
}

export function reportOf(model: OnnxModel): ModelReport {
  const { inputs, outputs, fixedBatch } = model.native.signature;
  const reports = inputs.map(inputReport);
  const symbols = reports.flatMap(({ paddedAxes }, i) => paddedAxes.map((axis) => inputs[i]!.symbols[axis]!));
  const paddedNames = new Set(symbols.filter((symbol) => symbol !== ''));
  return { inputs: reports, outputs: outputs.map((spec) => outputReport(spec, paddedNames)), fixedBatch };
}

/** `[batch*, sequence~]`: the batch and what is padded or cut. */
function shape({ dims, batchAxis, paddedAxes }: TensorReport): string {
  const mark = (axis: number): string => (axis === batchAxis ? '*' : paddedAxes.includes(axis) ? '~' : '');
  return `[${dims.map((dim, axis) => `${dim}${mark(axis)}`).join(', ')}]`;
}

function batchText({ batchAxis }: TensorReport): string {
  return batchAxis === null ? 'shared by the batch' : `axis ${batchAxis}`;
}

function paddedText({ dims, paddedAxes, automatic }: TensorReport, kind: 'padded' | 'cut'): string {
  const axes = paddedAxes.map((axis) => `${dims[axis]} (axis ${axis})`).join(', ');
  const done = axes === '' ? '' : kind === 'padded' ? `padded: ${axes}` : `cut to the row's own: ${axes}`;
  return [done, automatic ? 'made where a call leaves it out' : ''].filter(Boolean).join('; ');
}

/** What batched does, in sentences. */
function conclusions({ inputs, outputs, fixedBatch }: ModelReport): string[] {
  const said: string[] = [];
  if (fixedBatch === 1) {
    said.push(
      'The batch is fixed at 1: rows run one by one, on all lanes. An export with a dynamic batch axis batches.',
    );
  } else if (fixedBatch > 1) {
    said.push(`The batch is fixed at ${fixedBatch}: every run has so many rows, and the last batch is filled up.`);
  } else {
    said.push('Rows of many calls share a batch.');
  }
  const padded = inputs.some(({ paddedAxes }) => paddedAxes.length > 0);
  if (padded) {
    said.push('Shorter rows are padded with 0 on the right. Without a mask, check that this leaves the results alone;');
    said.push("paddingSide: 'none' never pads.");
    const uncut = outputs.flatMap(({ name, dims, paddedAxes, batchAxis }) =>
      dims.some((dim, axis) => typeof dim === 'string' && axis !== batchAxis && !paddedAxes.includes(axis))
        ? [name]
        : [],
    );
    if (uncut.length > 0) {
      const list = uncut.map((name) => `'${name}'`).join(', ');
      said.push(`Of ${list} an axis has another name than what is padded: it comes as long as the batch had it.`);
    }
  } else {
    said.push('No input has a dynamic axis beside the batch: nothing is padded.');
  }
  return said;
}

function lines(file: string, report: ModelReport, paint: Paint): string[] {
  const section = (title: string, tensors: readonly TensorReport[], kind: 'padded' | 'cut'): string[] => {
    const rows = tensors.map((tensor) => [
      tensor.name,
      tensor.type,
      shape(tensor),
      batchText(tensor),
      paddedText(tensor, kind),
    ]);
    return ['', paint('bold', title), ...table(['name', 'type', 'shape', 'batch', ''], rows, new Set(), paint)];
  };
  return [
    paint('bold', file),
    ...section('Inputs', report.inputs, 'padded'),
    ...section('Outputs', report.outputs, 'cut'),
    paint('dim', '* the batch  ~ padded, or cut back'),
    '',
    ...conclusions(report),
  ];
}

/** The options that a refusal advises, as this command line has them. */
export function adviceFor(message: string): string | undefined {
  const shared = [...message.matchAll(/shared: \['([^']+)'\]/g)].map(([, name]) => `--shared ${name}`);
  const axes = [...message.matchAll(/batchAxis: \{ '([^']+)': (\w+) \}/g)];
  const words = [...shared, ...axes.map(([, name, axis]) => `--batch-axis ${name}=${axis === 'axis' ? 'AXIS' : axis}`)];
  return words.length === 0 ? undefined : `On this command line: ${words.join(' or ')}`;
}

/** The model, or its refusal printed. */
export async function inspect(file: string, options: InspectOptions, paint: Paint): Promise<number> {
  const { json, ...described } = options;
  try {
    const model = await OnnxModel.load(file, { ...described, warmup: false, lanes: 1 });
    const report = reportOf(model);
    if (json === true) console.log(JSON.stringify({ ok: true, file, ...report }, null, 2));
    else console.log(lines(file, report, paint).join('\n'));
    return 0;
  } catch (error) {
    if (!(error instanceof BatchedError) || error.code === 'BATCHED_LIBRARY_NOT_FOUND') throw error;
    const { code } = error;
    const message = error.message.replace(`the model ${file}: `, '');
    const advice = adviceFor(message);
    if (json === true) {
      console.log(JSON.stringify({ ok: false, file, error: { code, message, advice: advice ?? null } }, null, 2));
    } else {
      console.error(`${file}: ${message}`);
      if (advice !== undefined) console.error(advice);
    }
    return 1;
  }
}
