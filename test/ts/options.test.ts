/** Wrong options are refused by an error that names the option and the value; good ones are taken. */
import { describe, expect, test } from '@jest/globals';
import { aio, dynamically, inference } from '../../ts';
import { errorOf } from '../helpers/gate';

const fn = (items: number[]): number[] => items;
const options = (given: unknown): any => given; // eslint-disable-line @typescript-eslint/no-explicit-any

const entryPoints: [string, (given: unknown) => unknown][] = [
  ['dynamically', (given) => dynamically(fn, options(given))],
  ['aio.dynamically', (given) => aio.dynamically(fn, options(given))],
  ['inference.dynamically', (given) => inference.dynamically(options(fn), options(given))],
  ['aio.inference.dynamically', (given) => aio.inference.dynamically(options(fn), options(given))],
];

type Refusal = [name: string, value: unknown, Class: typeof TypeError | typeof RangeError, shown: string];

const counts = ['batchSize', 'maxBatchLength', 'maxBatchTokens', 'maxQueueRows', 'maxItemLength', 'concurrency'];
const refusals: Refusal[] = [
  ...counts.flatMap((name): Refusal[] => [
    [name, 0, RangeError, '0'],
    [name, -1, RangeError, '-1'],
    [name, 1.5, RangeError, '1.5'],
    [name, Number.NaN, RangeError, 'NaN'],
    [name, Infinity, RangeError, 'Infinity'],
    [name, '8', TypeError, '"8"'],
    [name, 8n, TypeError, '8'],
    [name, null, TypeError, 'null'],
    [name, {}, TypeError, 'an object'],
  ]),
  ['timeoutMs', -1, RangeError, '-1'],
  ['timeoutMs', Number.NaN, RangeError, 'NaN'],
  ['timeoutMs', Infinity, RangeError, 'Infinity'],
  ['timeoutMs', '10', TypeError, '"10"'],
  ['smallBatchThreshold', Number.NaN, RangeError, 'NaN'],
  ['smallBatchThreshold', true, TypeError, 'true'],
  ['lengthOf', 3, TypeError, '3'],
  ['lengthOf', null, TypeError, 'null'],
];

describe.each(entryPoints)('%s', (where, wrap) => {
  test.each(refusals)('%s: %p', async (name, value, Class, shown) => {
    const error = (await errorOf(() => wrap({ [name]: value }))) as Error;
    expect(error).toBeInstanceOf(Class);
    expect(error.message).toContain(`${where}: option '${name}'`);
    expect(error.message).toContain(shown);
  });

  test('an unknown option is named, with those that are known', () => {
    expect(() => wrap({ batchsize: 3 })).toThrow(TypeError);
    expect(() => wrap({ batchsize: 3 })).toThrow(/unknown option 'batchsize'.*batchSize/);
    expect(() => wrap({ constructor: 3 })).toThrow(/unknown option 'constructor'/);
  });

  test.each([null, 3, 'text', [], true])('options that are %p', (given) => {
    expect(() => wrap(given)).toThrow(TypeError);
  });

  test('undefined options count as absent', () => {
    const absent = Object.fromEntries([...counts, 'timeoutMs', 'lengthOf'].map((name) => [name, undefined]));
    expect(() => wrap(absent)).not.toThrow();
  });

  test('the least and the most of each are taken', () => {
    const most = Number.MAX_SAFE_INTEGER;
    for (const bound of [1, most]) {
      expect(() => wrap(Object.fromEntries(counts.map((name) => [name, bound])))).not.toThrow();
    }
    expect(() => wrap({ timeoutMs: 0, smallBatchThreshold: 0 })).not.toThrow();
    expect(() => wrap({ timeoutMs: Number.MAX_VALUE, smallBatchThreshold: -1 })).not.toThrow();
    expect(() => wrap({ smallBatchThreshold: Number.MAX_VALUE })).not.toThrow();
  });
});

describe('what is wrapped', () => {
  test.each(entryPoints.map(([where]) => where))('%s of no function', (where) => {
    const entry = options(
      {
        dynamically,
        'aio.dynamically': aio.dynamically,
        'inference.dynamically': inference.dynamically,
        'aio.inference.dynamically': aio.inference.dynamically,
      }[where],
    );
    for (const wrong of [undefined, null, 3, 'text']) {
      expect(() => entry(wrong)).toThrow(TypeError);
      expect(() => entry({})(wrong)).toThrow(TypeError);
    }
    expect(() => entry({})(3)).toThrow(/got number 3/);
    expect(() => entry({ batchSize: 0 })).toThrow(RangeError);
  });
});

describe('inference options', () => {
  const wrap = (given: unknown): unknown => inference.dynamically(options(fn), options(given));

  test.each([
    ['paddingSide', 'up', RangeError, '"up"'],
    ['paddingSide', 3, TypeError, '3'],
    ['spreadKwargs', 'yes', TypeError, '"yes"'],
    ['padTokens', 3, TypeError, '3'],
    ['padTokens', [0], TypeError, 'an array'],
    ['padTokens', { ids: '0' }, TypeError, '"0"'],
    ['padTokens', { ids: 0n }, TypeError, 'bigint'],
  ])('%s: %p', async (name, value, Class, shown) => {
    const error = (await errorOf(() => wrap({ [name]: value }))) as Error;
    expect(error).toBeInstanceOf(Class);
    expect(error.message).toContain(`inference.dynamically: option '${name}'`);
    expect(error.message).toContain(shown);
  });
});

describe('options of a call', () => {
  test.each([
    ['priority', Number.NaN, RangeError, 'NaN'],
    ['priority', '1', TypeError, '"1"'],
    ['deadlineMs', -1, RangeError, '-1'],
    ['deadlineMs', Number.NaN, RangeError, 'NaN'],
    ['deadlineMs', new Date(0), TypeError, 'an object (Date)'],
    ['signal', true, TypeError, 'true'],
    ['signal', {}, TypeError, 'an object'],
    ['signal', { addEventListener: () => {} }, TypeError, 'an object'],
    ['signla', undefined, TypeError, 'unknown option'],
  ])('%s: %p rejects the call, and nothing is queued', async (name, value, Class, shown) => {
    const f = dynamically(fn);
    const call = f.acall(1, options({ [name]: value }));
    const error = (await errorOf(() => call)) as Error;
    expect(error).toBeInstanceOf(Class);
    expect(error.message).toContain(`'${name}'`);
    expect(error.message).toContain(shown);
    expect(f.stats.admitted).toBe(0);
  });

  test.each([null, 3, 'text', []])('that are %p', async (given) => {
    const f = dynamically(fn);
    await expect(f.acall(1, options(given))).rejects.toThrow(TypeError);
  });

  test('extremes are taken', async () => {
    const f = dynamically(fn);
    for (const priority of [Number.MAX_VALUE, -Number.MAX_VALUE, -0, 1e-9]) {
      expect(await f.acall(1, { priority, deadlineMs: Number.MAX_VALUE })).toBe(1);
    }
  });
});
