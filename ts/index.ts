/** batched: dynamic batching for inference in Node. */
import { dynamically, dynamicallyAsync } from './dynamically';
import { attach, attachAsync, inferenceDynamically, inferenceDynamicallyAsync, load, loadAsync } from './inference';

/** Batching over tensors: for a function, or for an ONNX model that the native engine runs. */
export const inference = { dynamically: inferenceDynamically, load, attach };

/** The same entry points with asynchronous calls: `await f(x)`. */
export const aio = {
  dynamically: dynamicallyAsync,
  inference: { dynamically: inferenceDynamicallyAsync, load: loadAsync, attach: attachAsync },
};

export { dynamically };
export { batchedOf, type BatchDecorator } from './decorators';
export type { BatchMessage, RequestMessage } from './diagnostics';
export { BatchedError, type BatchedErrorCode } from './errors';
export { loadLibrary } from './library';
export { type ModelInfo, type ModelOptions, OnnxModel, type TensorInfo } from './model/onnx_model';
export type { LibraryInfo } from './native';
export {
  type Cache,
  type CacheOptions,
  type CacheStats,
  DiskCache,
  type DiskCacheOptions,
  MemoryCache,
  type MemoryCacheOptions,
} from './cache/cache';
export type { BatchedControls } from './callable';
export type { AsyncBatched, AsyncDynamically, Batched, Dynamically } from './dynamically';
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
} from './inference';
export type { Features } from './model/features';
export type { ModelBatchOptions, ModelCallOptions, Output } from './model/model_batcher';
export type { BatchOptions, CallOptions, PaddingSide } from './options';
export type { TrimOutputs } from './function/output_trims';
export type { ModelToken } from './sharing';
export type { BatchStats, LaneStats, ModelStats, Percentiles } from './stats';
export type { ElementType, Feature, Tensor, TensorLike, TypedArray } from './tensor';
