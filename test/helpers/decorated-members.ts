/** Classes that only standard decorators can decorate: fields, accessors, private members, decorators on top. */
import { aio, batchedOf, dynamically } from '../../ts';

export class Members {
  readonly selves: unknown[] = [];
  made = 0;

  @dynamically({ batchSize: 3 })
  arrow = (items: number[]): number[] => {
    this.selves.push(this);
    return items.map((item) => 2 * item);
  };

  @dynamically
  plain = function plain(this: unknown, items: number[]): unknown[] {
    return items.map(() => this);
  };

  @aio.dynamically({ batchSize: 2 })
  accessor later = async (items: number[]): Promise<number[]> => items.map((item) => this.made + item);

  @dynamically({ batchSize: 2 })
  #secret(items: number[]): number[] {
    this.selves.push(this);
    return items.map((item) => 3 * item);
  }

  @dynamically
  #hidden = (items: number[]): number[] => items.map((item) => 5 * item);

  @dynamically
  static #counted(items: number[]): string[] {
    return items.map((item) => `${this.name} ${item}`);
  }

  @dynamically
  static field = (items: number[]): string[] => items.map((item) => `field ${item}`);

  @dynamically
  static accessor other = (items: number[]): string[] => items.map((item) => `accessor ${item}`);

  secret(items: number[]): number[] {
    return this.#secret(items);
  }

  secretMethod(): (items: number[]) => number[] {
    return this.#secret;
  }

  views() {
    return {
      secret: batchedOf(this.#secret, this),
      hidden: batchedOf(this.#hidden),
      counted: batchedOf(Members.#counted, Members),
    };
  }
}

const untyped = (decorator: unknown) => decorator as (...args: unknown[]) => never;

export class Numberless {
  @untyped(dynamically)
  count = 3;
}

export const calls: unknown[] = [];
function logged<This, Args extends unknown[], R>(method: (this: This, ...args: Args) => R, _: object) {
  return function (this: This, ...args: Args): R {
    calls.push(args);
    return method.apply(this, args);
  };
}
const noted: unknown[] = [];
const note = (_: unknown, { name }: ClassMethodDecoratorContext): void => void noted.push(name);

export class Stacked {
  constructor(readonly factor: number) {}

  @logged
  @dynamically
  outside(items: number[]): number[] {
    return items.map((item) => this.factor * item);
  }

  @note
  @dynamically
  noted(items: number[]): number[] {
    return items;
  }
}
