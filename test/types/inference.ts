/** What the entry points over tensors infer; what must not compile. Checked by `tsc --noEmit`, never run. */
import { expectTypeOf } from 'expect-type';
import type { Tensor as OrtTensor } from 'onnxruntime-node';
import {
  aio,
  type AsyncBatchedInference,
  type AsyncBatchedModel,
  BatchedError,
  type BatchedErrorCode,
  type BatchedInference,
  type BatchedModel,
  type Features,
  type Feature,
  inference,
  MemoryCache,
  type ModelInfo,
  type ModelStats,
  type ModelToken,
  OnnxModel,
  type Output,
  type Tensor,
} from '../../ts';

declare const tensor: Tensor;
declare const ort: OrtTensor;
type Tensors = Record<string, Tensor>;

// --- Functions: what they return is what callers get

const one = inference.dynamically((_: Tensors) => tensor, { padTokens: { ids: 1 }, paddingSide: 'left' });
inference.dynamically((_: Tensors) => tensor, { lengthOf: (_feature: Feature, row: number) => row });
expectTypeOf(one).toEqualTypeOf<BatchedInference<Tensor>>();
expectTypeOf(one({ ids: [[1, 2], [3]] })).toEqualTypeOf<Tensor>();
expectTypeOf(one({ ids: [[1]] }, { stack: false })).toEqualTypeOf<Tensor[]>();
expectTypeOf(one.acall({ ids: ort })).resolves.toEqualTypeOf<Tensor>();
expectTypeOf(one.acall({ ids: tensor }, { stack: false, priority: 1 })).resolves.toEqualTypeOf<Tensor[]>();

const record = inference.dynamically((_: Tensors) => ({ logits: tensor, hidden: tensor }));
expectTypeOf(record({ ids: new BigInt64Array(3) })).toEqualTypeOf<{ logits: Tensor; hidden: Tensor }>();
const list = inference.dynamically((_: Tensors): [Tensor, Tensor] => [tensor, tensor]);
expectTypeOf(list.acall({ ids: [1, 2] })).resolves.toEqualTypeOf<[Tensor, Tensor]>();

expectTypeOf(inference.dynamically(async (_: Tensors) => tensor)).toEqualTypeOf<BatchedInference<Tensor>>();
const two = aio.inference.dynamically(async (_: Tensors) => tensor);
expectTypeOf(two).toEqualTypeOf<AsyncBatchedInference<Tensor>>();
expectTypeOf(two({ ids: [[1]] })).resolves.toEqualTypeOf<Tensor>();
expectTypeOf(two({ ids: [[1]] }, { stack: false })).resolves.toEqualTypeOf<Tensor[]>();

expectTypeOf(inference.dynamically({ batchSize: 3 })((_: Tensors) => tensor)).toEqualTypeOf<BatchedInference<Tensor>>();
expectTypeOf(aio.inference.dynamically({})(async (_: Tensors) => tensor)).toEqualTypeOf<
  AsyncBatchedInference<Tensor>
>();

const spread = (ids: Tensor, mask: Tensor): Tensor => (ids.dims.length > 1 ? ids : mask);
expectTypeOf(inference.dynamically(spread, { spreadKwargs: true })).toEqualTypeOf<BatchedInference<Tensor>>();
expectTypeOf(inference.dynamically({ spreadKwargs: true })(spread)).toEqualTypeOf<BatchedInference<Tensor>>();
expectTypeOf(aio.inference.dynamically(spread, { spreadKwargs: true })).toEqualTypeOf<AsyncBatchedInference<Tensor>>();

// @ts-expect-error arguments need spreadKwargs
inference.dynamically(spread);
// @ts-expect-error features are named
one([tensor]);
// @ts-expect-error features are tensors
one({ ids: 'text' });
// @ts-expect-error a row is numbers
one({ ids: [['a']] });
// @ts-expect-error the function must return tensors
inference.dynamically((_: Tensors) => 3);
// @ts-expect-error there is no such side
inference.dynamically((_: Tensors) => tensor, { paddingSide: 'up' });
// @ts-expect-error pad values are numbers
inference.dynamically((_: Tensors) => tensor, { padTokens: { ids: '0' } });
// @ts-expect-error an axis follows a feature, by name
inference.dynamically((_: Tensors) => tensor, { trimOutputs: { logits: 1 } });
inference.dynamically((_: Tensors) => tensor, { trimOutputs: { 0: { 1: 'ids' }, hidden: { 2: 'ids' } } });
// @ts-expect-error no such option
inference.dynamically({ padToken: 3 });
// @ts-expect-error no such option of a call
void one.acall({ ids: [[1]] }, { stacked: false });

// --- Models

declare const model: OnnxModel;
expectTypeOf(OnnxModel.load('model.onnx')).resolves.toEqualTypeOf<OnnxModel>();
const batched = inference.dynamically(model, { batchSize: 3 });
expectTypeOf(batched).toEqualTypeOf<BatchedModel>();
expectTypeOf(batched({ ids: [[1], [2, 3]] })).toEqualTypeOf<Output>();
expectTypeOf(batched.acall({ ids: ort }, { stack: false })).resolves.toEqualTypeOf<Output[]>();
expectTypeOf(batched.stats).toEqualTypeOf<ModelStats>();
expectTypeOf(batched.model).toEqualTypeOf<OnnxModel>();
expectTypeOf(aio.inference.dynamically(model)).toEqualTypeOf<AsyncBatchedModel>();
expectTypeOf(inference.load('model.onnx', { batchSize: 3 })).resolves.toEqualTypeOf<BatchedModel>();
expectTypeOf(aio.inference.load(new Uint8Array(3))).resolves.toEqualTypeOf<AsyncBatchedModel>();
expectTypeOf(inference.load('model.onnx', { pooling: 'mean', normalize: true })).resolves.toEqualTypeOf<BatchedModel>();
// @ts-expect-error there is no such pooling
void inference.load('model.onnx', { pooling: 'max' });
// @ts-expect-error a model takes no concurrency
inference.dynamically(model, { concurrency: 3 });
// @ts-expect-error models come from a path or bytes
void inference.load(3);

// --- Sharing

const token = batched.share();
expectTypeOf(token).toEqualTypeOf<ModelToken>();
const attached = inference.attach(token, { lengthOf: (_, row) => row, cache: new MemoryCache() });
expectTypeOf(attached).toEqualTypeOf<BatchedModel<ModelInfo>>();
expectTypeOf(attached.model).toEqualTypeOf<ModelInfo>();
expectTypeOf(attached.share()).toEqualTypeOf<ModelToken>();
expectTypeOf(attached({ ids: [[1]] })).toEqualTypeOf<Output>();
expectTypeOf(aio.inference.attach(token)).toEqualTypeOf<AsyncBatchedModel<ModelInfo>>();
// What takes an attached model takes a loaded one.
expectTypeOf<BatchedModel>().toExtend<BatchedModel<ModelInfo>>();
// @ts-expect-error the options are those of the model
inference.attach(token, { batchSize: 3 });
// @ts-expect-error a token comes from share()
inference.attach('token');
// @ts-expect-error functions stay in their thread
one.share();

// --- Caches: the key is made of the features of one row

inference.dynamically((_: Tensors) => tensor, {
  cache: new Map(),
  cacheKey: (features) => expectTypeOf(features).toEqualTypeOf<Features>(),
});
inference.dynamically(model, { cache: new MemoryCache(), cacheKey: ({ ids }) => ids });
void inference.load('model.onnx', { cache: new MemoryCache(), cacheKey: ({ ids }) => ids });
// @ts-expect-error cacheKey gets features
inference.dynamically(model, { cacheKey: (item: string) => item });

// --- Errors

expectTypeOf(new BatchedError('BATCHED_CLOSED', 'text').code).toEqualTypeOf<BatchedErrorCode>();
// @ts-expect-error no such code
new BatchedError('BATCHED_NONSENSE', 'text');
