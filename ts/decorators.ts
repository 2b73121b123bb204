/**
 * The entry points as decorators, in both dialects: the standard one and TypeScript's `experimentalDecorators`.
 *
 * A decorated method is an accessor on its prototype that reads as the batched callable of whatever `this` is. So
 * inheritance, `super`, proxies and frozen objects work as they do for any method, and nothing but a WeakMap knows the
 * instances. A decorated field or `accessor` holds its instance's batched callable as a value.
 */
import { type BatchedControls, callable, isBatched } from './callable';
import { describe } from './tensor';

/** `Args`, unless the items of method `M` are none that the options can measure. */
type Fitting<M, Args extends unknown[], L> = unknown extends L
  ? Args
  : M extends (items: infer _ extends readonly L[]) => unknown
    ? Args
    : unknown[];

/**
 * Decorates what is called with `Args` and gives a `Result`; `L` is what the options take for an item. The last
 * signature is the legacy one, the others are those of standard methods, fields and accessors.
 */
export interface BatchDecorator<Args extends unknown[], Result, L = unknown> {
  <This, M extends (...args: Fitting<M, Args, L>) => Result>(
    value: M,
    context: ClassMethodDecoratorContext<This, M>,
  ): M;
  <This, M extends (...args: Fitting<M, Args, L>) => Result>(
    value: undefined,
    context: ClassFieldDecoratorContext<This, M>,
  ): (this: This, initial: M) => M;
  <This, M extends (...args: Fitting<M, Args, L>) => Result>(
    value: ClassAccessorDecoratorTarget<This, M>,
    context: ClassAccessorDecoratorContext<This, M>,
  ): ClassAccessorDecoratorResult<This, M>;
  <M extends (...args: Fitting<M, Args, L>) => Result>(
    target: object,
    name: string | symbol,
    descriptor: TypedPropertyDescriptor<M>,
  ): TypedPropertyDescriptor<M>;
}

type AnyFunction = (this: unknown, ...args: unknown[]) => unknown;
type BatchedCallable = AnyFunction & BatchedControls<unknown> & { acall: AnyFunction };

/** Makes a batched callable of a function: an entry point with its options. */
export type Wrap = (fn: AnyFunction) => unknown;

type Context = DecoratorContext & { kind: string };
type Legacy = [target: object, name: string | symbol, descriptor: PropertyDescriptor | undefined];

function isContext(value: unknown): value is Context {
  const { kind, addInitializer } = (value ?? {}) as Partial<Context>;
  return typeof kind === 'string' && typeof addInitializer === 'function';
}

/** Also true of fields and parameters; not of a callback that is given a value, its key and where it is from. */
function isLegacy(args: readonly unknown[]): boolean {
  const [, name, descriptor] = args;
  if (args.length !== 3 || (typeof name !== 'string' && typeof name !== 'symbol')) return false;
  if (descriptor === undefined || typeof descriptor === 'number') return true;
  const { configurable } = (descriptor ?? {}) as PropertyDescriptor;
  return typeof configurable === 'boolean';
}

/** Whether an entry point that was called with `args` is applied as a decorator. */
export const isDecoration = (args: readonly unknown[]): boolean => isContext(args[1]) || isLegacy(args);

/** Applies the entry point `where` to what `args`, the arguments of a decorator, stand for. */
export function decorate(where: string, args: readonly unknown[], wrap: Wrap): unknown {
  if (isLegacy(args)) return decorateLegacy(where, args as unknown as Legacy, wrap);
  const [value, context] = args as [unknown, Context];
  const own = function (this: unknown, held: unknown): unknown {
    return ownCallable(where, String(context.name), held, this, wrap);
  };
  switch (context.kind) {
    case 'method':
      return decorateMethod(value as AnyFunction, context as ClassMethodDecoratorContext, wrap);
    case 'field':
      return own;
    case 'accessor': {
      const target = value as ClassAccessorDecoratorTarget<unknown, unknown>;
      return {
        init: own,
        set(this: unknown, late: unknown): void {
          target.set.call(this, own.call(this, late));
        },
      };
    }
    default:
      throw new TypeError(
        `${where}: ${of(context.kind, context.name)} cannot be decorated; methods, fields and accessors can`,
      );
  }
}

const of = (kind: string, name: string | symbol | undefined): string => `${kind} '${String(name)}'`;

const named = <F extends object>(fn: F, name: string): F => Object.defineProperty(fn, 'name', { value: name });

/** The batched callable of `fn` as a method of `self`. What `bind` gives is as asynchronous as `fn` is. */
function wrapBound(fn: AnyFunction, self: unknown, name: string, wrap: Wrap): BatchedCallable {
  return named(wrap(named(fn.bind(self), name)) as BatchedCallable, name);
}

// --- Methods ----------------------------------------------------------------------------------------------------------

/** By the function that stands in for a decorated method: the batched callable of an object. */
const methods = new WeakMap<object, (self: unknown) => BatchedCallable>();

const isObject = (value: unknown): value is object =>
  (typeof value === 'object' && value !== null) || typeof value === 'function';

/** The batched callable of `self` that the decorated method `method` stands for; undefined for any other function. */
export function methodOf(method: unknown): ((self: unknown) => unknown) | undefined {
  return methods.get(method as object);
}

/** The function that stands in for a decorated method, wherever there is no object to read its callable from. */
function shareMethod(fn: AnyFunction, wrap: Wrap): AnyFunction {
  // The callable refers to its key, and still both go together: that is what a WeakMap is for.
  const made = new WeakMap<object, BatchedCallable>();
  const callableOf = (self: unknown): BatchedCallable => {
    if (!isObject(self)) {
      throw new TypeError(`${fn.name}: a batched method must be called on its object, not on ${describe(self)}`);
    }
    const known = made.get(self);
    if (known !== undefined) return known;
    const fresh = wrapBound(fn, self, fn.name, wrap);
    made.set(self, fresh);
    return fresh;
  };
  const shared = function (this: unknown, ...args: unknown[]): unknown {
    return callableOf(this)(...args);
  };
  Object.defineProperty(named(shared, fn.name), 'length', { value: fn.length });
  methods.set(shared, callableOf);
  return shared;
}

const isPrototype = (value: unknown): boolean =>
  Object.hasOwn(value as object, 'constructor') &&
  (value as { constructor?: { prototype?: unknown } | null }).constructor?.prototype === value;

/** Reads as the callable of its receiver; can be overwritten on it, as a method can. */
function methodDescriptor(name: string | symbol, shared: AnyFunction): PropertyDescriptor {
  const callableOf = methods.get(shared)!;
  return {
    configurable: true,
    enumerable: false,
    get(this: unknown) {
      return isObject(this) && isPrototype(this) ? shared : callableOf(this);
    },
    set(this: unknown, value: unknown) {
      const enumerable = !Object.hasOwn(this as object, name);
      Object.defineProperty(this as object, name, { value, enumerable, writable: true, configurable: true });
    },
  };
}

/**
 * A standard decorator sees no prototype; the first instance has it. Until then, and for private methods for ever, the
 * function that it returns does the same by its `this`.
 */
function decorateMethod(fn: AnyFunction, context: ClassMethodDecoratorContext, wrap: Wrap): AnyFunction {
  const shared = shareMethod(fn, wrap);
  if (context.private) return shared;
  const { name } = context;
  let installed = false;
  context.addInitializer(function (this: unknown): void {
    // All of the chain: subclasses may override the method, other decorators may have replaced what is returned here.
    for (let at = installed ? null : this; at !== null; at = Object.getPrototypeOf(at)) {
      if (Object.getOwnPropertyDescriptor(at, name)?.value !== shared) continue;
      installed = Reflect.defineProperty(at as object, name, methodDescriptor(name, shared));
    }
  });
  return shared;
}

function decorateLegacy(where: string, [, name, descriptor]: Legacy, wrap: Wrap): PropertyDescriptor {
  if (typeof descriptor?.value === 'function') {
    return methodDescriptor(name, shareMethod(descriptor.value as AnyFunction, wrap));
  }
  let kind = 'field';
  if (typeof descriptor === 'number') kind = 'parameter of';
  else if (descriptor?.get !== undefined || descriptor?.set !== undefined) kind = 'getter or setter';
  throw new TypeError(`${where}: ${of(kind, name)} cannot be decorated under experimentalDecorators; methods can`);
}

// --- Fields and accessors ---------------------------------------------------------------------------------------------

/** The batched callable of a value that an object holds; its batcher is made at first use. */
function ownCallable(where: string, name: string, fn: unknown, self: unknown, wrap: Wrap): unknown {
  if (isBatched(fn)) return fn;
  if (typeof fn !== 'function') throw new TypeError(`${where}: '${name}' must be a function, got ${describe(fn)}`);
  let made: BatchedCallable | undefined;
  const batched = (): BatchedCallable => (made ??= wrapBound(fn as AnyFunction, self, name, wrap));
  const own = callable(
    (...args: unknown[]) => batched()(...args),
    (...args: unknown[]) => batched().acall(...args),
    {
      get stats() {
        return batched().stats;
      },
      get healthy() {
        return batched().health.healthy;
      },
      clearStats: () => batched().clearStats(),
      close: (options) => batched().close(options),
    },
  );
  return named(own, name);
}
