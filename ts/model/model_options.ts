/** The options of a model: what they may be, and what native code is told of them. */
import { fileURLToPath } from 'node:url';
import type { Provider } from '../cuda/plan';
import { CallNumbers, type NativeModelOptions, type NativeQueueOptions } from '../native';
import { checkOptions } from '../options';
import { describe } from '../tensor';

/** Options of `OnnxModel.load`. */
export interface ModelOptions {
  /**
   * In order of preference. Default: `['cuda', 'cpu']` where CUDA loads, else `['cpu']`. A provider that is asked for
   * and does not load is `BATCHED_PROVIDER_UNAVAILABLE`, unless a later one does: then the process is warned, once
   * (`BATCHED_CUDA_FALLBACK`), and `stats.providerNote` says why.
   */
  executionProviders?: readonly Provider[];
  /**
   * Batches that can run at the same time. Default on CPU: one per core, of one thread each. On GPUs: lanes for each of
   * them, 1 by default, each with a copy of the weights.
   */
  lanes?: number;
  /** CPU: threads of one run. Default: one, and all cores for a batch that has the machine for itself. */
  intraOpThreads?: number;
  /** The GPU to run on, or several that share one queue, by CUDA's numbers. Default 0. */
  deviceId?: number | readonly number[];
  /** Most bytes of GPU memory that ONNX Runtime takes for each lane, weights included. Default: no bound. */
  gpuMemLimit?: number;
  /**
   * Capture small batches of shapes that come again as CUDA graphs, which makes them cheaper to start. Where a part of the
   * model runs on the CPU, they run as ever. Default false.
   */
  cudaGraphs?: boolean;
  /**
   * The outputs to give, in this order. Default: all. Others are not copied, but ONNX Runtime computes what the graph
   * has: where that is much, export the model without them.
   */
  outputs?: readonly string[];
  /**
   * For a model that gives hidden states `[batch, sequence, hidden]`: one vector `[batch, hidden]` for each row, made
   * inside the session, so that nothing else leaves the device. It is called `sentence_embedding`, has the type of the
   * hidden states (`float16` bits come in a Uint16Array) and is the only output.
   *
   * - `'mean'`: the mean over the tokens that `attention_mask` counts, summed in float32.
   * - `'cls'`: the first token that `attention_mask` counts, on whichever side rows are padded; of a model without that
   *   input the first, and then padding on the left is refused by `inference.dynamically`.
   *
   * The hidden states are the model's only output of three axes, or the one that `outputs` names. A model that can't be
   * pooled (no hidden states or several, no `attention_mask` for a mean, an ONNX opset before 11, ONNX Runtime before
   * 1.22) is `BATCHED_INVALID_INPUT`.
   *
   * @example
   * const embed = await inference.load('encoder.onnx', { pooling: 'mean', normalize: true });
   * const { dims } = await embed.acall({ input_ids: [[101, 7592, 102]] }); // [1, 384]
   */
  pooling?: 'mean' | 'cls';
  /** Give pooled vectors the length 1 (L2), in float32. Goes with `pooling`. Default false. */
  normalize?: boolean;
  /** By input or output name: the axis of the batch where it is not 0. */
  batchAxis?: Readonly<Record<string, number>>;
  /** Inputs with one value for the whole batch (a sampling rate, say); rows share a batch where these are equal. */
  shared?: readonly string[];
  /** Pad value by input name. Default 0. */
  padTokens?: Readonly<Record<string, number>>;
  /** Run a few batches while loading, so that the first choice of a batch is informed. Default true. */
  warmup?: boolean;
  /** The ONNX Runtime library to use. One process has room for one; see the README for what is tried without this. */
  libraryPath?: string;
}

export const modelKinds = {
  executionProviders: 'strings',
  lanes: 'count',
  intraOpThreads: 'count',
  deviceId: 'devices',
  gpuMemLimit: 'count',
  cudaGraphs: 'boolean',
  outputs: 'strings',
  pooling: ['mean', 'cls'],
  normalize: 'boolean',
  batchAxis: 'object',
  shared: 'strings',
  padTokens: 'object',
  warmup: 'boolean',
  libraryPath: 'string',
} as const;

function checkProviders(providers: readonly string[]): void {
  for (const provider of providers) {
    if (provider !== 'cpu' && provider !== 'cuda') {
      throw new RangeError(
        `OnnxModel.load: option 'executionProviders' knows 'cuda' and 'cpu', got ${describe(provider)}`,
      );
    }
  }
  if (providers.length === 0) {
    throw new RangeError("OnnxModel.load: option 'executionProviders' must name 'cuda', 'cpu' or both, got []");
  }
}

/** More threads than any machine has cores: ONNX Runtime would try to make them all. */
const mostThreads = 1024;

function checkThreads(threads: number): void {
  if (threads <= mostThreads) return;
  throw new RangeError(`OnnxModel.load: option 'intraOpThreads' must be at most ${mostThreads}, got ${threads}`);
}

function checkAxes(axes: Readonly<Record<string, number>>): void {
  for (const [name, axis] of Object.entries(axes)) {
    if (Number.isInteger(axis) && axis >= 0 && axis < CallNumbers.mostRank) continue;
    throw new RangeError(`OnnxModel.load: option 'batchAxis' of '${name}' must be an axis, 0 to 7, got ${axis}`);
  }
}

function numbersOf(where: string, record: Readonly<Record<string, number>> | undefined): Record<string, number> {
  for (const [name, value] of Object.entries(record ?? {})) {
    if (typeof value !== 'number' || Number.isNaN(value)) {
      throw new TypeError(`OnnxModel.load: option '${where}' of '${name}' must be a number, got ${describe(value)}`);
    }
  }
  return { ...record };
}

/** By number, as native code has them. */
const poolings: readonly unknown[] = [undefined, 'mean', 'cls'];

/** What native code is told of outputs: with pooling, `outputs` says what to pool, and what comes out is one vector. */
function outputsOf({ outputs = [], pooling, normalize = false }: ModelOptions) {
  if (pooling === undefined) {
    if (normalize) throw new TypeError("OnnxModel.load: option 'normalize' goes with option 'pooling'");
    return { pooling: 0, normalize, hiddenStates: '', outputs: [...outputs] };
  }
  if (outputs.length > 1) {
    throw new RangeError(
      `OnnxModel.load: with 'pooling', option 'outputs' names the hidden states, one output, got ${outputs.join(', ')}`,
    );
  }
  return { pooling: poolings.indexOf(pooling), normalize, hiddenStates: outputs[0] ?? '', outputs: [] };
}

function pathOf(source: unknown): string {
  // A NUL would end the path early in native code.
  if (typeof source === 'string' && source !== '' && !source.includes('\0')) return source;
  if (source instanceof URL) return fileURLToPath(source);
  throw new TypeError(`OnnxModel.load: the model must be a path, a file URL or its bytes, got ${describe(source)}`);
}

/** What native code is told, but for what the choice of a provider adds. */
export type ModelSettings = Omit<NativeModelOptions, 'preload' | 'providerNote'>;

/** Of the batches that a model is loaded for; not checked yet, which is for whoever makes them. */
export type BatchBounds = Pick<NativeQueueOptions, 'batchSize' | 'maxBatchTokens'>;

const boundOr = (value: number, otherwise: number): number =>
  Number.isSafeInteger(value) && value > 0 ? value : otherwise;

/** Checks the source and the options of `OnnxModel.load`. */
export function modelSettings(
  source: string | URL | Uint8Array,
  options: ModelOptions,
  { batchSize, maxBatchTokens }: BatchBounds,
): ModelSettings {
  checkOptions('OnnxModel.load', options, modelKinds);
  checkProviders(options.executionProviders ?? ['cpu']);
  checkThreads(options.intraOpThreads ?? 0);
  const batchAxis = numbersOf('batchAxis', options.batchAxis);
  checkAxes(batchAxis);
  const outputs = outputsOf(options);
  const fromBytes = source instanceof Uint8Array;
  return {
    path: fromBytes ? undefined : pathOf(source),
    bytes: fromBytes ? source : undefined,
    ...outputs,
    batchAxis,
    shared: [...(options.shared ?? [])],
    padTokens: numbersOf('padTokens', options.padTokens),
    lanes: options.lanes ?? 0,
    intraOpThreads: options.intraOpThreads ?? 0,
    gpus: typeof options.deviceId === 'object' ? [...options.deviceId] : [options.deviceId ?? 0],
    gpuMemLimit: options.gpuMemLimit ?? 0,
    cudaGraphs: options.cudaGraphs ?? false,
    warmup: options.warmup ?? true,
    mostRows: boundOr(batchSize, 1),
    mostTokens: boundOr(maxBatchTokens, 0),
  };
}
