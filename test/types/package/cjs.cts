/** The built package as CommonJS sees it. Checked by tsc, never run. */
import { expectTypeOf } from 'expect-type';
import batched = require('batched');
import prometheus = require('batched/prometheus');

const { aio, BatchedError, batchedOf, dynamically, inference, loadLibrary, OnnxModel } = batched;

const f = dynamically((items: string[]) => items.map((item) => item.length), { batchSize: 3 });
expectTypeOf(f).toEqualTypeOf<batched.Batched<string, number>>();
expectTypeOf(f('a')).toEqualTypeOf<number>();
expectTypeOf(f.acall(['a'])).resolves.toEqualTypeOf<number[]>();
expectTypeOf(f[Symbol.asyncDispose]).returns.toEqualTypeOf<Promise<void>>();
expectTypeOf(aio.dynamically(async (items: string[]) => items)('a')).resolves.toEqualTypeOf<string>();
expectTypeOf(inference.load('model.onnx')).resolves.toEqualTypeOf<batched.BatchedModel>();
expectTypeOf(OnnxModel.load).returns.resolves.toEqualTypeOf<batched.OnnxModel>();
expectTypeOf(loadLibrary).returns.not.toBeAny();
expectTypeOf(new BatchedError('BATCHED_CLOSED', 'text').code).toEqualTypeOf<batched.BatchedErrorCode>();

expectTypeOf(prometheus.register(f, { name: 'f' })).toEqualTypeOf<() => void>();

class Service {
  @dynamically({ batchSize: 3 })
  lengths(items: string[]): number[] {
    return items.map((item) => item.length);
  }
}
expectTypeOf(batchedOf(new Service().lengths)).toEqualTypeOf<batched.Batched<string, number>>();

// @ts-expect-error items are strings
f(3);
// @ts-expect-error there is no default export
void batched.default;
// @ts-expect-error what is internal stays so
export type { FunctionBatcher } from 'batched';
