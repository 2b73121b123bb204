/**
 * Bad input to a model: every kind is refused by an error that names what is wrong, before it is queued, and the same
 * engine still serves a good call.
 */
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import {
  BatchedError,
  type BatchedModel,
  type Feature,
  type Features,
  inference,
  type ModelCallOptions,
  type Tensor,
} from '../../ts';
import { ensureModel } from '../../scripts/models/index';
import {
  closeAll,
  expectRefusal,
  expectThrow,
  floats,
  int64,
  one,
  open,
  rejection,
  values,
} from '../helpers/model-calls';

let echo: BatchedModel; // x float32 [batch, sequence]
let bert: BatchedModel; // input_ids, attention_mask, token_type_ids int64 [batch, sequence]
let two: BatchedModel; // a [batch, m], b [batch, n, 3]
let state: BatchedModel; // x [batch, 4], state [2, batch, 3], sr shared
let fixed: BatchedModel; // x [1, 4]
let scalars: BatchedModel; // x [batch]

beforeAll(async () => {
  echo = await open({ kind: 'echo', type: 'float32' }, { maxItemLength: 64 });
  bert = await open({ kind: 'random', size: 'micro' });
  two = await open({ kind: 'two-inputs' });
  state = await open({ kind: 'state' }, { shared: ['sr'], batchAxis: { state: 1, stateN: 1 } });
  fixed = await open({ kind: 'fixed-batch' });
  scalars = await open({ kind: 'scalar-rows' });
});
afterAll(closeAll);

/** The engine under test is as good as before: nothing was queued, and a good call is served. */
async function expectServes(model: BatchedModel): Promise<void> {
  if (model === echo) expect(values(await echo.acall({ x: [[1, 2]] }))).toEqual([1, 2]);
  else if (model === bert) expect(one(await bert.acall({ input_ids: [[2, 3]] })).dims[0]).toBe(1);
  else if (model === two) expect(values(await two.acall({ a: [[1]], b: [[1, 1, 1]] }))).toEqual([1, 3]);
  else if (model === fixed) expect(values(await fixed.acall({ x: [1, 2, 3, 4] }))).toEqual([2, 4, 6, 8]);
  else if (model === scalars) expect(values(await scalars.acall({ x: [1] }))).toEqual([2]);
  else expect(await state.acall(goodState)).toHaveProperty('y');
}

const goodState: Features = {
  x: floats([1, 4], [1, 2, 3, 4]),
  state: floats([2, 1, 3], Array(6).fill(0)),
  sr: [16000],
};

function detached(length: number): Float32Array {
  const array = new Float32Array(length);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

/** Given as a function, so that each test has its own and the models are there. */
type Case = [what: string, model: () => BatchedModel, features: () => unknown, says: RegExp];
const dims = (type: string, shape: unknown, data: unknown): Tensor => ({ type, dims: shape, data }) as Tensor;
const data6 = Float32Array.of(1, 2, 3, 4, 5, 6);

const cases: Case[] = [
  // Features
  ['undefined', () => echo, () => undefined, /features must be an object.*undefined/],
  ['null', () => echo, () => null, /features must be an object.*null/],
  ['a number', () => echo, () => 5, /features must be an object.*5/],
  ['an array', () => echo, () => [[1, 2]], /no input '0' \(it has: x\)/],
  ['a string', () => echo, () => 'x', /features must be an object.*"x"/],
  ['nothing given', () => echo, () => ({}), /'x' is missing/],
  ['only inputs that can be made', () => bert, () => ({ attention_mask: undefined }), /'input_ids' is missing/],
  ['an unknown name', () => echo, () => ({ x: [[1]], y: [[1]] }), /no input 'y' \(it has: x\)/],
  ['a misspelt name', () => bert, () => ({ inputIds: [[1]] }), /no input 'inputIds' \(it has: input_ids/],
  ['a missing input', () => two, () => ({ a: [[1]] }), /'b' is missing/],
  ['a missing shared input', () => state, () => ({ ...goodState, sr: undefined }), /'sr' is missing/],

  // Features of the wrong kind
  ['a feature that is null', () => echo, () => ({ x: null }), /'x' must be a tensor.*null/],
  ['a feature that is a number', () => echo, () => ({ x: 1 }), /'x' must be a tensor.*number 1/],
  ['a feature that is a string', () => echo, () => ({ x: 'abc' }), /'x' must be a tensor.*"abc"/],
  ['a feature that is a Map', () => echo, () => ({ x: new Map() }), /'x' must be a tensor.*Map/],
  ['a feature that is a function', () => echo, () => ({ x: () => [1] }), /'x' must be a tensor.*function/],
  ['a promise of a feature', () => echo, () => ({ x: Promise.resolve([1]) }), /'x' must be a tensor.*Promise/],
  ['an ArrayBuffer', () => echo, () => ({ x: new ArrayBuffer(8) }), /'x' must be a tensor.*ArrayBuffer/],
  ['a DataView', () => echo, () => ({ x: new DataView(new ArrayBuffer(8)) }), /'x' must be a typed array.*DataView/],
  ['rows that are strings', () => echo, () => ({ x: ['ab'] }), /'x'.*row 0 is neither a typed array nor an array/],
  ['rows that are null', () => echo, () => ({ x: [[1], null] }), /'x'.*row 1 is neither/],
  ['rows that are DataViews', () => echo, () => ({ x: [new DataView(new ArrayBuffer(8))] }), /'x'.*row 0 is neither/],
  ['rows that are tensors', () => echo, () => ({ x: [floats([1, 1], [1])] }), /'x'.*row 0 is neither/],
  ['a hole among the rows', () => echo, () => ({ x: [[1], , [2]] }), /'x'.*row 1 is neither/],
  ['elements that are strings', () => echo, () => ({ x: [[1, '2']] }), /'x'.*row 0, element 1 is not a number/],
  ['elements that are undefined', () => echo, () => ({ x: [[undefined]] }), /'x'.*row 0, element 0 is not a number/],
  ['a hole among the elements', () => echo, () => ({ x: [[1, , 2]] }), /'x'.*row 0, element 1 is not a number/],
  ['elements that are bigints', () => echo, () => ({ x: [[1n]] }), /'x'.*row 0, element 0 is not a number/],
  ['elements that are arrays', () => echo, () => ({ x: [[[1]]] }), /'x'.*row 0, element 0 is not a number/],
  ['elements that are objects', () => echo, () => ({ x: [[{ valueOf: () => 1 }]] }), /'x'.*element 0 is not a number/],
  ['numbers mixed with others', () => scalars, () => ({ x: [1, '2'] }), /'x' mixes numbers with other values/],
  ['numbers mixed with bigints', () => scalars, () => ({ x: [1, 2n] }), /'x' mixes numbers with other values/],
  [
    'a bigint of more than 64 bits',
    () => scalars,
    () => ({ x: [1n, 2n ** 64n] }),
    /'x': 18446744073709551616 does not/,
  ],
  ['a bigint below 64 bits', () => scalars, () => ({ x: [-(2n ** 63n) - 1n] }), /'x': -9223372036854775809 does not/],

  // Types
  [
    'a tensor without a type',
    () => echo,
    () => ({ x: { dims: [1, 1], data: [1] } }),
    /'x' is of type undefined.*\(known: float32/,
  ],
  [
    'a tensor of strings',
    () => echo,
    () => ({ x: dims('string', [1, 1], ['a']) }),
    /'x' is of type.*"string" \(known:/,
  ],
  [
    'a type in capitals',
    () => echo,
    () => ({ x: dims('Float32', [1, 1], data6.subarray(0, 1)) }),
    /'x' is of type.*"Float32"/,
  ],
  [
    'data that is no typed array',
    () => echo,
    () => ({ x: dims('float32', [1, 2], [1, 2]) }),
    /'x'.*data of a tensor.*an array/,
  ],
  [
    'data that is missing',
    () => echo,
    () => ({ x: dims('float32', [1, 2], undefined) }),
    /'x'.*data of a tensor.*undefined/,
  ],
  [
    'data that is a DataView',
    () => echo,
    () => ({ x: dims('float32', [1, 2], new DataView(new ArrayBuffer(8))) }),
    /'x'.*data of a tensor.*DataView/,
  ],
  [
    'data of another type of the same width',
    () => echo,
    () => ({ x: dims('float32', [1, 1], Int32Array.of(1)) }),
    /'x' is a tensor of float32, but its data is a Int32Array/,
  ],
  [
    'data of another width',
    () => echo,
    () => ({ x: dims('float32', [1, 1], Float64Array.of(1)) }),
    /'x' is a tensor of float32, but its data is a Float64Array/,
  ],
  [
    'floats for integers',
    () => bert,
    () => ({ input_ids: floats([1, 1], [1]) }),
    /'input_ids' is float32; the model wants int64/,
  ],

  // Ranks and dims
  [
    'a rank too small',
    () => echo,
    () => ({ x: floats([6], data6) }),
    /'x' has rank 1 \(dims \[6\]\); the model wants rank 2/,
  ],
  ['a rank too great', () => echo, () => ({ x: floats([1, 2, 3], data6) }), /'x' has rank 3.*wants rank 2/],
  ['a scalar', () => echo, () => ({ x: floats([], [1]) }), /'x' has rank 0.*wants rank 2/],
  ['nine dims', () => echo, () => ({ x: floats(Array(9).fill(1), [1]) }), /'x': dims must be an array of at most 8/],
  [
    'dims that are missing',
    () => echo,
    () => ({ x: dims('float32', undefined, data6) }),
    /'x': dims must be an array.*undefined/,
  ],
  [
    'dims that are a typed array',
    () => echo,
    () => ({ x: dims('float32', Int32Array.of(1, 6), data6) }),
    /'x': dims must be an array.*Int32Array/,
  ],
  [
    'a dim that is negative',
    () => echo,
    () => ({ x: dims('float32', [-1, 6], data6) }),
    /'x': dims \[-1, 6\] must be whole/,
  ],
  [
    'two negative dims',
    () => echo,
    () => ({ x: dims('float32', [-2, -3], data6) }),
    /'x': dims \[-2, -3\] must be whole/,
  ],
  [
    'a dim that is a fraction',
    () => echo,
    () => ({ x: dims('float32', [1.5, 4], data6) }),
    /'x': dims \[1.5, 4\] must be whole/,
  ],
  [
    'a dim that is NaN',
    () => echo,
    () => ({ x: dims('float32', [NaN, 6], data6) }),
    /'x': dims \[NaN, 6\] must be whole/,
  ],
  ['a dim that is infinite', () => echo, () => ({ x: dims('float32', [Infinity, 6], data6) }), /'x': dims \[Infinity/],
  [
    'a dim that is a string',
    () => echo,
    () => ({ x: dims('float32', ['1', 6], data6) }),
    /'x': dims \[1, 6\] must be whole/,
  ],
  [
    'a dim that is a bigint',
    () => echo,
    () => ({ x: dims('float32', [1n, 6n], data6) }),
    /'x': dims \[1, 6\] must be whole/,
  ],
  [
    'dims beyond 2^53',
    () => echo,
    () => ({ x: dims('float32', [2 ** 53, 1], data6) }),
    /'x': dims \[9007199254740992, 1\] must be whole/,
  ],
  [
    'dims whose product overflows',
    () => echo,
    () => ({ x: dims('float32', [2 ** 40, 2 ** 40], data6) }),
    /'x': dims \[1099511627776, 1099511627776\] are negative or too large/,
  ],
  [
    'dims whose bytes overflow',
    () => echo,
    () => ({ x: dims('float32', [2 ** 31, 2 ** 31], data6) }),
    /'x': dims.*too large/,
  ],
  [
    'dims whose product overflows to the truth',
    () => echo,
    () => ({ x: dims('float32', [2 ** 32, 2 ** 32], new Float32Array(0)) }),
    /'x': dims.*too large/,
  ],
  [
    'dims of more than there is',
    () => echo,
    () => ({ x: dims('float32', [2, 4], data6) }),
    /'x': dims \[2, 4\] of float32 want 32 bytes, but its data has 24/,
  ],
  [
    'dims of a lot more than there is',
    () => echo,
    () => ({ x: dims('float32', [1e9, 1], data6) }),
    /'x': dims.*want 4000000000 bytes, but its data has 24/,
  ],
  [
    'dims of less than there is',
    () => echo,
    () => ({ x: dims('float32', [1, 5], data6) }),
    /'x': dims \[1, 5\].*want 20 bytes.*24/,
  ],
  ['a fixed dim that differs', () => fixed, () => ({ x: floats([1, 6], data6) }), /'x'.*dims \[6\].*wants \[4\]/],
  [
    'a fixed inner dim that differs',
    () => two,
    () => ({ a: [[1]], b: floats([1, 3, 2], data6) }),
    /'b'.*dims \[3, 2\].*wants \[n, 3\]/,
  ],
  ['a row that does not fill its fixed dims', () => two, () => ({ a: [[1]], b: [[1, 2, 3, 4]] }), /'b'.*4 elements.*3/],
  [
    'the batch on the wrong axis',
    () => state,
    () => ({ ...goodState, state: floats([1, 2, 3], data6) }),
    /'state'.*(differ in rows|dims)/,
  ],
  [
    'a shared input with a batch',
    () => state,
    () => ({ ...goodState, sr: int64([2], [1, 1]) }),
    /'sr' has rank 1.*wants rank 0/,
  ],
  ['a shared input as rows', () => state, () => ({ ...goodState, sr: [[1]] }), /'sr' is shared by the batch/],
  ['a shared input of two values', () => state, () => ({ ...goodState, sr: [1, 2] }), /'sr'.*2 elements/],

  // Empty
  ['an empty list', () => echo, () => ({ x: [] }), /'x' is an empty array/],
  ['an empty row', () => echo, () => ({ x: [[1], []] }), /'x'.*empty/],
  ['an empty typed array', () => echo, () => ({ x: new Float32Array(0) }), /'x'.*empty/],
  ['an empty typed array for scalars', () => scalars, () => ({ x: new Float32Array(0) }), /'x' has no rows/],
  ['no rows', () => echo, () => ({ x: floats([0, 4], []) }), /'x' has no rows \(dims \[0, 4\]\)/],
  ['rows without elements', () => echo, () => ({ x: floats([4, 0], []) }), /'x'.*dims \[4, 0\].*empty/],
  [
    'very many rows without elements',
    () => echo,
    () => ({ x: dims('float32', [2 ** 50, 0], new Float32Array(0)) }),
    /'x'.*empty/,
  ],
  ['very many rows that are holes', () => echo, () => ({ x: new Array(2 ** 32 - 1) }), /'x'.*row 0 is neither/],

  // Inputs that disagree
  ['rows that disagree', () => two, () => ({ a: [[1], [2]], b: [[1, 1, 1]] }), /'a' and 'b' differ in rows: 2 and 1/],
  [
    'rows of different forms that disagree',
    () => bert,
    () => ({ input_ids: [[1], [2]], attention_mask: int64([1, 1], [1]) }),
    /'(input_ids|attention_mask)' and '(input_ids|attention_mask)' differ in rows/,
  ],
  [
    'lengths that disagree',
    () => bert,
    () => ({ input_ids: [[1, 2]], attention_mask: [[1]] }),
    /inputs '\w+' and '\w+' disagree on 'sequence\w*': \d and \d/,
  ],
  [
    'lengths that disagree in a later row',
    () => bert,
    () => ({ input_ids: [[1], [1, 2]], attention_mask: [[1], [1]] }),
    /disagree on 'sequence/,
  ],

  // Memory that is not there
  ['a detached array', () => echo, () => ({ x: detached(4) }), /'x'.*empty/],
  [
    'a detached array in a tensor',
    () => echo,
    () => ({ x: dims('float32', [1, 4], detached(4)) }),
    /'x': dims \[1, 4\].*want 16 bytes, but its data has 0/,
  ],
  ['a detached array among the rows', () => echo, () => ({ x: [[1], detached(4)] }), /'x'.*empty/],
  [
    'too long an item',
    () => echo,
    () => ({ x: new Float32Array(65) }),
    /item of length 65 is longer than maxItemLength 64/,
  ],
  [
    'too long an item among others',
    () => echo,
    () => ({ x: [[1], new Float32Array(65)] }),
    /length 65.*maxItemLength 64/,
  ],
];

describe('is refused by acall and by the sync call', () => {
  test.each(cases)('%s', async (_, model, features, says) => {
    const admitted = model().stats.admitted;
    await expectRefusal(model().acall(features() as Features), 'BATCHED_INVALID_INPUT', says);
    expectThrow(() => model()(features() as Features), 'BATCHED_INVALID_INPUT', says);
    expect(model().stats.admitted).toBe(admitted);
    await expectServes(model());
  });

  test('and no call beside it suffers', async () => {
    const bad = cases.map(([, model, features]) => rejection(model().acall(features() as Features)));
    const good = Array.from({ length: 50 }, (_, n) => echo.acall({ x: [[n, n]] }));
    for (const error of await Promise.all(bad)) expect(error).toBeInstanceOf(BatchedError);
    expect((await Promise.all(good)).map((y) => values(y))).toEqual(good.map((_, n) => [n, n]));
  });
});

describe('memory of other kinds', () => {
  test('a SharedArrayBuffer serves', async () => {
    const shared = new Float32Array(new SharedArrayBuffer(16), 4, 2);
    shared.set([1, 2]);
    expect(values(await echo.acall({ x: shared }))).toEqual([1, 2]);
    expect(values(await echo.acall({ x: [shared] }))).toEqual([1, 2]);
    expect(values(await echo.acall({ x: dims('float32', [1, 2], shared) }))).toEqual([1, 2]);
  });

  test('a resizable buffer serves with what it has at the call', async () => {
    const buffer = new (
      ArrayBuffer as unknown as new (n: number, o: object) => ArrayBuffer & { resize(n: number): void }
    )(16, { maxByteLength: 64 });
    const tracking = new Float32Array(buffer);
    tracking.set([1, 2, 3, 4]);
    expect(values(await echo.acall({ x: tracking }))).toEqual([1, 2, 3, 4]);
    buffer.resize(8);
    expect(values(await echo.acall({ x: tracking }))).toEqual([1, 2]);
    await expectRefusal(
      echo.acall({ x: dims('float32', [1, 4], tracking) }),
      'BATCHED_INVALID_INPUT',
      /16 bytes.*has 8/,
    );
    buffer.resize(0);
    await expectRefusal(echo.acall({ x: tracking }), 'BATCHED_INVALID_INPUT', /'x'.*empty/);
  });

  test('a call that no queue of the engine could hold is refused before it is copied', async () => {
    const small = await open({ kind: 'echo', type: 'float32' }, { maxQueueBytes: 4096 });
    await expectRefusal(small.acall({ x: new Float32Array(2000) }), 'BATCHED_INVALID_INPUT', /maxQueueBytes 4096/);
    expect(values(await small.acall({ x: [[1]] }))).toEqual([1]);
  });
});

describe('objects that misbehave', () => {
  const failure = new Error('the getter says no');
  const refusing = (): never => {
    throw failure;
  };

  test.each<[string, () => Features]>([
    ['a feature', () => ({ get x(): Feature { return refusing(); } })], // prettier-ignore
    [
      'the type of a tensor',
      () => ({ x: Object.defineProperty({ dims: [1, 1], data: data6 }, 'type', { get: refusing }) as never }),
    ],
    [
      'the dims of a tensor',
      () => ({ x: Object.defineProperty({ type: 'float32', data: data6 }, 'dims', { get: refusing }) as never }),
    ],
    [
      'the data of a tensor',
      () => ({ x: Object.defineProperty({ type: 'float32', dims: [1, 6] }, 'data', { get: refusing }) as never }),
    ],
    ['a row', () => ({ x: Object.defineProperty([[1]], 0, { get: refusing }) })],
    ['a later row', () => ({ x: Object.defineProperty([[1], [2], [3]], 2, { get: refusing }) })],
    ['an element', () => ({ x: [Object.defineProperty([1, 2], 1, { get: refusing })] })],
    ['the keys of a proxy', () => new Proxy({ x: [[1]] }, { ownKeys: refusing })],
    ['a proxied feature', () => new Proxy({ x: [[1]] }, { get: refusing })],
  ])('%s that throws: the call ends with that very error', async (_, features) => {
    expect(await rejection(echo.acall(features()))).toBe(failure);
    expect(() => echo(features())).toThrow(failure);
    await expectServes(echo);
  });

  test('a revoked proxy is an error of the call', async () => {
    const { proxy, revoke } = Proxy.revocable([[1]], {});
    revoke();
    expect(await rejection(echo.acall({ x: proxy }))).toBeInstanceOf(TypeError);
    await expectServes(echo);
  });

  test('a proxied array of rows is refused, or read', async () => {
    const x = new Proxy([[1, 2]], {});
    await expectRefusal(echo.acall({ x }), 'BATCHED_INVALID_INPUT', /'x' is not an array|'x': is not an array/);
    await expectServes(echo);
  });

  /** A property whose value is another each time it is read; the last stays. */
  function changing<T extends object>(target: T, name: string | number, answers: unknown[]): T {
    let reads = 0;
    return Object.defineProperty(target, name, {
      get: () => answers[Math.min(reads++, answers.length - 1)],
      enumerable: true,
    });
  }

  test.each<[string, () => Features]>([
    [
      'a row that grows',
      () => ({ x: changing([[]] as number[][], 0, [[1], Float32Array.of(1), Float32Array.of(1, 2, 3)]) }),
    ],
    [
      'a row that shrinks',
      () => ({
        x: changing([[]] as number[][], 0, [Float32Array.of(1, 2, 3), Float32Array.of(1, 2, 3), Float32Array.of(1)]),
      }),
    ],
    ['a row that vanishes', () => ({ x: changing([[]] as number[][], 0, [[1, 2], [1, 2], undefined]) })],
    ['an array of numbers that shrinks', () => ({ x: changing([[]] as number[][], 0, [[1, 2, 3], [1, 2, 3], [1]]) })],
    ['a row that becomes a string', () => ({ x: changing([[]] as number[][], 0, [[1, 2], [1, 2], 'ab']) })],
    [
      'dims that grow',
      () => ({
        x: changing({ type: 'float32', data: data6 }, 'dims', [
          [1, 6],
          [1, 6],
          [1e6, 6],
        ]) as never,
      }),
    ],
    [
      'data that is replaced',
      () => ({ x: changing({ type: 'float32', dims: [1, 6] }, 'data', [data6, data6, 'none']) as never }),
    ],
  ])('%s: an error or a result, never a crash', async (_, features) => {
    await echo.acall(features()).then(
      (y) => expect(one(y).type).toBe('float32'),
      (error: unknown) => expect(error).toHaveProperty('code', 'BATCHED_INVALID_INPUT'),
    );
    await expectServes(echo);
  });

  test('dims whose length is another each time do not write over other inputs', async () => {
    const liar = new Proxy([1, 3], {
      get: (target, name) => (name === 'length' ? (lengths.shift() ?? 2) : Reflect.get(target, name)),
    });
    const lengths = [2, 2, 50, 50, 50];
    await two.acall({ a: dims('float32', liar, Float32Array.of(1, 2, 3)), b: floats([1, 1, 3], [1, 1, 1]) }).then(
      (y) => expect(values(y)).toEqual([6, 3]),
      (error: unknown) => expect(error).toHaveProperty('code', 'BATCHED_INVALID_INPUT'),
    );
    await expectServes(two);
  });

  test('a row’s getter that detaches another feature leaves nothing to read there', async () => {
    const a = Float32Array.of(1, 2, 3);
    const b = Object.defineProperty([[]] as number[][], 0, {
      get: () => {
        if (a.byteLength > 0) structuredClone(a.buffer, { transfer: [a.buffer] });
        return [1, 1, 1];
      },
    });
    await expectRefusal(
      two.acall({ a: dims('float32', [1, 3], a), b }),
      'BATCHED_INVALID_INPUT',
      /'a': dims \[1, 3\].*has 0/,
    );
    await expectServes(two);
  });

  test('a getter that makes another call is refused that call, and its own goes through', async () => {
    let inner: Promise<Error> | undefined;
    const x = Object.defineProperty([[1, 2]], 0, {
      get: () => {
        inner ??= rejection(echo.acall({ x: [[9, 9, 9]] }));
        return [1, 2];
      },
    });
    expect(values(await echo.acall({ x }))).toEqual([1, 2]);
    expect(await inner).toMatchObject({
      code: 'BATCHED_INVALID_INPUT',
      message: expect.stringMatching(/another call/),
    });
    await expectServes(echo);
  });

  test('lengthOf: what it throws, gives and calls', async () => {
    const lengthOf = jest.fn<(feature: Feature, row: number) => number>();
    const model = await open({ kind: 'echo', type: 'float32' }, { lengthOf });
    lengthOf.mockImplementation(refusing);
    expect(await rejection(model.acall({ x: [[1]] }))).toBe(failure);
    for (const length of [NaN, -1, Infinity, '3', undefined]) {
      lengthOf.mockReturnValue(length as number);
      await expectRefusal(
        model.acall({ x: [[1]] }),
        'BATCHED_INVALID_INPUT',
        /lengthOf must give a length, but gave .* for row 0/,
      );
    }
    let nested: Promise<unknown> | undefined;
    lengthOf.mockImplementation(() => {
      nested ??= rejection(model.acall({ x: [[7]] }));
      return 1;
    });
    expect(values(await model.acall({ x: [[5]] }))).toEqual([5]);
    expect(await nested).toHaveProperty('code', 'BATCHED_INVALID_INPUT');
  });
});

describe('options of a call', () => {
  test.each<[string, unknown, typeof TypeError | typeof RangeError, RegExp]>([
    ['null', null, TypeError, /options must be an object.*null/],
    ['an unknown one', { timeout: 5 }, TypeError, /unknown option 'timeout' \(known: signal/],
    ['a deadline that is NaN', { deadlineMs: NaN }, RangeError, /'deadlineMs'.*NaN/],
    ['a deadline that is negative', { deadlineMs: -1 }, RangeError, /'deadlineMs'.*-1/],
    ['a deadline that is a string', { deadlineMs: '5' }, TypeError, /'deadlineMs'.*"5"/],
    ['a priority that is NaN', { priority: NaN }, RangeError, /'priority'.*NaN/],
    ['a priority that is infinite', { priority: -Infinity }, RangeError, /'priority'.*-Infinity/],
    ['a priority that is a bigint', { priority: 1n }, TypeError, /'priority'.*bigint 1/],
    ['stack that is a number', { stack: 1 }, TypeError, /'stack'.*boolean.*number 1/],
    ['a signal that is none', { signal: {} }, TypeError, /'signal' must be an AbortSignal/],
    ['a signal that is a controller', { signal: new AbortController() }, TypeError, /'signal' must be an AbortSignal/],
  ])('%s', async (_, options, Class, says) => {
    const error = await rejection(echo.acall({ x: [[1]] }, options as never));
    expect(error).toBeInstanceOf(Class);
    expect(error.message).toMatch(says);
    await expectServes(echo);
  });

  test('extremes that are allowed', async () => {
    for (const options of [
      { deadlineMs: Number.MAX_VALUE },
      { priority: Number.MAX_VALUE },
      { priority: -Number.MAX_VALUE },
      { signal: undefined, deadlineMs: undefined, priority: undefined, stack: undefined },
    ]) {
      expect(values(await echo.acall({ x: [[1]] }, options as ModelCallOptions))).toEqual([1]);
    }
  });

  test.each([[{ drain: 1 }], [{ drian: true }], [null], ['now']])('of close: %j', async (options) => {
    expect(await rejection(echo.close(options as never))).toBeInstanceOf(TypeError);
    await expectServes(echo);
  });
});

describe('options of the batches', () => {
  let path: string;
  beforeAll(async () => {
    path = await ensureModel({ kind: 'echo', type: 'float32' });
  });

  test.each<[string, unknown, typeof TypeError | typeof RangeError, RegExp]>([
    ['batchSize 0', { batchSize: 0 }, RangeError, /'batchSize'.*0/],
    ['batchSize NaN', { batchSize: NaN }, RangeError, /'batchSize'.*NaN/],
    ['batchSize 1.5', { batchSize: 1.5 }, RangeError, /'batchSize'.*1\.5/],
    ['batchSize "8"', { batchSize: '8' }, TypeError, /'batchSize'.*"8"/],
    ['batchSize null', { batchSize: null }, TypeError, /'batchSize'.*null/],
    ['timeoutMs -1', { timeoutMs: -1 }, RangeError, /'timeoutMs'.*-1/],
    ['timeoutMs NaN', { timeoutMs: NaN }, RangeError, /'timeoutMs'.*NaN/],
    ['timeoutMs Infinity', { timeoutMs: Infinity }, RangeError, /'timeoutMs'.*Infinity/],
    ['smallBatchThreshold NaN', { smallBatchThreshold: NaN }, RangeError, /'smallBatchThreshold'.*NaN/],
    ['maxBatchTokens 0', { maxBatchTokens: 0 }, RangeError, /'maxBatchTokens'.*0/],
    ['maxQueueRows NaN', { maxQueueRows: NaN }, RangeError, /'maxQueueRows'.*NaN/],
    ['maxQueueBytes -5', { maxQueueBytes: -5 }, RangeError, /'maxQueueBytes'.*-5/],
    ['maxItemLength 0', { maxItemLength: 0 }, RangeError, /'maxItemLength'.*0/],
    ['paddingSide "middle"', { paddingSide: 'middle' }, RangeError, /'paddingSide'.*right, left, none.*"middle"/],
    ['lengthOf 5', { lengthOf: 5 }, TypeError, /'lengthOf'.*function/],
    ['an unknown one', { maxBatch: 5 }, TypeError, /unknown option 'maxBatch' \(known: /],
    ['an array', [], TypeError, /options must be an object.*array/],
    ['null', null, TypeError, /options must be an object.*null/],
  ])('%s', async (_, options, Class, says) => {
    const error = await rejection(inference.load(path, options as never));
    expect(error).toBeInstanceOf(Class);
    expect(error.message).toMatch(says);
  });

  test('the greatest numbers are no bound and no overflow', async () => {
    const most = Number.MAX_SAFE_INTEGER;
    const model = await open(
      { kind: 'echo', type: 'float32' },
      { batchSize: most, maxBatchTokens: most, maxQueueRows: most, maxQueueBytes: most, maxItemLength: most },
    );
    const calls = Array.from({ length: 300 }, (_, n) => model.acall({ x: [Array(1 + (n % 7)).fill(n) as number[]] }));
    expect((await Promise.all(calls)).every((y, n) => values(y).every((value) => value === n))).toBe(true);
  });

  test('a timeout of ages holds a short batch until it is full or closed', async () => {
    const model = await open({ kind: 'scalar-rows' }, { timeoutMs: Number.MAX_VALUE, batchSize: 2 });
    const pair = [model.acall({ x: [1] }), model.acall({ x: [2] })];
    expect((await Promise.all(pair)).map((y) => values(y))).toEqual([[2], [4]]);
    const held = model.acall({ x: [3] });
    await model.close();
    expect(values(await held)).toEqual([6]);
  });
});

describe('what is thrown that is not an Error', () => {
  afterEach(() => void jest.restoreAllMocks());

  test('a signal’s own reason reaches the caller as it is', async () => {
    const reason = Symbol('reason');
    const rejected = echo.acall({ x: [[1]] }, { signal: AbortSignal.abort(reason) });
    await expect(rejected).rejects.toBe(reason);
  });

  test('a signal that cannot be let go of does not keep other calls from settling', async () => {
    const signal = new AbortController().signal;
    jest.spyOn(signal, 'removeEventListener').mockImplementation(() => {
      throw new Error('holds on');
    });
    const thrown: unknown[] = [];
    jest.spyOn(globalThis, 'queueMicrotask').mockImplementation((task) =>
      process.nextTick(() => {
        try {
          task();
        } catch (error) {
          thrown.push(error);
        }
      }),
    );
    const calls = [1, 2, 3].map((n) => echo.acall({ x: [[n]] }, n === 1 ? { signal } : {}));
    expect((await Promise.all(calls)).map((y) => values(y))).toEqual([[1], [2], [3]]);
    expect(thrown).toEqual([new Error('holds on')]);
  });
});
