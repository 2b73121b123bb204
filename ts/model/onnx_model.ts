/** Loading an ONNX model; the sessions live in native code, off the JavaScript thread. */
import { planWithout, type Provider, type ProviderPlan } from '../cuda/plan';
import { warnOfFallback } from '../cuda/warning';
import { fromNative, NativeCode } from '../errors';
import { chooseProvider } from '../library';
import { native, type NativeOnnxModel, type NativeSignature, type NativeTensorSpec, type Refusal } from '../native';
import { queueOptions } from '../options';
import type { ElementType } from '../tensor';
import { type BatchBounds, type ModelOptions, modelSettings, type ModelSettings } from './model_options';

/** An input or output of a model. */
export interface TensorInfo {
  /** As the model declares it; calls use it. */
  name: string;
  /** What its elements are. */
  type: ElementType;
  /** A number, or for a dynamic dimension its symbol (`'?'` where it has none). */
  dims: (number | string)[];
}

function info(spec: NativeTensorSpec): TensorInfo {
  return {
    name: spec.name,
    type: spec.type,
    dims: spec.dims.map((dim, axis) => (dim < 0 ? spec.symbols[axis] || '?' : dim)),
  };
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
  /** @internal Rows must not be padded on the left: the first token is pooled, and no mask tells where it is. */
  readonly firstTokenOnly: boolean;
  #released: Promise<void> | undefined;

  private constructor(made: NativeOnnxModel, pooling: ModelOptions['pooling']) {
    this.native = made;
    this.firstTokenOnly = pooling === 'cls' && made.signature.inputs.every(({ name }) => name !== 'attention_mask');
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
  static load(source: string | URL | Uint8Array, options: ModelOptions = {}): Promise<OnnxModel> {
    return OnnxModel.loadFor(source, options, queueOptions({}));
  }

  /**
   * With what is known of the batches that it is for.
   *
   * @internal
   */
  static async loadFor(
    source: string | URL | Uint8Array,
    options: ModelOptions,
    bounds: BatchBounds,
  ): Promise<OnnxModel> {
    const settings = modelSettings(source, options, bounds);
    const wanted = options.executionProviders;
    const plan = chooseProvider(wanted, options.libraryPath);
    // A second try would read them later, when they may have been changed.
    if (plan.provider === 'cuda' && settings.bytes !== undefined) settings.bytes = new Uint8Array(settings.bytes);
    return new OnnxModel(await loadBy(plan, wanted, settings), options.pooling);
  }

  /**
   * Gives the sessions and their memory back, on another thread. What `inference.dynamically` has made of the model goes
   * on, and keeps them until it is closed; to make more of it is `BATCHED_CLOSED` from now on.
   *
   * Without this a model stays until it is collected, and the garbage collector does not know how large it is. What
   * `inference.load` has loaded is released by its `close()`.
   */
  release(): Promise<void> {
    this.#released ??= new Promise((resolve) => this.native.release(resolve));
    return this.#released;
  }

  /** {@link release}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }

  /** @internal */
  get released(): boolean {
    return this.#released !== undefined;
  }
}

/** Once more without CUDA where that turns out not to load, if the caller takes another. */
async function loadBy(
  { provider, preload, note, warn }: ProviderPlan,
  wanted: readonly Provider[] | undefined,
  settings: ModelSettings,
): Promise<NativeOnnxModel> {
  if (provider === undefined) throw fromNative(NativeCode.providerUnavailable, note!);
  if (warn) warnOfFallback(note!);
  const gpus = provider === 'cuda' ? settings.gpus : [];
  const options = { ...settings, gpus, preload, providerNote: note ?? '' };
  const { refusal, made } = await new Promise<Loaded>((resolve) => {
    native.loadModel(options, (refusal, made) => resolve({ refusal, made }));
  });
  if (made !== undefined) return made;
  const { code, message } = refusal!;
  if (provider === 'cpu' || code !== NativeCode.providerUnavailable) throw fromNative(code, message);
  return loadBy(planWithout(wanted, message), wanted, settings);
}

interface Loaded {
  refusal: Refusal | undefined;
  made: NativeOnnxModel | undefined;
}
