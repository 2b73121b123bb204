/** Loading an ONNX model; the sessions live in native code, off the JavaScript thread. */
import { fileURLToPath } from 'node:url';
import { fromNative } from '../errors';
import {
  CallNumbers,
  installedCore,
  type LibraryInfo,
  native,
  type NativeOnnxModel,
  type NativeSignature,
  type NativeTensorSpec,
} from '../native';
import { checkOptions } from '../options';
import { describe, type ElementType } from '../tensor';

/** Options of {@link OnnxModel.load}. */
export interface ModelOptions {
  /**
   * In order of preference. Default: `['cuda', 'cpu']` where CUDA loads, else `['cpu']`. A provider that is asked for
   * and does not load is `BATCHED_PROVIDER_UNAVAILABLE`, unless a later one does.
   */
  executionProviders?: readonly ('cuda' | 'cpu')[];
  /** Batches that can run at the same time. Default on CPU: one per core, of one thread each. */
  lanes?: number;
  /** Threads of one run. Default: one, and all cores for a batch that has the machine for itself. */
  intraOpThreads?: number;
  /** The outputs to compute, in this order. Default: all. */
  outputs?: readonly string[];
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

/** An input or output of a model. */
export interface TensorInfo {
  /** As the model declares it; calls use it. */
  name: string;
  /** What its elements are. */
  type: ElementType;
  /** A number, or for a dynamic dimension its symbol (`'?'` where it has none). */
  dims: (number | string)[];
}

export const modelKinds = {
  executionProviders: 'strings',
  lanes: 'count',
  intraOpThreads: 'count',
  outputs: 'strings',
  batchAxis: 'object',
  shared: 'strings',
  padTokens: 'object',
  warmup: 'boolean',
  libraryPath: 'string',
} as const;

let library: LibraryInfo | undefined;

/**
 * Loads ONNX Runtime once for the process; says which library it is and why that one. Models do so by themselves.
 *
 * @param libraryPath the library to use. Default: what the process has loaded already, the copy beside the addon, the one of
 *   an installed onnxruntime-node
 * @throws BatchedError `BATCHED_LIBRARY_NOT_FOUND`, with what was tried; `BATCHED_INVALID_INPUT` if the process has loaded
 *   another library than `libraryPath`
 * @example
 * const { version, path } = loadLibrary();
 */
export function loadLibrary(libraryPath?: string): LibraryInfo {
  if (library !== undefined && libraryPath === undefined) return library;
  const loaded = native.loadLibrary({ libraryPath, candidates: installedCore() });
  if ('code' in loaded) throw fromNative(loaded.code, loaded.message);
  library = loaded;
  return loaded;
}

function info(spec: NativeTensorSpec): TensorInfo {
  return {
    name: spec.name,
    type: spec.type,
    dims: spec.dims.map((dim, axis) => (dim < 0 ? spec.symbols[axis] || '?' : dim)),
  };
}

function checkProviders(providers: readonly string[]): void {
  for (const provider of providers) {
    if (provider !== 'cpu' && provider !== 'cuda') {
      throw new RangeError(
        `OnnxModel.load: option 'executionProviders' knows 'cuda' and 'cpu', got ${describe(provider)}`,
      );
    }
  }
  if (!providers.includes('cpu')) {
    throw fromNative(
      10,
      "the CUDA provider is not built into this version of batched; use executionProviders: ['cpu']",
    );
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

/** What goes into a model and what comes out. */
export interface ModelInfo {
  /** What a call has to bring, in the model's order. */
  readonly inputs: readonly TensorInfo[];
  /** What a call gets: those of the option `outputs`, else all. */
  readonly outputs: readonly TensorInfo[];
  /** Rows of every run where the model fixes them, else 0. With 1 it runs row by row. */
  readonly fixedBatch: number;
}

export function modelInfo({ inputs, outputs, fixedBatch }: NativeSignature): ModelInfo {
  return { inputs: inputs.map(info), outputs: outputs.map(info), fixedBatch };
}

/** A loaded ONNX model. Give it to `inference.dynamically` to call it. */
export class OnnxModel implements ModelInfo {
  /** @internal */
  readonly native: NativeOnnxModel;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly fixedBatch: number;

  private constructor(made: NativeOnnxModel) {
    this.native = made;
    ({ inputs: this.inputs, outputs: this.outputs, fixedBatch: this.fixedBatch } = modelInfo(made.signature));
  }

  /**
   * Loads a model from a file or from its bytes; sessions are created on another thread.
   *
   * @param source a path, a `file:` URL, or the model's bytes
   * @throws BatchedError `BATCHED_INVALID_INPUT` (no such file, not a model, no batch axis, an unknown name),
   *   `BATCHED_LIBRARY_NOT_FOUND` (no ONNX Runtime), `BATCHED_PROVIDER_UNAVAILABLE`; TypeError or RangeError for wrong
   *   options
   * @example
   * const model = await OnnxModel.load('model.onnx', { outputs: ['sentence_embedding'] });
   */
  static async load(source: string | URL | Uint8Array, options: ModelOptions = {}): Promise<OnnxModel> {
    checkOptions('OnnxModel.load', options, modelKinds);
    checkProviders(options.executionProviders ?? ['cpu']);
    checkThreads(options.intraOpThreads ?? 0);
    const batchAxis = numbersOf('batchAxis', options.batchAxis);
    checkAxes(batchAxis);
    const path = source instanceof Uint8Array ? undefined : pathOf(source);
    loadLibrary(options.libraryPath);
    return new Promise((resolve, reject) => {
      native.loadModel(
        {
          path,
          bytes: source instanceof Uint8Array ? source : undefined,
          outputs: [...(options.outputs ?? [])],
          batchAxis,
          shared: [...(options.shared ?? [])],
          padTokens: numbersOf('padTokens', options.padTokens),
          lanes: options.lanes ?? 0,
          intraOpThreads: options.intraOpThreads ?? 0,
          warmup: options.warmup ?? true,
        },
        (refusal, made) => {
          if (made === undefined) reject(fromNative(refusal!.code, refusal!.message));
          else resolve(new OnnxModel(made));
        },
      );
    });
  }
}

function pathOf(source: unknown): string {
  // A NUL would end the path early in native code.
  if (typeof source === 'string' && source !== '' && !source.includes('\0')) return source;
  if (source instanceof URL) return fileURLToPath(source);
  throw new TypeError(`OnnxModel.load: the model must be a path, a file URL or its bytes, got ${describe(source)}`);
}
