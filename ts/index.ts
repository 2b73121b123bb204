/**
 * batched: dynamic batching for inference in Node.
 *
 * {@link dynamically} batches the calls of a function over items, {@link inference} those of a function over tensors or
 * of an ONNX model, which the native engine runs off the JavaScript thread; {@link aio} has the same with asynchronous calls.
 *
 * @module batched
 */
import { dynamically, dynamicallyAsync } from './dynamically';
import { attach, attachAsync, inferenceDynamically, inferenceDynamicallyAsync, load, loadAsync } from './inference';

/** Batching over tensors: for a function, or for an ONNX model that the native engine runs. */
export const inference = {
  /**
   * Batches calls over tensors. A model runs in the native engine, on its own threads; a function runs on the JavaScript
   * thread with one padded tensor per feature. Axis 0 is the batch.
   *
   * @example
   * const model = await OnnxModel.load('encoder.onnx');
   * const embed = inference.dynamically(model, { batchSize: 64 });
   * const { dims, data } = await embed.acall({ input_ids: [[101, 7592, 102]] });
   * @throws TypeError, RangeError for wrong options. Calls reject with what the function threw, or a {@link BatchedError}.
   */
  dynamically: inferenceDynamically,
  /**
   * {@link OnnxModel.load} and `inference.dynamically` in one: a model, ready to be called.
   *
   * @example
   * const embed = await inference.load('model.onnx', { batchSize: 64, outputs: ['sentence_embedding'] });
   * const { dims, data } = await embed.acall({ input_ids: [[101, 7592, 102]] });
   */
  load,
  /**
   * Joins a model that another thread of this process has shared: one queue, one session, common batches.
   *
   * @example
   * // worker.js, started with new Worker('./worker.js', { workerData: model.share() })
   * const model = inference.attach(workerData);
   */
  attach,
};

/** The same entry points with asynchronous calls: `await f(x)`; `acall` is an alias there. */
export const aio = {
  /** {@link dynamically} with an asynchronous call: `await f(x)`. The function may be sync or async. */
  dynamically: dynamicallyAsync,
  /** {@link inference} with asynchronous calls. */
  inference: {
    /** `inference.dynamically` with an asynchronous call: `await f(features)`. A function may be sync or async. */
    dynamically: inferenceDynamicallyAsync,
    /** `inference.load` with asynchronous calls: `await embed(features)`. */
    load: loadAsync,
    /** `inference.attach` with asynchronous calls: `await model(features)`. */
    attach: attachAsync,
  },
};

export { dynamically };
export { batchedOf } from './batched_of';
export type { BatchDecorator } from './decorators';
export type { BatchMessage, RequestMessage } from './diagnostics';
export { BatchedError, type BatchedErrorCode } from './errors';
export type { Provider } from './cuda/plan';
export { loadLibrary } from './library';
export type { ModelOptions } from './model/model_options';
export { type ModelInfo, OnnxModel, type TensorInfo } from './model/onnx_model';
export type { DeviceStats, LaneStats, LibraryInfo } from './native';
export {
  type Cache,
  type CacheOptions,
  type CacheStats,
  DiskCache,
  type DiskCacheOptions,
  type DiskCacheStats,
  MemoryCache,
  type MemoryCacheOptions,
  type MemoryCacheStats,
} from './cache/cache';
export type { BatchedControls, Health } from './callable';
export type { AsyncBatched, AsyncDynamically, Batched, Dynamically, Single } from './dynamically';
export type { BatchFunction, FunctionOptions } from './function/function_batcher';
export type { FunctionOutput } from './function/function_outputs';
export type {
  AsyncBatchedInference,
  AsyncBatchedModel,
  AsyncInferenceDynamically,
  AttachOptions,
  BatchedInference,
  BatchedModel,
  InferenceDynamically,
  InferenceFunction,
  InferenceOptions,
  LoadOptions,
  SharedControls,
  SpreadFunction,
} from './inference';
export type { Features } from './model/features';
export type { ModelBatchOptions, ModelCallOptions, Output } from './model/model_batcher';
export type { BatchOptions, CallOptions, PaddingSide, PriorityStrategy } from './options';
export type { TrimOutputs } from './function/output_trims';
export type { ModelToken } from './sharing';
export type { BatchCost, BatchStats, DispatchReasons, ModelStats, Percentiles } from './stats';
export type { ElementType, Feature, Tensor, TensorLike, TypedArray } from './tensor';
