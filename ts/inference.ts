/** `inference.dynamically` and its asynchronous sibling: batching over tensors, for a user function or an ONNX model. */
import type { CacheOptions } from './cache/cache';
import { cachedInference, functionRows, modelRows } from './cache/cached_inference';
import { FeatureRows } from './cache/feature_rows';
import { type BatchedControls, dress } from './callable';
import { type BatchDecorator, decorate, isDecoration } from './decorators';
import { checkFunction, functionKinds, isAsyncFunction, nameOf } from './dynamically';
import { BatchedError } from './errors';
import { FeatureGroups } from './function/feature_groups';
import { FunctionBatcher, type FunctionOptions, isPromise } from './function/function_batcher';
import { callFeatures, type FeatureRow, lostMemory, rowLength, stackFeatures } from './function/function_features';
import { batchOutputs, callOutput, type FunctionOutput, type OutputRow } from './function/function_outputs';
import type { Features } from './model/features';
import {
  ModelBatcher,
  modelBatchKinds,
  type ModelBatchOptions,
  type ModelCallOptions,
  type Output,
  paddingSides,
  startEngine,
} from './model/model_batcher';
import type { NativeEngine } from './native';
import { modelKinds, type ModelOptions } from './model/model_options';
import { type ModelInfo, modelInfo, OnnxModel } from './model/onnx_model';
import { checkOptions, type PaddingSide, queueOptions } from './options';
import { OutputTrims, type TrimOutputs } from './function/output_trims';
import { engineOf, type ModelToken } from './sharing';
import type { BatchStats, ModelStats } from './stats';
import { describe, type Feature, type Tensor } from './tensor';

/** A function with `spreadKwargs`: gets the tensors as arguments. */
export type SpreadFunction<O extends FunctionOutput = FunctionOutput> = (...tensors: Tensor[]) => O | PromiseLike<O>;

/** A function over tensors: gets one padded tensor per feature, returns one or several with as many rows. */
export type InferenceFunction<O extends FunctionOutput = FunctionOutput> = (
  features: Record<string, Tensor>,
) => O | PromiseLike<O>;

/** Options of `inference.dynamically` over a function. */
export interface InferenceOptions
  extends Omit<FunctionOptions<FeatureRow>, 'cacheKey' | 'lengthOf'>, CacheOptions<Features> {
  /** The length of a row, from the first feature of its call. Default: that feature's axis 1, else 1. */
  lengthOf?: (feature: Feature, row: number) => number;
  /** Pad value by feature. Default 0. */
  padTokens?: Readonly<Record<string, number>>;
  /** Where short rows are padded. Default `'right'`. `'none'`: nothing is padded, only rows of equal shapes share a batch. */
  paddingSide?: PaddingSide;
  /** True: `fn` is called with the tensors as arguments, in the order of the first call's features. Default false. */
  spreadKwargs?: boolean;
  /**
   * Which axes of the outputs are as long as a feature (its axis 1) was padded to: those are cut back to a row's own
   * length, on the side that was padded. By output and axis, the feature's name; a list's outputs are called `0`, `1`
   * and so on, and a lone tensor `0`. Without it a row comes as long as its batch was, since a size alone does not tell
   * a padded axis from one that happens to be as long.
   *
   * @example
   * const tag = inference.dynamically(run, { trimOutputs: { logits: { 1: 'input_ids' } } });
   * const { logits } = await tag.acall({ input_ids: [[101, 7592, 102]] }); // dims [1, 3, labels] in any company
   * // A call's own rows are stacked, short ones padded with zeros; a list has each at its own length.
   * const rows = await tag.acall({ input_ids: [[101, 7592, 102], [101, 102]] }, { stack: false });
   *
   * A call without such a feature is refused with `BATCHED_INVALID_INPUT`; a batch whose outputs have no such axis, or
   * one of another length, fails with `BATCHED_OUTPUT_MISMATCH`.
   */
  trimOutputs?: TrimOutputs;
}

/** A batched function over tensors. Axis 0 of every feature is the batch, and so it is of the outputs. */
export interface BatchedInference<O> extends BatchedControls<BatchStats> {
  (features: Features, options: { stack: false }): O[];
  (features: Features, options?: { stack?: boolean }): O;
  /**
   * Resolves with a list: the outputs of each row, at its own length.
   *
   * @throws as it does without `stack: false`
   */
  acall(features: Features, options: ModelCallOptions & { stack: false }): Promise<O[]>;
  /**
   * Resolves with the outputs of all rows; where rows differ in length, short ones are padded with zeros.
   *
   * @throws BatchedError, by its code: `BATCHED_INVALID_INPUT`, `BATCHED_QUEUE_FULL`, `BATCHED_DEADLINE`,
   *   `BATCHED_CLOSED`, `BATCHED_OUTPUT_MISMATCH`;
   *   what the function threw; the signal's reason
   */
  acall(features: Features, options?: ModelCallOptions): Promise<O>;
}

/** The same with an asynchronous call; `acall` is an alias. */
export interface AsyncBatchedInference<O> extends BatchedControls<BatchStats> {
  (features: Features, options: ModelCallOptions & { stack: false }): Promise<O[]>;
  (features: Features, options?: ModelCallOptions): Promise<O>;
  /** An alias of the call. */
  acall(features: Features, options: ModelCallOptions & { stack: false }): Promise<O[]>;
  /** An alias of the call. */
  acall(features: Features, options?: ModelCallOptions): Promise<O>;
}

/** What a batched model carries beside its call. `stats` and `health` are the engine's: the same in every thread. */
export interface SharedControls extends BatchedControls<ModelStats> {
  /**
   * A token for `inference.attach`, with which other threads of this process call the same model: one queue, one session,
   * common batches. From then on the model stays until it is closed or this thread has ended, also when nothing refers
   * to it any more.
   *
   * @throws BatchedError `BATCHED_CLOSED`
   * @example
   * new Worker('./worker.js', { workerData: model.share() });
   */
  share(): ModelToken;
}

/**
 * A batched model. `f(features)` blocks the calling thread until its result is there (and batches with the calls of
 * every other thread); `f.acall(features)` does not. With one output the result is that {@link Tensor}, else a record
 * of tensors by name.
 *
 * `M` is {@link OnnxModel} where the model was loaded, and {@link ModelInfo} where it was attached to.
 */
export interface BatchedModel<M extends ModelInfo = OnnxModel> extends SharedControls {
  (features: Features, options: { stack: false }): Output[];
  (features: Features, options?: { stack?: boolean }): Output;
  /**
   * Resolves with a list: the outputs of each row, at its own length.
   *
   * @throws as it does without `stack: false`
   */
  acall(features: Features, options: ModelCallOptions & { stack: false }): Promise<Output[]>;
  /**
   * Resolves with the outputs of all rows; where rows differ in length, short ones are padded with zeros.
   *
   * @throws BatchedError, by its code: `BATCHED_INVALID_INPUT`, `BATCHED_QUEUE_FULL`, `BATCHED_DEADLINE`,
   *   `BATCHED_CLOSED`, `BATCHED_OUTPUT_MISMATCH`, `BATCHED_BACKEND`, `BATCHED_OUT_OF_MEMORY`, `BATCHED_DEVICE_LOST`;
   *   the signal's reason
   */
  acall(features: Features, options?: ModelCallOptions): Promise<Output>;
  /** What goes in and what comes out. */
  readonly model: M;
}

/** The same with an asynchronous call; `acall` is an alias. */
export interface AsyncBatchedModel<M extends ModelInfo = OnnxModel> extends SharedControls {
  (features: Features, options: ModelCallOptions & { stack: false }): Promise<Output[]>;
  (features: Features, options?: ModelCallOptions): Promise<Output>;
  /** An alias of the call. */
  acall(features: Features, options: ModelCallOptions & { stack: false }): Promise<Output[]>;
  /** An alias of the call. */
  acall(features: Features, options?: ModelCallOptions): Promise<Output>;
  /** What goes in and what comes out. */
  readonly model: M;
}

const inferenceKinds = {
  ...functionKinds,
  padTokens: 'object',
  paddingSide: ['right', 'left', 'none'],
  spreadKwargs: 'boolean',
  trimOutputs: 'object',
} as const;

/** A row of a batch, or why there is none. */
type RunRow = OutputRow | BatchedError;

function runFunction(fn: InferenceFunction, options: InferenceOptions, trims: OutputTrims) {
  const name = nameOf(fn);
  const side = options.paddingSide ?? 'right';
  const padTokens = options.padTokens ?? {};
  const call =
    options.spreadKwargs === true
      ? (features: Record<string, Tensor>) => (fn as unknown as SpreadFunction)(...Object.values(features))
      : fn;
  return (rows: FeatureRow[]): RunRow[] | PromiseLike<RunRow[]> => {
    const lost = rows.map(lostMemory);
    const sound = rows.filter((_, i) => lost[i] === undefined);
    if (sound.length === 0) return lost as BatchedError[];
    const lengths = trims.lengthsOf(sound);
    const split = (output: unknown): RunRow[] => {
      const outputs = batchOutputs(name, output, sound.length);
      const cuts = trims.cuts(name, outputs, lengths);
      let row = 0;
      return lost.map((error) => error ?? { outputs, cuts, row: row++ });
    };
    const output: unknown = call(stackFeatures(sound, side, padTokens));
    return isPromise(output) ? Promise.resolve(output).then(split) : split(output);
  };
}

function checkInferenceOptions(where: string, options: InferenceOptions): void {
  checkOptions(where, options, inferenceKinds);
  const padTokens: Readonly<Record<string, unknown>> = options.padTokens ?? {};
  for (const [name, value] of Object.entries(padTokens)) {
    if (typeof value !== 'number') {
      throw new TypeError(`${where}: option 'padTokens' must have numbers, got ${describe(value)} for '${name}'`);
    }
  }
  new OutputTrims(where, options.trimOutputs); // for what it throws
}

function wrapFunction(where: string, fn: InferenceFunction, options: InferenceOptions, asynchronous: boolean): unknown {
  checkFunction(where, fn);
  checkInferenceOptions(where, options);
  const name = nameOf(fn);
  const { paddingSide: side = 'right', padTokens = {}, trimOutputs, lengthOf } = options;
  const trims = new OutputTrims(where, trimOutputs);
  const groups = new FeatureGroups(side, padTokens, trims);
  const batcher = new FunctionBatcher<FeatureRow, RunRow>(
    runFunction(fn, options, trims),
    {
      ...options,
      cacheKey: undefined,
      lengthOf: lengthOf === undefined ? rowLength : ({ call, row }) => lengthOf(call.first, row),
    },
    name,
    (row) => groups.of(row),
  );
  const rowsOf = (features: Features): FeatureRow[] => {
    const call = groups.arrange(callFeatures(features));
    return Array.from({ length: call.rows }, (_, row) => ({ call, row }));
  };
  const outputOf = (rows: readonly RunRow[], callOptions: ModelCallOptions | undefined) => {
    const error = rows.find((row) => row instanceof BatchedError);
    if (error !== undefined) throw error;
    return callOutput(name, rows as readonly OutputRow[], callOptions?.stack !== false, side);
  };
  const acall = async (features: Features, callOptions?: ModelCallOptions) =>
    outputOf((await batcher.acall(rowsOf(features), callOptions)) as RunRow[], callOptions);
  const call = (features: Features, callOptions?: ModelCallOptions) => {
    if (isAsyncFunction(fn)) throw new TypeError(`${name} is asynchronous: call it with acall`);
    return outputOf(batcher.call(rowsOf(features), callOptions) as RunRow[], callOptions);
  };
  const plain = { acall, call };
  const rowCount = (features: Features) => FeatureRows.forFunction(features)?.count ?? 0;
  if (options.cache === undefined) return dress(plain, batcher, asynchronous, name, rowCount);
  const cached = cachedInference(plain, batcher, functionRows(name, side), options, name);
  // Of an async function a sync call is refused, hit or miss.
  const calls = { ...cached.calls, ...(isAsyncFunction(fn) ? { call } : {}) };
  return dress(calls, cached.batcher, asynchronous, name, rowCount);
}

/** `owned`: the model goes when the callable is closed. */
function wrapModel(model: OnnxModel, options: ModelBatchOptions, asynchronous: boolean, owned = false): unknown {
  const release = owned ? () => model.release() : undefined;
  return wrapEngine('inference.dynamically', startEngine(model, options), model, options, asynchronous, release);
}

function wrapEngine(
  where: string,
  engine: NativeEngine,
  model: ModelInfo,
  options: AttachOptions,
  asynchronous: boolean,
  release?: () => Promise<void>,
): unknown {
  const batcher = new ModelBatcher(engine, options.lengthOf, release);
  const acall = (features: Features, callOptions?: ModelCallOptions) => batcher.acall(features, callOptions);
  const call = (features: Features, callOptions?: ModelCallOptions) => batcher.call(features, callOptions);
  const plain = { acall, call };
  const { name, signature } = engine;
  const rowCount = (features: Features) => FeatureRows.forModel(features, signature.inputs)?.count ?? 0;
  let dressed: object;
  if (options.cache === undefined) {
    dressed = dress(plain, batcher, asynchronous, name, rowCount);
  } else {
    const rows = modelRows(signature, paddingSides[engine.paddingSide]!);
    const cached = cachedInference(plain, batcher, rows, options, where);
    dressed = dress(cached.calls, cached.batcher, asynchronous, name, rowCount);
  }
  return Object.defineProperties(dressed, {
    model: { value: model, enumerable: true },
    share: { value: () => batcher.share() },
  });
}

function entryPoint(where: string, asynchronous: boolean) {
  const decorating = (args: unknown[], options: InferenceOptions): unknown => {
    checkInferenceOptions(where, options);
    return decorate(where, args, (fn) => wrapFunction(where, fn as InferenceFunction, options, asynchronous));
  };
  const wrap = (target: unknown, options: object): unknown =>
    target instanceof OnnxModel
      ? wrapModel(target, options, asynchronous)
      : wrapFunction(where, target as InferenceFunction, options, asynchronous);
  return (...args: unknown[]): unknown => {
    if (isDecoration(args)) return decorating(args, {});
    const [first, second = {}] = args;
    if (first instanceof OnnxModel || typeof first === 'function') return wrap(first, second as object);
    if (typeof first !== 'object' || first === null) {
      throw new TypeError(`${where}: expected a function, an OnnxModel or options, got ${describe(first)}`);
    }
    checkOptions(where, first, { ...inferenceKinds, ...modelBatchKinds });
    const options = { ...first };
    return (...late: unknown[]) => {
      if (isDecoration(late)) return decorating(late, options);
      if (typeof late[0] === 'function' || late[0] instanceof OnnxModel) return wrap(late[0], options);
      throw new TypeError(`${where}: expected a function or an OnnxModel, got ${describe(late[0])}`);
    };
  };
}

type FeaturesDecorator = BatchDecorator<[features: Record<string, Tensor>], FunctionOutput>;
type AsyncFeaturesDecorator = BatchDecorator<[features: Record<string, Tensor>], PromiseLike<FunctionOutput>>;

// The decorators come first: the last signature is the one that compilers quote when nothing fits.

/** What `inference.dynamically` can be called with, and be applied to as a decorator. */
export type InferenceDynamically = FeaturesDecorator & {
  (
    options: InferenceOptions & { spreadKwargs: true },
  ): BatchDecorator<Tensor[], FunctionOutput> &
    (<O extends FunctionOutput>(fn: SpreadFunction<O>) => BatchedInference<O>);
  (
    options: InferenceOptions,
  ): FeaturesDecorator & (<O extends FunctionOutput>(fn: InferenceFunction<O>) => BatchedInference<O>);
  (model: OnnxModel, options?: ModelBatchOptions): BatchedModel;
  <O extends FunctionOutput>(
    fn: SpreadFunction<O>,
    options: InferenceOptions & { spreadKwargs: true },
  ): BatchedInference<O>;
  <O extends FunctionOutput>(fn: InferenceFunction<O>, options?: InferenceOptions): BatchedInference<O>;
};

/** The same for `aio.inference.dynamically`; a method that it decorates must promise its tensors. */
export type AsyncInferenceDynamically = AsyncFeaturesDecorator & {
  (
    options: InferenceOptions & { spreadKwargs: true },
  ): BatchDecorator<Tensor[], PromiseLike<FunctionOutput>> &
    (<O extends FunctionOutput>(fn: SpreadFunction<O>) => AsyncBatchedInference<O>);
  (
    options: InferenceOptions,
  ): AsyncFeaturesDecorator & (<O extends FunctionOutput>(fn: InferenceFunction<O>) => AsyncBatchedInference<O>);
  (model: OnnxModel, options?: ModelBatchOptions): AsyncBatchedModel;
  <O extends FunctionOutput>(
    fn: SpreadFunction<O>,
    options: InferenceOptions & { spreadKwargs: true },
  ): AsyncBatchedInference<O>;
  <O extends FunctionOutput>(fn: InferenceFunction<O>, options?: InferenceOptions): AsyncBatchedInference<O>;
};

export const inferenceDynamically = entryPoint('inference.dynamically', false) as InferenceDynamically;
export const inferenceDynamicallyAsync = entryPoint('aio.inference.dynamically', true) as AsyncInferenceDynamically;

/** Options of `inference.load`: those of the model and those of its batches. */
export type LoadOptions = ModelOptions & ModelBatchOptions;

function split(options: LoadOptions): { model: ModelOptions; batch: ModelBatchOptions } {
  checkOptions('inference.load', options, { ...modelKinds, ...modelBatchKinds });
  const pick = (kinds: object) =>
    Object.fromEntries(Object.entries(options).filter(([name]) => Object.hasOwn(kinds, name)));
  return { model: pick(modelKinds), batch: pick(modelBatchKinds) };
}

async function loadAndWrap(
  source: string | URL | Uint8Array,
  options: LoadOptions,
  asynchronous: boolean,
): Promise<unknown> {
  const { model, batch } = split(options);
  const loaded = await OnnxModel.loadFor(source, model, queueOptions(batch));
  try {
    return wrapModel(loaded, batch, asynchronous, true);
  } catch (error) {
    await loaded.release();
    throw error;
  }
}

/**
 * {@link OnnxModel.load} and `inference.dynamically` in one. `close()` gives the model's memory back too.
 *
 * @param source a path, a `file:` URL, or the model's bytes
 * @throws as those two do
 * @example
 * const embed = await inference.load('model.onnx', { batchSize: 64, outputs: ['sentence_embedding'] });
 */
export async function load(source: string | URL | Uint8Array, options: LoadOptions = {}): Promise<BatchedModel> {
  return (await loadAndWrap(source, options, false)) as BatchedModel;
}

/** {@link load} with asynchronous calls: `await embed(features)`. */
export async function loadAsync(
  source: string | URL | Uint8Array,
  options: LoadOptions = {},
): Promise<AsyncBatchedModel> {
  return (await loadAndWrap(source, options, true)) as AsyncBatchedModel;
}

/** Options of `inference.attach`: of those of a model, the ones that live in a JavaScript thread. */
export type AttachOptions = Pick<ModelBatchOptions, 'lengthOf' | 'cache' | 'cacheKey'>;

const attachKinds = { lengthOf: 'function', cache: 'cache', cacheKey: 'function' } as const;

function attachTo(where: string, token: ModelToken, options: AttachOptions, asynchronous: boolean): unknown {
  checkOptions(where, options, attachKinds);
  const engine = engineOf(where, token);
  return wrapEngine(where, engine, modelInfo(engine.signature), options, asynchronous);
}

/**
 * Joins a model that another thread of this process has shared. Calls of all threads form common batches in one engine
 * with one session; a sync call blocks its own thread only, and results come back to the thread that called.
 *
 * Nothing is loaded, and the options are those that the model was started with. Functions and caches live in one thread,
 * so `lengthOf`, `cache` and `cacheKey` are given again; without them a row's length is the model's dynamic dimension, and
 * nothing is looked up.
 *
 * `close()` here closes for this thread: its calls settle (or, with `drain: false`, those that wait are rejected), later
 * ones are `BATCHED_CLOSED`, and the other threads go on. `close()` where the model was loaded closes it for all. A model
 * that was not closed there ends with the last thread that has it.
 *
 * @throws TypeError if `token` is no token; BatchedError `BATCHED_INVALID_INPUT` if it is of another process,
 *   `BATCHED_CLOSED` if the model is closed or nobody has it any more
 * @example
 * // worker.js, started with new Worker('./worker.js', { workerData: model.share() })
 * const model = inference.attach(workerData);
 * const output = model({ input_ids: [[101, 7592, 102]] });
 */
export function attach(token: ModelToken, options: AttachOptions = {}): BatchedModel<ModelInfo> {
  return attachTo('inference.attach', token, options, false) as BatchedModel<ModelInfo>;
}

/** {@link attach} with asynchronous calls: `await model(features)`. */
export function attachAsync(token: ModelToken, options: AttachOptions = {}): AsyncBatchedModel<ModelInfo> {
  return attachTo('aio.inference.attach', token, options, true) as AsyncBatchedModel<ModelInfo>;
}
