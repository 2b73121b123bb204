/**
 * Decorated methods: what compiles and what does not. Checked twice by tsc, with standard decorators by the project's
 * own tsconfig.json and with `experimentalDecorators` by legacy/tsconfig.json; never run.
 */
import { expectTypeOf } from 'expect-type';
import {
  aio,
  type AsyncBatched,
  type AsyncBatchedInference,
  type Batched,
  type BatchedInference,
  batchedOf,
  dynamically,
  inference,
  type Tensor,
} from '../../ts';

declare const tensor: Tensor;
type Tensors = Record<string, Tensor>;
const named = Symbol('named');

class Service {
  readonly scale = 2;

  @dynamically({ batchSize: 64 })
  lengths(items: string[]): number[] {
    return items.map((item) => this.scale * item.length);
  }

  @dynamically
  bare(items: readonly string[]): string[] {
    return [...items];
  }

  @dynamically({ lengthOf: (item: { length: number }) => item.length })
  measured(this: Service, items: string[]): Service[] {
    return items.map(() => this);
  }

  @aio.dynamically({ concurrency: 2 })
  async look(ids: number[]): Promise<string[]> {
    return ids.map(String);
  }

  @aio.dynamically
  async [named](ids: number[]): Promise<(string | undefined)[]> {
    return ids.map(String);
  }

  @inference.dynamically({ padTokens: { ids: 1 } })
  encode(features: Tensors): Tensor {
    return features['ids'] ?? tensor;
  }

  @inference.dynamically
  heads(_: Tensors): [Tensor, Tensor] {
    return [tensor, tensor];
  }

  @inference.dynamically({ spreadKwargs: true })
  spread(ids: Tensor, mask: Tensor): Tensor {
    return ids.dims.length > 1 ? ids : mask;
  }

  @aio.inference.dynamically
  async encodeLater(_: Tensors): Promise<{ logits: Tensor }> {
    return { logits: tensor };
  }

  @aio.inference.dynamically({ paddingSide: 'left' })
  async encodeLeft(_: Tensors): Promise<Tensor> {
    return tensor;
  }

  @dynamically({})
  generic<T extends string>(items: T[]): T[] {
    return items;
  }

  @dynamically({})
  optional(items: string[], factor = 1): number[] {
    return items.map((item) => factor * item.length);
  }

  @dynamically({})
  static shared(items: string[]): string[] {
    return items;
  }
}

// --- A decorator leaves the method's type alone; batchedOf gives what it is

const service = new Service();
expectTypeOf(service.lengths).toEqualTypeOf<(items: string[]) => number[]>();
expectTypeOf(batchedOf(service.lengths)).toEqualTypeOf<Batched<string, number>>();
expectTypeOf(batchedOf(service.lengths)('one')).toEqualTypeOf<number>();
expectTypeOf(batchedOf(service.lengths).acall(['a'], { priority: 1 })).resolves.toEqualTypeOf<number[]>();
expectTypeOf(batchedOf(service.bare)).toEqualTypeOf<Batched<string, string>>();
expectTypeOf(batchedOf(service.measured)).toEqualTypeOf<Batched<string, Service>>();
expectTypeOf(service.generic(['a' as const])).toEqualTypeOf<'a'[]>();
expectTypeOf(batchedOf(service.optional)).toEqualTypeOf<Batched<string, number>>();
expectTypeOf(batchedOf(service.look)).toEqualTypeOf<AsyncBatched<number, string>>();
expectTypeOf(batchedOf(service[named])).toEqualTypeOf<AsyncBatched<number, string | undefined>>();
expectTypeOf(batchedOf(service.encode)).toEqualTypeOf<BatchedInference<Tensor>>();
expectTypeOf(batchedOf(service.heads)).toEqualTypeOf<BatchedInference<[Tensor, Tensor]>>();
expectTypeOf(batchedOf(service.spread)).toEqualTypeOf<BatchedInference<Tensor>>();
expectTypeOf(batchedOf(service.encodeLater)).toEqualTypeOf<AsyncBatchedInference<{ logits: Tensor }>>();
expectTypeOf(batchedOf(service.encodeLeft)).toEqualTypeOf<AsyncBatchedInference<Tensor>>();
expectTypeOf(batchedOf(Service.shared)).toEqualTypeOf<Batched<string, string>>();
expectTypeOf(batchedOf(service.lengths, service)).toEqualTypeOf<Batched<string, number>>();

// @ts-expect-error no such item
batchedOf(service.lengths)(3);
// @ts-expect-error no method of items
batchedOf((item: string) => item);
// @ts-expect-error no function
batchedOf(3);

// --- Wrong use

export class Wrong {
  // @ts-expect-error the method must take an array
  @dynamically({})
  one(item: string): string[] {
    return [item];
  }

  // @ts-expect-error the method must take an array
  @dynamically
  oneBare(item: string): string[] {
    return [item];
  }

  // @ts-expect-error the method must return an array
  @dynamically({})
  total(items: string[]): number {
    return items.length;
  }

  // @ts-expect-error the method takes more than its items
  @dynamically({})
  more(items: string[], factor: number): number[] {
    return items.map(() => factor);
  }

  // @ts-expect-error a method that promises is for aio.dynamically, so that its type says what a call gives
  @dynamically({})
  async later(items: string[]): Promise<string[]> {
    return items;
  }

  // @ts-expect-error a method that does not promise is for dynamically
  @aio.dynamically({})
  now(items: string[]): string[] {
    return items;
  }

  // @ts-expect-error lengthOf measures strings, the items are numbers
  @dynamically({ lengthOf: (item: string) => item.length })
  unmeasured(items: number[]): number[] {
    return items;
  }

  // @ts-expect-error lengthOf measures strings, some items are numbers
  @dynamically({ lengthOf: (item: string) => item.length })
  partlyMeasured(items: (string | number)[]): unknown[] {
    return items;
  }

  // @ts-expect-error no such option
  @dynamically({ batchsize: 3 })
  misspelt(items: number[]): number[] {
    return items;
  }

  // @ts-expect-error the method must return tensors
  @inference.dynamically({})
  count(features: Tensors): number {
    return Object.keys(features).length;
  }

  // @ts-expect-error the method must take features
  @inference.dynamically
  texts(items: string[]): Tensor {
    return items.length > 1 ? tensor : tensor;
  }

  // @ts-expect-error arguments need spreadKwargs
  @inference.dynamically({})
  spread(ids: Tensor, mask: Tensor): Tensor {
    return ids.dims.length > 1 ? ids : mask;
  }

  // @ts-expect-error the method must promise tensors
  @aio.inference.dynamically
  encode(_: Tensors): Tensor {
    return tensor;
  }

  // @ts-expect-error a getter is no method
  @dynamically({})
  get items(): string[] {
    return [];
  }
}

// @ts-expect-error a class is no method
@dynamically({})
export class Whole {
  readonly items = [];
}
