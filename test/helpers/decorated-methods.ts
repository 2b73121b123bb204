/** Classes with decorated methods, for either dialect of decorators: decorators.test.ts compiles them in several ways. */
import { aio, batchedOf, dynamically, inference, type Tensor } from '../../ts';

const untyped = (decorator: unknown) => decorator as (...args: unknown[]) => void;
export const named = Symbol('named');

export class Service {
  readonly batches: unknown[][] = [];
  readonly selves: unknown[] = [];

  constructor(readonly factor = 1) {}

  run<T>(items: T[]): T[] {
    this.selves.push(this);
    this.batches.push([...items]);
    return items;
  }

  /** Scales. */
  @dynamically({ batchSize: 3 })
  scale(items: number[]): number[] {
    return this.run(items).map((item) => this.factor * item);
  }

  @dynamically
  bare(items: number[]): number[] {
    return this.scale(items);
  }

  @dynamically
  [named](items: number[]): number[] {
    return this.run(items);
  }

  @dynamically
  nothing(_: number[]): number[] {
    return [];
  }

  @aio.dynamically({ batchSize: 2 })
  async later(items: number[]): Promise<number[]> {
    await Promise.resolve();
    return this.run(items).map((item) => this.factor * item);
  }

  @aio.dynamically
  async bareLater(items: number[]): Promise<number[]> {
    return this.run(items);
  }

  // Against its type, as from JavaScript: a sync function with an asynchronous call, and the other way round.
  @untyped(aio.dynamically({}))
  promised(items: number[]): number[] {
    return items;
  }

  @untyped(dynamically({}))
  async awaited(items: number[]): Promise<number[]> {
    return items;
  }

  @inference.dynamically({ padTokens: { ids: 7 } })
  encode({ ids }: Record<string, Tensor>): Tensor {
    this.batches.push([...ids!.dims]);
    return ids!;
  }

  @inference.dynamically
  bareEncode({ ids }: Record<string, Tensor>): Tensor {
    this.selves.push(this);
    return ids!;
  }

  @aio.inference.dynamically({ paddingSide: 'left' })
  async encodeLater({ ids }: Record<string, Tensor>): Promise<Tensor> {
    this.selves.push(this);
    return ids!;
  }

  @aio.inference.dynamically
  async bareEncodeLater({ ids }: Record<string, Tensor>): Promise<Tensor> {
    return ids!;
  }

  @dynamically({ batchSize: 2 })
  static count(items: number[]): string[] {
    return items.map((item) => `${this.name} ${item}`);
  }
}

/** Inherits what it does not mention. */
export class Heir extends Service {}

/** Overrides without a decorator, and calls up. */
export class Plain extends Service {
  override scale(items: number[]): number[] {
    return super.scale(items).map((item) => item + 0.5);
  }
}

/** Overrides with a decorator, and calls up. */
export class Again extends Service {
  @dynamically({ batchSize: 2 })
  override scale(items: number[]): number[] {
    return super.scale(items).map((item) => -item);
  }

  get base(): (items: number[]) => number[] {
    return super.scale;
  }
}

/** Calls its method while it is being made. */
export class Eager extends Service {
  readonly first = batchedOf(this.scale)(21);
}

/** Overrides with something that is no method. */
export class Odd extends Service {
  static touched = 0;
}
Object.defineProperty(Odd.prototype, 'scale', {
  configurable: true,
  get: () => {
    Odd.touched++;
    return 'odd';
  },
});

/** Not used before a test does it. */
export class Untouched {
  @dynamically
  echo(items: number[]): number[] {
    return items.map((item) => (this instanceof Untouched ? item : NaN));
  }
}

/** Counts the calls of what it decorates, in either dialect. */
export const calls: unknown[] = [];
function logged(...args: unknown[]): never {
  const [value, key, legacy] = args as [unknown, unknown, PropertyDescriptor | undefined];
  const log = (method: (...args: unknown[]) => unknown) =>
    function (this: unknown, ...items: unknown[]): unknown {
      calls.push(items);
      return method.apply(this, items);
    };
  const outcome = legacy === undefined ? log(value as never) : { ...legacy, value: log(legacy.value as never) };
  return (key === undefined ? undefined : outcome) as never;
}

export class Stacked {
  @dynamically
  @logged
  inside(items: number[]): number[] {
    return items;
  }
}
