/** `batchedOf`: what a decorated method is, for the type checker. */
import { isBatched } from './callable';
import { methodOf } from './decorators';
import type { AsyncBatched, Batched } from './dynamically';
import type { FunctionOutput } from './function/function_outputs';
import type { AsyncBatchedInference, BatchedInference } from './inference';
import { describe, type Tensor } from './tensor';

/**
 * The typed view of a decorated method, since a decorator cannot change a method's static type.
 *
 * A private method reads as one function for all instances, so it takes the instance too: `batchedOf(this.#embed, this)`.
 *
 * @example
 * class Embedder {
 *   \@dynamically({ batchSize: 64 })
 *   embed(texts: string[]): number[] {
 *     return texts.map((text) => text.length);
 *   }
 * }
 * const embed = batchedOf(new Embedder().embed); // Batched<string, number>
 * await embed.acall('one'); // 3
 * @throws TypeError for what is not batched.
 */
export function batchedOf<T, U>(method: (items: T[]) => U[], self?: object): Batched<T, U>;
export function batchedOf<T, U>(method: (items: T[]) => PromiseLike<U[]>, self?: object): AsyncBatched<T, U>;
export function batchedOf<O extends FunctionOutput>(
  method: ((features: Record<string, Tensor>) => O) | ((...tensors: Tensor[]) => O),
  self?: object,
): BatchedInference<O>;
export function batchedOf<O extends FunctionOutput>(
  method: ((features: Record<string, Tensor>) => PromiseLike<O>) | ((...tensors: Tensor[]) => PromiseLike<O>),
  self?: object,
): AsyncBatchedInference<O>;
export function batchedOf(method: unknown, self?: object): unknown {
  if (isBatched(method)) return method;
  const callableOf = methodOf(method);
  if (callableOf === undefined) throw new TypeError(`batchedOf: expected a batched method, got ${describe(method)}`);
  if (self === undefined) {
    const { name } = method as { name: string };
    throw new TypeError(
      `batchedOf: '${name}' is shared by all instances; give the instance too: batchedOf(method, this)`,
    );
  }
  return callableOf(self);
}
