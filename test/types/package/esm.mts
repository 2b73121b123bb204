/** The built package as an ES module sees it. Checked by tsc, never run. */
import { expectTypeOf } from 'expect-type';
import { aio, BatchedError, batchedOf, dynamically, inference, loadLibrary, OnnxModel } from 'batched';
import * as batched from 'batched';
import * as prometheus from 'batched/prometheus';
import type * as required from 'batched' with { 'resolution-mode': 'require' };

const f = dynamically((items: string[]) => items.map((item) => item.length), { batchSize: 3 });
expectTypeOf(f).toEqualTypeOf<batched.Batched<string, number>>();
expectTypeOf(f('a')).toEqualTypeOf<number>();
expectTypeOf(f.acall(['a'])).resolves.toEqualTypeOf<number[]>();
expectTypeOf(f[Symbol.asyncDispose]).returns.toEqualTypeOf<Promise<void>>();
expectTypeOf(aio.dynamically(async (items: string[]) => items)('a')).resolves.toEqualTypeOf<string>();
expectTypeOf(inference.load('model.onnx')).resolves.toEqualTypeOf<batched.BatchedModel>();
expectTypeOf(OnnxModel.load).returns.resolves.toEqualTypeOf<OnnxModel>();
expectTypeOf(new BatchedError('BATCHED_CLOSED', 'text').code).toEqualTypeOf<batched.BatchedErrorCode>();

expectTypeOf(prometheus.register(f, { name: 'f' })).toEqualTypeOf<() => void>();

class Service {
  @dynamically({ batchSize: 3 })
  lengths(items: string[]): number[] {
    return items.map((item) => item.length);
  }
}
expectTypeOf(batchedOf(new Service().lengths)).toEqualTypeOf<batched.Batched<string, number>>();

// One package in two formats: what one gives the other takes, private members and all.
expectTypeOf<keyof typeof batched>().toEqualTypeOf<Exclude<keyof typeof required, 'default'>>();
expectTypeOf<typeof batched.BatchedError>().toEqualTypeOf<typeof required.BatchedError>();
declare const model: required.OnnxModel;
expectTypeOf(inference.dynamically(model)).toEqualTypeOf<required.BatchedModel>();
expectTypeOf(loadLibrary).toEqualTypeOf<typeof required.loadLibrary>();

// @ts-expect-error items are strings
f(3);
// @ts-expect-error there is no default export
import type nothing from 'batched';
// @ts-expect-error what is internal stays so
import type { FunctionBatcher } from 'batched';
// @ts-expect-error the package has one door
import type {} from 'batched/dist/index.js';
export type { FunctionBatcher, nothing };
