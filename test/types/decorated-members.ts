/** What only standard decorators can do: fields, accessors and private methods. Checked by `tsc --noEmit`, never run. */
import { expectTypeOf } from 'expect-type';
import { aio, type AsyncBatched, type Batched, batchedOf, dynamically, inference, type Tensor } from '../../ts';

class Service {
  @dynamically({ batchSize: 3 })
  field = (items: string[]): number[] => items.map((item) => item.length);

  @dynamically
  bare = (items: readonly string[]): number[] => items.map((item) => item.length);

  @aio.dynamically({ lengthOf: (item: string) => item.length })
  accessor look = async (items: string[]): Promise<number[]> => this.field(items);

  @inference.dynamically
  accessor encode = ({ ids }: Record<string, Tensor>): Tensor[] => (ids === undefined ? [] : [ids]);

  @dynamically({ batchSize: 3 })
  #secret(items: string[]): number[] {
    return this.field(items);
  }

  @dynamically
  static #counted(items: string[]): number[] {
    return items.map(() => 1);
  }

  @dynamically
  #hidden = (items: string[]): number[] => this.field(items);

  views() {
    return [batchedOf(this.#secret, this), batchedOf(Service.#counted, Service), batchedOf(this.#hidden)] as const;
  }
}

const service = new Service();
expectTypeOf(service.field).toEqualTypeOf<(items: string[]) => number[]>();
expectTypeOf(batchedOf(service.field)).toEqualTypeOf<Batched<string, number>>();
expectTypeOf(batchedOf(service.bare)).toEqualTypeOf<Batched<string, number>>();
expectTypeOf(batchedOf(service.look)).toEqualTypeOf<AsyncBatched<string, number>>();
expectTypeOf(batchedOf(service.encode)({ ids: [[1]] })).toEqualTypeOf<Tensor[]>();
expectTypeOf(service.views()[0]).toEqualTypeOf<Batched<string, number>>();

export class Wrong {
  // @ts-expect-error the function must take an array
  @dynamically({})
  field = (item: string): string[] => [item];

  // @ts-expect-error the function must take an array
  @dynamically
  accessor bare = (item: string): string[] => [item];

  // @ts-expect-error no function
  @dynamically({})
  count = 3;

  // @ts-expect-error lengthOf measures strings, the items are numbers
  @aio.dynamically({ lengthOf: (item: string) => item.length })
  accessor unmeasured = async (items: number[]): Promise<number[]> => items;

  // @ts-expect-error the method must take an array
  @dynamically({})
  #secret(item: string): string[] {
    return [item];
  }

  use(): string[] {
    return this.#secret('a');
  }
}
