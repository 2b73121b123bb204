/**
 * What model-input.test.ts and model-load.test.ts leave: objects that lie about themselves or strike while a tick's
 * calls are packed, results of user functions that do the same, and model files by the hundred. An error with its code
 * or a right result each time, for others always the right result; never a crash.
 */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { onnx } from 'onnx-proto';
import { encodeModel, makeModel } from '../../scripts/models/index';
import { Random } from '../../scripts/models/random';
import {
  BatchedError,
  type BatchedModel,
  dynamically,
  type Features,
  inference,
  OnnxModel,
  type Tensor,
} from '../../ts';
import { errorOf } from '../helpers/gate';
import { closeAll, expectAccounted, expectRefusal, floats, one, open, rejection, values } from '../helpers/model-calls';

const failure = new Error('somebody’s own error');
function refusing(): never {
  throw failure;
}
function isFailure(error: unknown): void {
  expect(error).toBe(failure);
}
const named = <A extends object>(array: A, name: () => string): A =>
  Object.defineProperty(array, Symbol.toStringTag, { get: name });

/** Another answer each time; the last stays. */
function changing(...answers: string[]): () => string {
  let asked = 0;
  return () => answers[Math.min(asked++, answers.length - 1)]!;
}

class Contrary extends Float32Array {
  override set(): void {
    refusing();
  }
  override subarray(): never {
    return refusing();
  }
  override [Symbol.iterator](): never {
    return refusing();
  }
}

function detached<A extends ArrayBufferView>(array: A): A {
  structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
  return array;
}

function revoked<T extends object>(target: T): T {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

const tinyBert = {
  vocabularySize: 20,
  hiddenSize: 8,
  layers: 1,
  heads: 2,
  intermediateSize: 16,
  maxPositions: 16,
  tokenTypes: 2,
  layerNormEpsilon: 1e-12,
};

let echo: BatchedModel; // x float32 [batch, sequence]
let two: BatchedModel; // a [batch, m], b [batch, n, 3] -> [sum(a), sum(b)]
let folder: string;

beforeAll(async () => {
  echo = await open({ kind: 'echo', type: 'float32' });
  two = await open({ kind: 'two-inputs' });
  folder = mkdtempSync(join(tmpdir(), 'batched-hostile-'));
});
afterAll(async () => {
  await closeAll();
  rmSync(folder, { recursive: true });
});

/** A snapshot hands over the calls of the tick. */
const look = ({ stats }: BatchedModel): number => stats.admitted;

const numbered = (n: number): Features => ({ x: floats([1, 3], [n, n + 0.5, -n]) });

/** Calls on either side of `strike`, in one tick: they get their own results. */
async function expectNeighboursUnharmed<R>(strike: () => R): Promise<Awaited<R>> {
  const before = Array.from({ length: 5 }, (_, n) => echo.acall(numbered(n)));
  const struck = strike();
  const after = Array.from({ length: 70 }, (_, n) => echo.acall(numbered(10 + n)));
  for (const [n, y] of (await Promise.all(before)).entries()) expect(values(y)).toEqual([n, n + 0.5, -n]);
  for (const [n, y] of (await Promise.all(after)).entries()) expect(values(y)).toEqual([10 + n, 10.5 + n, -10 - n]);
  return await struck;
}

afterAll(() => {
  for (const model of [echo, two]) expectAccounted(model.stats);
});

describe('calls that are packed in one tick', () => {
  const sums = (a: number[], b: number[]): Features => ({
    a: floats([1, a.length], a),
    b: floats([1, b.length / 3, 3], b),
  });

  /** What user code may do while a call is being described: all of it hands over the calls before. */
  const strikes: [string, (model: BatchedModel) => void][] = [
    ['reads the stats', look],
    [
      'aborts another call',
      (model) => {
        const controller = new AbortController();
        void rejection(model.acall(sums([1], [1, 1, 1]), { signal: controller.signal }));
        controller.abort();
      },
    ],
  ];

  test.each(strikes)('a getter that %s between two inputs', async (_, strike) => {
    const before = two.acall(sums([1, 1, 1, 1], [2, 2, 2]));
    const controller = new AbortController();
    const other = rejection(two.acall(sums([9, 9], [9, 9, 9]), { signal: controller.signal }));
    const struck = two.acall({
      a: floats([1, 2], [5, 6]),
      get b() {
        controller.abort();
        strike(two);
        return floats([1, 2, 3], [1, 2, 3, 4, 5, 6]);
      },
    });
    const after = two.acall(sums([3], [4, 4, 4]));
    expect(values(await before)).toEqual([4, 6]);
    expect(values(await struck)).toEqual([11, 21]);
    expect(values(await after)).toEqual([3, 12]);
    expect(await other).toHaveProperty('name', 'AbortError');
  });

  test('a dim that reads the stats', async () => {
    const before = two.acall(sums([1, 1, 1, 1], [2, 2, 2]));
    const reading = Object.defineProperty([1, 0], 1, { get: () => (look(two), 3) });
    const struck = two.acall({ a: { type: 'float32', dims: reading, data: Float32Array.of(5, 6, 7) }, b: [[1, 1, 1]] });
    const packed = two.acall({
      a: { type: 'float32', dims: Object.defineProperty([1, 0], 1, { get: () => (look(two), 3) }), data: Float32Array.of(1, 2, 3) }, // prettier-ignore
      b: floats([1, 1, 3], [1, 1, 1]),
    });
    expect(values(await before)).toEqual([4, 6]);
    expect(values(await struck)).toEqual([18, 3]);
    expect(values(await packed)).toEqual([6, 3]);
  });

  test('a getter of the call’s own options that reads the stats', async () => {
    const before = echo.acall(numbered(1));
    const options = { get deadlineMs() { return look(echo), 60_000; } }; // prettier-ignore
    expect(values(await echo.acall(numbered(2), options))).toEqual([2, 2.5, -2]);
    expect(values(await before)).toEqual([1, 1.5, -1]);
  });

  test('a getter that closes the model: what came before still runs, its own call is refused', async () => {
    const model = await open({ kind: 'echo', type: 'float32' });
    const before = model.acall(numbered(1));
    let closed: Promise<void> | undefined;
    const own = model.acall({
      get x() {
        closed = model.close();
        return floats([1, 1], [2]);
      },
    });
    await expectRefusal(own, 'BATCHED_CLOSED', /closed/);
    expect(values(await before)).toEqual([1, 1.5, -1]);
    await closed;
    expectAccounted(model.stats);
  });

  test.each<[string, () => Float32Array, ok: number[] | undefined]>([
    ['a class that calls itself another', () => named(Float32Array.of(1, 2), () => 'Float64Array'), [1, 2]],
    ['a class whose name changes', () => named(Float32Array.of(1, 2), changing('Float32Array', 'Float32Array', 'Uint8Array')), [1, 2]], // prettier-ignore
    ['a class whose name is no string', () => named(Float32Array.of(1, 2), () => 7 as never), [1, 2]],
    ['a class whose name throws', () => named(Float32Array.of(1, 2), refusing), [1, 2]],
    ['a length of its own', () => Object.defineProperty(Float32Array.of(1, 2), 'length', { value: 5 }), undefined],
    [
      'a length that throws',
      () => Object.defineProperty(Float32Array.of(1, 2), 'length', { get: refusing }),
      undefined,
    ],
    ['a subclass with its own set, subarray and iterator', () => new Contrary([1, 2]), [1, 2]],
    ['memory that was transferred', () => detached(Float32Array.of(1, 2)), undefined],
  ])('%s', async (_, make, ok) => {
    for (const x of [make(), [make()], { type: 'float32', dims: [1, 2], data: make() }]) {
      await expectNeighboursUnharmed(async () => {
        const settled = await echo.acall({ x }).then(
          (y) => values(y),
          (error: unknown) => error,
        );
        if (!(settled instanceof Error)) expect(settled).toEqual([1, 2]);
        else if (settled !== failure) expect(settled).toHaveProperty('code', 'BATCHED_INVALID_INPUT');
        if (ok !== undefined) expect(settled).toEqual(ok);
      });
    }
  });

  test('a class whose name changes, as large as the memory of packed calls', async () => {
    const a = named(new Float32Array(16384).fill(1), changing('Float32Array', 'Float32Array', 'Uint8Array'));
    const b = floats([1, 1, 3], [1, 2, 3]);
    expect(values(await two.acall({ a: { type: 'float32', dims: [1, 16384], data: a }, b }))).toEqual([16384, 6]);
  });

  test.each([0, 1, 2, 3])('packed memory filled to %d floats before its end', async (spare) => {
    const lengths = [16384 - spare, 1, spare, 2, 16384, 16385, 3].filter((length) => length > 0);
    const results = lengths.map((length, n) => echo.acall({ x: new Float32Array(length).fill(n) }));
    for (const [n, y] of (await Promise.all(results)).entries()) {
      const { data, dims } = one(y);
      expect(dims).toEqual([1, lengths[n]]);
      expect((data as Float32Array).every((value) => value === n)).toBe(true);
    }
  });

  test('memory of every kind among others', async () => {
    const shared = new Float32Array(new SharedArrayBuffer(8));
    shared.set([1, 2]);
    const Growable = SharedArrayBuffer as unknown as new (n: number, o: object) => SharedArrayBuffer;
    const growable = new Float32Array(new Growable(8, { maxByteLength: 1 << 20 }));
    growable.set([3, 4]);
    const results = await expectNeighboursUnharmed(() => Promise.all([shared, growable].map((x) => echo.acall({ x }))));
    expect(results.map((y) => values(y))).toEqual([[1, 2], [3, 4]]); // prettier-ignore
  });

  test('refused ones among good ones: each settles as its own call does', async () => {
    const random = new Random(7, 'mixed');
    const bad: [() => Features, string][] = [
      [() => ({ x: { type: 'float32', dims: [1, 2 ** 40], data: new Float32Array(2) } }), 'BATCHED_INVALID_INPUT'],
      [() => ({ x: detached(Float32Array.of(1)) }), 'BATCHED_INVALID_INPUT'],
      [() => ({ x: new Float32Array(0) }), 'BATCHED_INVALID_INPUT'],
      [() => ({ x: floats([1, -1], [1]) }), 'BATCHED_INVALID_INPUT'],
      [() => ({ y: floats([1, 1], [1]) }), 'BATCHED_INVALID_INPUT'],
      [() => ({ x: [[Symbol.iterator]] }) as never, 'BATCHED_INVALID_INPUT'],
    ];
    const calls = Array.from({ length: 500 }, (_, n) => {
      const kind = random.below(10);
      if (kind >= bad.length) return { n, promise: echo.acall(numbered(n)), code: undefined };
      return { n, promise: echo.acall(bad[kind]![0]()), code: bad[kind]![1] };
    });
    const settled = await Promise.allSettled(calls.map(({ promise }) => promise));
    for (const [i, { n, code }] of calls.entries()) {
      const one = settled[i]!;
      if (one.status === 'rejected') expect(one.reason).toHaveProperty('code', code);
      else expect([code, values(one.value)]).toEqual([undefined, [n, n + 0.5, -n]]);
    }
  });

  test('an item of 4 GB is refused before anything is copied', async () => {
    const start = process.memoryUsage().rss;
    const vast = new Float32Array(2 ** 30); // the system gives it no memory until it is touched
    await expectNeighboursUnharmed(() =>
      expectRefusal(echo.acall({ x: vast }), 'BATCHED_INVALID_INPUT', /4294967296 bytes.*maxQueueBytes/),
    );
    expect(process.memoryUsage().rss - start).toBeLessThan(2 ** 29);
  });
});

describe('signals of somebody’s own making', () => {
  const signals: [string, (signal: Partial<AbortSignal>) => void][] = [
    ['cannot be listened to', (signal) => (signal.addEventListener = refusing)],
    ['cannot be let go of', (signal) => (signal.removeEventListener = refusing)],
  ];
  test.each(signals)('that %s: every call of the batch settles, and is accounted for', async (_, spoil) => {
    const uncaught: unknown[] = [];
    const { queueMicrotask: real } = globalThis;
    globalThis.queueMicrotask = (task) => real(() => {
      try {
        task();
      } catch (error) {
        uncaught.push(error);
      }
    }); // prettier-ignore
    try {
      const signal = { aborted: false, addEventListener: () => undefined, removeEventListener: () => undefined };
      spoil(signal);
      const double = dynamically((items: number[]) => items.map((item) => 2 * item));
      const calls = [1, 2, 3].map((item) => double.acall(item, item === 2 ? { signal: signal as never } : undefined));
      const [first, second, third] = await Promise.allSettled(calls);
      expect([first, third]).toEqual([2, 6].map((value) => ({ status: 'fulfilled', value })));
      if (signal.addEventListener === refusing) expect(second).toMatchObject({ status: 'rejected', reason: failure });
      else expect(second).toMatchObject({ status: 'fulfilled', value: 4 });
      expect(uncaught).toEqual(signal.removeEventListener === refusing ? [failure] : []);
      expectAccounted(double.stats as never);
    } finally {
      globalThis.queueMicrotask = real;
    }
  });
});

describe('results of a user function', () => {
  const results: [string, () => unknown, says: (error: unknown) => void][] = [
    ['an array whose length throws', () => new Proxy([1, 2, 3], { get: refusing }), isFailure],
    ['an array whose second element throws', () => Object.defineProperty([1, 2, 3], 1, { get: refusing }), isFailure],
    ['a revoked proxy', () => revoked([1, 2, 3]), (error) => expect(error).toBeInstanceOf(TypeError)],
    ['a thenable that throws', () => ({ then: refusing }), isFailure],
    ['an object whose then throws', () => Object.defineProperty({}, 'then', { get: refusing }), isFailure],
    ['a typed array', () => Float64Array.of(1, 2, 3), (error) => expect(error).toHaveProperty('code', 'BATCHED_OUTPUT_MISMATCH')], // prettier-ignore
  ];

  test.each(results)('%s: its callers get the error, the next batch runs', async (_, make, says) => {
    for (const asynchronous of [false, true]) {
      let bad = true;
      const run = (items: number[]): number[] => (bad ? (make() as number[]) : items.map((item) => 2 * item));
      const call = dynamically(asynchronous ? (items: number[]) => Promise.resolve().then(() => run(items)) : run);
      const settled = await Promise.allSettled([1, 2, 3].map((item) => call.acall(item)));
      for (const one of settled) if (one.status === 'rejected') says(one.reason);
      expect(settled.some(({ status }) => status === 'rejected')).toBe(true);
      bad = false;
      expect(await call.acall(4)).toBe(8);
      expectAccounted(call.stats as never);
      await call.close();
    }
  });

  test('a sync call gets the error too', async () => {
    const call = dynamically((): number[] => new Proxy([1], { get: refusing }));
    expect(await errorOf(() => call(1))).toBe(failure);
    expectAccounted(call.stats as never);
  });
});

describe('tensors of inference functions', () => {
  const sound = (): Tensor => floats([1, 2], [1, 2]);
  const batched = (): ReturnType<typeof inference.dynamically> =>
    inference.dynamically(({ x }: Record<string, Tensor>) => x!, { batchSize: 8 });

  test.each<[string, (tensor: { type: string; dims: number[]; data: unknown }) => void]>([
    ['grows a dim', ({ dims }) => void dims.push(1)],
    ['loses a dim', ({ dims }) => void dims.pop()],
    ['changes its dims', ({ dims }) => void dims.fill(1e6)],
    ['is given other data', (tensor) => void (tensor.data = 'none')],
    ['is given another type', (tensor) => void (tensor.type = 'int64')],
  ])('a tensor that %s after the call was made is as it was', async (_, change) => {
    const call = batched();
    const tensor = { type: 'float32', dims: [1, 2], data: Float32Array.of(7, 8) };
    const calls = [call.acall({ x: sound() }), call.acall({ x: tensor }), call.acall({ x: sound() })];
    change(tensor);
    expect((await Promise.all(calls)).map((y) => values(y as Tensor))).toEqual([[1, 2], [7, 8], [1, 2]]); // prettier-ignore
  });

  test.each<[string, () => unknown]>([
    ['a product that overflows', () => ({ type: 'float32', dims: [2 ** 40, 2 ** 40], data: new Float32Array(4) })],
    ['a negative dim', () => ({ type: 'float32', dims: [-1, -2], data: new Float32Array(2) })],
    ['data shorter than its dims', () => ({ type: 'float32', dims: [1, 4], data: new Float32Array(2) })],
    ['data that was transferred', () => ({ type: 'float32', dims: [1, 2], data: detached(new Float32Array(2)) })],
    ['a length of its own', () => ({ type: 'float32', dims: [1, 9], data: Object.defineProperty(new Float32Array(2), 'length', { value: 9 }) })], // prettier-ignore
    ['dims by a proxy that changes', () => ({ type: 'float32', dims: new Proxy([1, 2], { get: (target, name) => name === 'length' ? lengths.shift() ?? 2 : Reflect.get(target, name) as unknown }), data: new Float32Array(7) })], // prettier-ignore
  ])('%s: refused, others are served', async (_, make) => {
    lengths = [2, 2, 50];
    const call = batched();
    const calls = [call.acall({ x: sound() }), call.acall({ x: make() as never }), call.acall({ x: sound() })];
    const [first, struck, last] = await Promise.allSettled(calls);
    expect(struck).toMatchObject({ status: 'rejected', reason: { code: 'BATCHED_INVALID_INPUT' } });
    for (const one of [first, last]) expect(values((one as { value: Tensor }).value)).toEqual([1, 2]);
  });
  let lengths: number[] = [];
});

describe('model files', () => {
  const load = (source: string | Uint8Array): Promise<OnnxModel> => OnnxModel.load(source, { warmup: false, lanes: 1 });
  const whole = encodeModel(makeModel({ kind: 'random', size: { ...tinyBert } }));

  async function expectErrorOrModel(bytes: Uint8Array): Promise<boolean> {
    const loaded: unknown = await load(bytes).catch((error: unknown) => error);
    if (loaded instanceof OnnxModel) return true;
    expect(loaded).toBeInstanceOf(BatchedError);
    expect((loaded as BatchedError).code).toBe('BATCHED_INVALID_INPUT');
    return false;
  }

  test('truncated at 300 places: an error with its code, or what is left is a model', async () => {
    const random = new Random(11, 'truncate');
    // The first bytes and the last hold the declarations: every other place is there.
    const ends = Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? i : whole.length - i));
    const places = [...ends, ...Array.from({ length: 200 }, () => random.below(whole.length))];
    let loaded = 0;
    for (const at of places) if (await expectErrorOrModel(whole.slice(0, at))) loaded++;
    expect(loaded).toBeLessThan(places.length / 2);
  });

  test('with bytes changed at 100 places', async () => {
    const random = new Random(12, 'change');
    for (let i = 0; i < 100; i++) {
      const bytes = whole.slice();
      for (let n = 0; n < 4; n++) bytes[random.below(Math.min(bytes.length, 6000))] = random.below(256);
      await expectErrorOrModel(bytes);
    }
    await expectErrorOrModel(whole);
  });

  /** x [batch, 2] -> x + w, with w in another file. */
  function withExternalData(location: string, more: Record<string, string> = {}): Uint8Array {
    const { graph } = makeModel({ kind: 'scalar-rows' });
    const { FLOAT } = onnx.TensorProto.DataType;
    const shape = { dim: [{ dimParam: 'batch' }, { dimValue: 2 }] };
    const type = { tensorType: { elemType: FLOAT, shape } };
    return onnx.ModelProto.encode({
      irVersion: 8,
      opsetImport: [{ domain: '', version: 17 }],
      graph: {
        name: graph.name ?? 'external',
        node: [{ opType: 'Add', name: 'y', input: ['x', 'w'], output: ['y'] }],
        input: [{ name: 'x', type }],
        output: [{ name: 'y', type }],
        initializer: [
          {
            name: 'w',
            dims: [2],
            dataType: FLOAT,
            dataLocation: onnx.TensorProto.DataLocation.EXTERNAL,
            externalData: Object.entries({ location, ...more }).map(([key, value]) => ({ key, value })),
          },
        ],
      },
    }).finish();
  }

  function save(name: string, bytes: Uint8Array): string {
    const path = join(folder, name);
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, bytes);
    return path;
  }
  const weights = new Uint8Array(Float32Array.of(10, 20).buffer);

  test('weights in a file beside it are read', async () => {
    save('good/w.bin', weights);
    const model = await open(save('good/model.onnx', withExternalData('w.bin', { offset: '0', length: '8' })));
    expect(values(await model.acall({ x: [[1, 2]] }))).toEqual([11, 22]);
  });

  test.each<[string, string, Record<string, string>?]>([
    ['above its folder', '../secret.bin'],
    ['above its folder, by a detour', 'below/../../secret.bin'],
    ['by an absolute path', '/etc/passwd'],
    ['by a link that leaves the folder', 'link.bin'],
    ['in a folder that is a link', 'linked/secret.bin'],
    ['in a file that is not there', 'none.bin'],
    ['in a folder', 'below'],
    ['in the system’s devices', '/dev/zero'],
    ['without a place', ''],
    ['longer than the file', 'w.bin', { length: '4096' }],
    ['behind the file’s end', 'w.bin', { offset: '4096', length: '8' }],
    ['at a negative place', 'w.bin', { offset: '-8', length: '8' }],
    ['at a place that overflows', 'w.bin', { offset: '18446744073709551615', length: '8' }],
    ['of another length than its dims', 'w.bin', { offset: '0', length: '4' }],
  ])('weights %s: refused', async (_, location, more = {}) => {
    save('secret.bin', weights);
    save('nest/w.bin', weights);
    mkdirSync(join(folder, 'nest', 'below'), { recursive: true });
    for (const [name, to] of [['link.bin', '../secret.bin'], ['linked', '..']] as const) {
      rmSync(join(folder, 'nest', name), { force: true });
      symlinkSync(to, join(folder, 'nest', name));
    } // prettier-ignore
    const path = save('nest/model.onnx', withExternalData(location, more));
    await expectRefusal(load(path), 'BATCHED_INVALID_INPUT', /model\.onnx/);
    expect(await rejection(load(withExternalData(location, more)))).toHaveProperty('code', 'BATCHED_INVALID_INPUT');
  });
});
