/** Decorated methods: the same behaviour in both dialects, however they are compiled. */
import { describe, expect, jest, test } from '@jest/globals';
import { aio, batchedOf, dynamically, inference } from '../../ts';
import { legacy, load, standard } from '../helpers/compiled';
import type * as Methods from '../helpers/decorated-methods';

describe.each([...standard, ...legacy])('methods (%s)', (_, compile) => {
  const methods = load<typeof Methods>('decorated-methods.ts', compile);
  const { Again, calls, Eager, Heir, Odd, Plain, Service, Stacked, Untouched } = methods;

  test('a method is called as before, in batches', () => {
    const service = new Service(10);
    expect(service.scale([1, 2, 3, 4])).toEqual([10, 20, 30, 40]);
    expect(service.batches).toEqual([[1, 2, 3], [4]]);
  });

  test('a method reads as the batched callable of its instance, which batchedOf types', async () => {
    const service = new Service(10);
    const scale = batchedOf(service.scale);
    expect(scale).toBe(service.scale);
    expect(scale(1)).toBe(10);
    expect(await Promise.all([scale.acall(2), scale.acall([3, 4])])).toEqual([20, [30, 40]]);
    expect(service.batches).toEqual([[1], [2, 3, 4]]);
    expect(scale.stats).toMatchObject({ totalProcessed: 4, totalBatches: 2 });
    expect(scale.name).toBe('scale');
    await scale.close();
    expect(scale.health.healthy).toBe(false);
    expect(() => service.scale([1])).toThrow('scale is closed');
  });

  test('this is the instance, and each has a batcher of its own', async () => {
    const [one, two] = [new Service(1), new Service(2)];
    expect(one.scale).toBe(one.scale);
    expect(one.scale).not.toBe(two.scale);
    const calls = [batchedOf(one.scale).acall(1), batchedOf(two.scale).acall(1)];
    expect(await Promise.all(calls)).toEqual([1, 2]);
    expect([one.selves, two.selves]).toEqual([[one], [two]]);
    await batchedOf(one.scale).close();
    expect(two.scale([1])).toEqual([2]);
  });

  test('a method that is taken off its object stays with it', () => {
    const service = new Service(10);
    const { scale } = service;
    expect(scale([1])).toEqual([10]);
    expect([[1], [2]].map(service.scale)).toEqual([[10], [20]]);
  });

  test('without options: the bare decorator', () => {
    const service = new Service(2);
    expect(service.bare([1, 2])).toEqual([2, 4]);
    expect(batchedOf(service.bare)(1)).toBe(2);
  });

  test('a symbol names a method as well as a string', () => {
    const service = new Service();
    expect(service[methods.named]([1])).toEqual([1]);
    expect(batchedOf(service[methods.named]).stats.totalProcessed).toBe(1);
  });

  test('the messages name the method', () => {
    expect(() => new Service().nothing([1])).toThrow(/^nothing: .*1 items.*0 results/);
  });

  test('aio: the call is asynchronous', async () => {
    const service = new Service(10);
    const later = batchedOf(service.later);
    expect(await Promise.all([service.later([1]), later(2), later.acall(3, { priority: 1 })])).toEqual([[10], 20, 30]);
    expect(service.batches).toEqual([[1, 2], [3]]);
    expect(await service.bareLater([1])).toEqual([1]);
    await expect(service.promised([1])).resolves.toEqual([1]);
  });

  test('an async method under dynamically: acall awaits it, the sync call is refused', async () => {
    const service = new Service();
    expect(() => service.awaited([1])).toThrow('awaited is asynchronous: call it with acall');
    expect(await batchedOf(service.awaited).acall(1)).toBe(1);
  });

  test('inference: features in, tensors out, padded as the options say', async () => {
    const service = new Service();
    const encode = batchedOf(service.encode);
    const rows = await encode.acall({ ids: [[1, 2], [3]] }, { stack: false });
    expect(rows).toHaveLength(2);
    expect(encode({ ids: [[1, 2, 3]] }).dims).toEqual([1, 3]);
    expect(service.batches).toEqual([
      [2, 2],
      [1, 3],
    ]);
    expect(batchedOf(service.bareEncode)({ ids: [[1]] }).dims).toEqual([1, 1]);
    expect((await batchedOf(service.encodeLater)({ ids: [[1]] })).dims).toEqual([1, 1]);
    expect((await batchedOf(service.bareEncodeLater).acall({ ids: [[1]] })).dims).toEqual([1, 1]);
    expect(service.selves).toEqual([service, service]);
  });

  describe('inheritance', () => {
    test('an heir has the method, with one batcher per instance', () => {
      const [heir, service] = [new Heir(3), new Service(2)];
      expect(heir.scale([1])).toEqual([3]);
      expect(service.scale([1])).toEqual([2]);
      expect(heir.scale).toBe(heir.scale);
      expect(heir.selves).toEqual([heir]);
    });

    test('a plain override wins, and super reaches the batched method of the same instance', () => {
      const plain = new Plain(10);
      expect(plain.scale([1, 2, 3, 4])).toEqual([10.5, 20.5, 30.5, 40.5]);
      expect(plain.batches).toEqual([[1, 2, 3], [4]]);
      expect(plain.selves[0]).toBe(plain);
      expect(() => batchedOf(plain.scale)).toThrow(TypeError);
    });

    test('a decorated override and the method it overrides have a batcher each', () => {
      const again = new Again(10);
      expect(again.scale([1, 2, 3])).toEqual([-10, -20, -30]);
      expect(again.batches).toEqual([[1, 2], [3]]);
      expect(batchedOf(again.scale).stats.batchSizes).toEqual({ 1: 1, 2: 1 });
      expect(batchedOf(again.base).stats.batchSizes).toEqual({ 1: 1, 2: 1 });
      expect(again.base).not.toBe(again.scale);
      const other = new Again(1);
      expect(batchedOf(other.base).stats.admitted).toBe(0);
    });

    test('the order in which classes are first used does not matter', () => {
      const fresh = load<typeof Methods>('decorated-methods.ts', compile);
      expect(new fresh.Again(1).scale([1])).toEqual([-1]);
      expect(new fresh.Plain(1).scale([1])).toEqual([1.5]);
      expect(batchedOf(new fresh.Service(1).scale)(1)).toBe(1);
      expect(batchedOf(new fresh.Heir(1).scale)(1)).toBe(1);
    });

    test('an override that is a getter is left alone', () => {
      const odd = new Odd();
      expect(Odd.touched).toBe(0);
      expect(odd.scale).toBe('odd');
      expect(odd.bare).toBe(odd.bare);
    });

    test('a method can be used while the object is being made', () => {
      const eager = new Eager(2);
      expect(eager.first).toBe(42);
      expect(batchedOf(eager.scale).stats.totalProcessed).toBe(1);
    });
  });

  describe('static methods', () => {
    test('this is the class', () => {
      expect(Service.count([1, 2])).toEqual(['Service 1', 'Service 2']);
      expect(batchedOf(Service.count)(3)).toBe('Service 3');
    });

    test('a subclass has a batcher of its own', () => {
      expect(Heir.count([1])).toEqual(['Heir 1']);
      expect(Heir.count).not.toBe(Service.count);
      expect(batchedOf(Heir.count).stats.totalProcessed).toBe(1);
    });
  });

  describe('as other methods do', () => {
    test('it is no property of the instance, and is not enumerated', () => {
      const service = new Service();
      service.scale([1]);
      expect(Object.hasOwn(service, 'scale')).toBe(false);
      expect('scale' in service).toBe(true);
      for (const key in service) expect(key).not.toBe('scale');
      expect(Object.keys(service)).not.toContain('scale');
    });

    test('it can be assigned over, on the object and on the class', () => {
      const [one, two] = [new Service(1), new Service(2)];
      one.scale = () => [7];
      expect(one.scale([1])).toEqual([7]);
      expect(two.scale([1])).toEqual([2]);
      const fresh = load<typeof Methods>('decorated-methods.ts', compile).Service;
      const service = new fresh();
      fresh.prototype.scale = () => [8];
      expect(service.scale([1])).toEqual([8]);
      expect(Object.keys(fresh.prototype)).toEqual([]);
      Object.freeze(two);
      expect(() => {
        two.scale = () => [9];
      }).toThrow(TypeError);
    });

    test('jest.spyOn works on the object', () => {
      const service = new Service(3);
      const original = service.scale;
      const spy = jest.spyOn(service, 'scale');
      spy.mockReturnValue([9]);
      expect(service.scale([1])).toEqual([9]);
      spy.mockRestore();
      expect(service.scale).toBe(original);
    });

    test('that of the prototype goes by its this', () => {
      const service = new Service(3);
      const heir = new Heir(4);
      for (const { prototype } of [Service, Heir]) {
        const { scale } = prototype;
        expect(scale.call(service, [1])).toEqual([3]);
        expect(scale.call(heir, [1])).toEqual([4]);
        expect(batchedOf(scale, service)).toBe(service.scale);
        expect(() => batchedOf(scale)).toThrow(/'scale' is shared by all instances; .*batchedOf\(method, this\)/);
        expect(() => scale([1])).toThrow('scale: a batched method must be called on its object, not on undefined');
      }
      expect(batchedOf(service.scale).stats.totalProcessed).toBe(2);
    });

    test('an object that no constructor made has it', () => {
      const made = Object.create(Untouched.prototype) as Methods.Untouched;
      expect(made.echo([1])).toEqual([1]);
      expect(Untouched.prototype.echo.name).toBe('echo');
      expect(Untouched.prototype.echo).toHaveLength(1);
    });
  });

  test.each([
    ['frozen', Object.freeze],
    ['sealed', Object.seal],
    ['not extensible', Object.preventExtensions],
  ])('an object that is %s before the first use', (_name, close: (service: object) => object) => {
    const service = close(new Service(2)) as Methods.Service;
    expect(service.scale([1])).toEqual([2]);
    expect(batchedOf(service.scale)(2)).toBe(4);
    expect(service.scale).toBe(service.scale);
  });

  test('a proxy is a this of its own', () => {
    const service = new Service(2);
    const proxy: Methods.Service = new Proxy(service, {
      get: (target, key, receiver) => (key === 'factor' ? 100 : Reflect.get(target, key, receiver)),
    });
    expect(proxy.scale([1])).toEqual([100]);
    expect(service.scale([1])).toEqual([2]);
    expect(proxy.scale).not.toBe(service.scale);
    expect(service.selves[0]).toBe(proxy);
  });

  test('a class that is frozen before its first object', () => {
    const fresh = load<typeof Methods>('decorated-methods.ts', compile).Service;
    Object.freeze(fresh.prototype);
    const service = new fresh(2);
    expect(service.scale([1])).toEqual([2]);
    expect(batchedOf(service.scale, service)(2)).toBe(4);
  });

  test('decorators below it are batched with it', () => {
    expect(new Stacked().inside([1, 2])).toEqual([1, 2]);
    expect(calls).toEqual([[[1, 2]]]);
  });
});

describe('batchedOf', () => {
  test('takes what is batched already', () => {
    const f = dynamically((items: number[]) => items);
    expect(batchedOf(f as (items: number[]) => number[])).toBe(f);
  });

  test.each<[string, unknown, string]>([
    ['a plain method', new Map<string, string>().get, 'a function'],
    ['nothing', undefined, 'undefined'],
    ['null', null, 'null'],
    ['an object', {}, 'an object'],
    ['a number', 3, 'number 3'],
  ])('refuses %s', (_, value, got) => {
    const refused = () => batchedOf(value as (items: number[]) => number[], {});
    expect(refused).toThrow(TypeError);
    expect(refused).toThrow(`batchedOf: expected a batched method, got ${got}`);
  });
});

describe.each([
  ['dynamically', dynamically],
  ['aio.dynamically', aio.dynamically],
  ['inference.dynamically', inference.dynamically],
  ['aio.inference.dynamically', aio.inference.dynamically],
] as [string, (...args: unknown[]) => (...args: unknown[]) => unknown][])('%s refuses', (where, entry) => {
  const context = (kind: string) => ({ kind, name: 'x', addInitializer: () => {}, static: false, private: false });
  const both = (...args: unknown[]) => [() => entry(...args), () => entry({})(...args)];

  test.each(['getter', 'setter', 'class'])('a standard decorator on a %s', (kind) => {
    for (const apply of both(() => {}, context(kind))) {
      expect(apply).toThrow(TypeError);
      expect(apply).toThrow(`${where}: ${kind} 'x' cannot be decorated; methods, fields and accessors can`);
    }
  });

  test.each([
    ['field', undefined],
    ['field', { configurable: true, enumerable: true, writable: true, initializer: () => () => {} }],
    ['field', { configurable: true, value: 3 }],
    ['getter or setter', { configurable: true, get: () => 3, set: undefined }],
    ['getter or setter', { configurable: false, get: undefined, set: () => {} }],
    ['parameter of', 0],
  ])('a legacy decorator on a %s', (kind, descriptor) => {
    for (const apply of both({}, 'x', descriptor)) {
      expect(apply).toThrow(TypeError);
      expect(apply).toThrow(`${where}: ${kind} 'x' cannot be decorated under experimentalDecorators; methods can`);
    }
  });

  test('a class', () => {
    for (const apply of both(Map)) {
      expect(apply).toThrow(TypeError);
      expect(apply).toThrow(`${where}: the wrapped thing must be a function, got class Map`);
    }
  });

  test('wrong options, where the method is decorated', () => {
    expect(() => entry({ batchSize: 0 })).toThrow(RangeError);
    expect(() => entry({ nonsense: 3 })).toThrow(/unknown option 'nonsense'/);
  });

  test('a field that holds no function', () => {
    const [bare, curried] = [entry(undefined, context('field')), entry({})(undefined, context('field'))];
    for (const initialize of [bare, curried as () => unknown]) {
      expect(() => initialize.call({}, 3)).toThrow(`${where}: 'x' must be a function, got number 3`);
    }
  });
});

test('a callback that is given a value, its key and where it is from is no decorator', () => {
  const double = (items: number[]): number[] => items.map((item) => 2 * item);
  const functions = new Map([['double', double]]);
  const batched: unknown[] = [];
  functions.forEach((...args) => batched.push((dynamically({}) as (...args: unknown[]) => unknown)(...args)));
  expect(batchedOf(batched[0] as typeof double)(3)).toBe(6);
});

test('options that only a model takes are refused where a method is decorated', () => {
  const decorate = inference.dynamically({ maxQueueBytes: 3 } as object) as (...args: unknown[]) => void;
  const context = { kind: 'method', name: 'x', addInitializer: () => {} };
  expect(() => decorate(() => {}, context)).toThrow(/unknown option 'maxQueueBytes'/);
  const padded = inference.dynamically({ padTokens: { ids: '3' } } as object) as (...args: unknown[]) => void;
  expect(() => padded(() => {}, context)).toThrow(/'padTokens' must have numbers/);
});
