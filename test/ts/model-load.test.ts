/** Loading a model: what can be wrong with the file, its bytes, its declarations and the options. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { BatchedError, type LoadOptions, loadLibrary, OnnxModel } from '../../ts';
import { encodeModel, ensureModel, makeModel } from '../../scripts/models/index';
import { GraphBuilder } from '../../scripts/models/onnx-builder';
import { Random } from '../../scripts/models/random';
import { closeAll, expectRefusal, open, rejection, values } from '../helpers/model-calls';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'batched-load-'));
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await closeAll();
});

const load = (source: string | URL | Uint8Array, options: LoadOptions = {}): Promise<OnnxModel> =>
  OnnxModel.load(source, { warmup: false, ...options });

/** Loading still works, and so does what was loaded. */
async function expectLoads(): Promise<void> {
  const echo = await open({ kind: 'echo', type: 'float32' });
  expect(values(await echo.acall({ x: [[1, 2]] }))).toEqual([1, 2]);
}

describe('the source', () => {
  test.each<[string, unknown, RegExp]>([
    ['undefined', undefined, /path, a file URL or its bytes.*undefined/],
    ['null', null, /path, a file URL or its bytes.*null/],
    ['an empty path', '', /path, a file URL or its bytes.*""/],
    ['a number', 5, /path, a file URL or its bytes.*5/],
    ['an object', { path: 'x' }, /path, a file URL or its bytes.*object/],
    ['an ArrayBuffer', new ArrayBuffer(4), /path, a file URL or its bytes.*ArrayBuffer/],
    ['a URL of the web', new URL('https://example.com/model.onnx'), /file/],
  ])('%s is a TypeError', async (_, source, says) => {
    const error = await rejection(load(source as string));
    expect(error.name).toBe('TypeError');
    expect(error.message).toMatch(says);
  });

  test('a missing file', async () => {
    await expectRefusal(load(join(folder, 'none.onnx')), 'BATCHED_INVALID_INPUT', /none\.onnx does not exist/);
    await expectRefusal(
      load(pathToFileURL(join(folder, 'no ne.onnx'))),
      'BATCHED_INVALID_INPUT',
      /no ne\.onnx does not exist/,
    );
    await expectRefusal(
      load(join(folder, 'none', 'model.onnx')),
      'BATCHED_INVALID_INPUT',
      /model\.onnx does not exist/,
    );
  });

  test('a folder', async () => {
    await expectRefusal(load(folder), 'BATCHED_INVALID_INPUT', /batched-load-\w+ is a folder/);
  });

  test('a path with a NUL does not end early', async () => {
    const path = await ensureModel({ kind: 'sum' });
    expect(await rejection(load(`${path}\0.txt`))).toBeInstanceOf(TypeError);
  });

  test('a file that is a path’s parent', async () => {
    const path = await ensureModel({ kind: 'sum' });
    await expectRefusal(load(join(path, 'model.onnx')), 'BATCHED_INVALID_INPUT', /model\.onnx/);
  });
});

describe('corrupt models', () => {
  const whole = encodeModel(makeModel({ kind: 'random', size: 'micro' }));

  /** As a file and as bytes. ONNX Runtime may find what is left of a truncated model to be one: then it must load well. */
  async function expectSound(bytes: Uint8Array, name: string, mayLoad = false): Promise<void> {
    const path = join(folder, `${name}.onnx`);
    writeFileSync(path, bytes);
    for (const source of [path, bytes]) {
      const error = await load(source).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      if (error === undefined && mayLoad) continue;
      expect(error).toBeInstanceOf(BatchedError);
      const { code, message } = error as BatchedError;
      expect(code).toBe('BATCHED_INVALID_INPUT');
      expect(message).toMatch(
        typeof source === 'string' ? new RegExp(`${name}\\.onnx`) : /bytes in memory|model is empty/,
      );
      expect(message).not.toMatch(/onnxruntime\/core|\n/);
    }
  }

  test('no bytes', async () => {
    await expectRefusal(load(new Uint8Array(0)), 'BATCHED_INVALID_INPUT', /empty/);
    await expectSound(new Uint8Array(0), 'empty');
    await expectLoads();
  });

  test('text', async () => {
    await expectSound(Buffer.from('<!doctype html><title>404 Not Found</title>'), 'page');
    await expectSound(Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n'), 'pointer');
  });

  test.each([1, 2, 3, 4, 5, 6, 7, 8])('random bytes, seed %d', async (seed) => {
    const random = new Random(seed, 'bytes');
    await expectSound(
      Uint8Array.from({ length: 1 + random.below(2000) }, () => random.below(256)),
      `random-${seed}`,
    );
  });

  test.each(Array.from({ length: 12 }, (_, seed) => seed))('truncated somewhere, seed %d', async (seed) => {
    const at = new Random(seed, 'truncate').below(whole.length);
    await expectSound(whole.slice(0, at), `truncated-${at}`, true);
  });

  test.each(Array.from({ length: 12 }, (_, seed) => seed))('a few bytes changed, seed %d', async (seed) => {
    const random = new Random(seed, 'flip');
    const bytes = whole.slice();
    for (let i = 0; i < 8; i++) bytes[random.below(Math.min(bytes.length, 4000))] = random.below(256);
    await expectSound(bytes, `changed-${seed}`, true);
  });

  test('and a sound one still loads', expectLoads);

  test('the bytes are copied at the call', async () => {
    const bytes = encodeModel(makeModel({ kind: 'sum' })).slice();
    const loading = load(bytes);
    bytes.fill(0);
    expect((await loading).inputs[0]!.name).toBe('x');
  });
});

describe('what the model declares', () => {
  const bytesOf = (name: string, build: (graph: GraphBuilder) => void): Uint8Array => {
    const graph = new GraphBuilder(name, 'for a test');
    build(graph);
    return encodeModel(graph.build());
  };

  test('no batch axis', async () => {
    const path = await ensureModel({ kind: 'no-batch' });
    await expectRefusal(
      load(path),
      'BATCHED_INVALID_INPUT',
      /input 'x' float32 \[3, 4\]: axis 0 is fixed at 3.*batchAxis: \{ 'x'.*shared: \['x'\]/,
    );
    // As the message says: three rows in every run.
    const model = await load(path, { batchAxis: { x: 0 } });
    expect(model.fixedBatch).toBe(3);
  });

  test('a scalar input that is not said to be shared', async () => {
    await expectRefusal(
      load(await ensureModel({ kind: 'state' })),
      'BATCHED_INVALID_INPUT',
      /'(sr|state)'.*(shared: \['sr'\]|batchAxis: \{ 'state': 1 \})/,
    );
  });

  test('everything shared', async () => {
    const shared = ['x'];
    await expectRefusal(
      load(await ensureModel({ kind: 'sum' }), { shared }),
      'BATCHED_INVALID_INPUT',
      /nothing to batch/,
    );
  });

  test('an output without a batch axis', async () => {
    const bytes = bytesOf('total', (graph) => {
      graph.input('x', 'float32', ['batch', 4]);
      graph.node('ReduceSum', 'total', ['x', graph.int64([0, 1])], { keepdims: 0 });
      graph.output('total', 'float32', []);
    });
    await expectRefusal(load(bytes), 'BATCHED_INVALID_INPUT', /output 'total' float32 \[\] has no axis for the batch/);
  });

  test('a type that batched does not know', async () => {
    const graph = new GraphBuilder('text');
    graph.input('words', 'float32', ['batch', 'n']);
    graph.node('Identity', 'y', ['words']);
    graph.output('y', 'float32', ['batch', 'n']);
    const model = graph.build();
    const stringType = 8;
    for (const { type } of [...model.graph.input!, ...model.graph.output!]) type!.tensorType!.elemType = stringType;
    const bytes = encodeModel(model);
    await expectRefusal(
      load(bytes),
      'BATCHED_INVALID_INPUT',
      /input 'words' is of type string, which is not supported/,
    );
  });
});

describe('options', () => {
  let sum: string;
  beforeAll(async () => {
    sum = await ensureModel({ kind: 'sum' });
  });

  test.each<[string, LoadOptions, RegExp]>([
    ['an unknown output', { outputs: ['totals'] }, /outputs names 'totals'.*it has: total, running/],
    ['an output twice', { outputs: ['total', 'total'] }, /outputs names 'total' twice/],
    ['an unknown input in batchAxis', { batchAxis: { y: 0 } }, /batchAxis names 'y'.*it has: x; total, running/],
    ['an axis beyond the rank', { batchAxis: { x: 5 } }, /batchAxis is 5 for input 'x' float32 \[batch, sequence\]/],
    ['an unknown input in shared', { shared: ['sr'] }, /shared names 'sr'.*it has: x/],
    ['an output in shared', { shared: ['total'] }, /shared names 'total'.*no such input/],
    ['an unknown input in padTokens', { padTokens: { ids: 0 } }, /padTokens names 'ids'.*it has: x/],
    ['too many lanes', { lanes: 100_000 }, /lanes is 100000, more than 256/],
  ])('%s', async (_, options, says) => {
    await expectRefusal(load(sum, options), 'BATCHED_INVALID_INPUT', says);
  });

  test('a pad value that is not one of the input’s type', async () => {
    const path = await ensureModel({ kind: 'gather' });
    for (const value of [0.5, 2 ** 64, -Infinity]) {
      await expectRefusal(
        load(path, { padTokens: { ids: value } }),
        'BATCHED_INVALID_INPUT',
        /padTokens gives input 'ids' int64/,
      );
    }
    expect((await load(path, { padTokens: { ids: -1 } })).inputs[0]!.name).toBe('ids');
  });

  test.each<[string, unknown, typeof TypeError | typeof RangeError, RegExp]>([
    ['an unknown option', { provider: 'cpu' }, TypeError, /unknown option 'provider' \(known: .*executionProviders/],
    ['null', null, TypeError, /options must be an object.*null/],
    ['lanes 0', { lanes: 0 }, RangeError, /'lanes'.*at least 1.*0/],
    ['lanes NaN', { lanes: NaN }, RangeError, /'lanes'.*NaN/],
    ['intraOpThreads -1', { intraOpThreads: -1 }, RangeError, /'intraOpThreads'.*-1/],
    ['intraOpThreads 2^40', { intraOpThreads: 2 ** 40 }, RangeError, /'intraOpThreads'.*1099511627776/],
    ['outputs as a string', { outputs: 'total' }, TypeError, /'outputs'.*array of strings.*"total"/],
    ['outputs of numbers', { outputs: [0] }, TypeError, /'outputs'.*array of strings/],
    ['batchAxis as a number', { batchAxis: 1 }, TypeError, /'batchAxis'.*an object/],
    ['batchAxis of a fraction', { batchAxis: { x: 0.5 } }, RangeError, /'batchAxis' of 'x'.*0\.5/],
    ['batchAxis that is negative', { batchAxis: { x: -1 } }, RangeError, /'batchAxis' of 'x'.*-1/],
    ['batchAxis of a string', { batchAxis: { x: '1' } }, TypeError, /'batchAxis' of 'x'.*"1"/],
    ['batchAxis of NaN', { batchAxis: { x: NaN } }, TypeError, /'batchAxis' of 'x'.*NaN/],
    ['padTokens of NaN', { padTokens: { x: NaN } }, TypeError, /'padTokens' of 'x'.*NaN/],
    ['shared as an object', { shared: { sr: true } }, TypeError, /'shared'.*array of strings/],
    ['warmup as a number', { warmup: 1 }, TypeError, /'warmup'.*boolean/],
    ['libraryPath as a number', { libraryPath: 1 }, TypeError, /'libraryPath'.*string/],
    ['a deviceId that is no number', { deviceId: ['0'] }, TypeError, /'deviceId'.*a number or an array of numbers/],
    ['a negative deviceId', { deviceId: -1 }, RangeError, /'deviceId' must be the number of a GPU.*-1/],
    ['half a deviceId', { deviceId: [0, 0.5] }, RangeError, /'deviceId' must be the number of a GPU/],
    ['no deviceId', { deviceId: [] }, RangeError, /'deviceId' must be the number of a GPU/],
    ['a deviceId twice', { deviceId: [1, 0, 1] }, RangeError, /'deviceId'.*different ones/],
    ['gpuMemLimit 0', { gpuMemLimit: 0 }, RangeError, /'gpuMemLimit'.*at least 1.*0/],
    ['cudaGraphs as a number', { cudaGraphs: 1 }, TypeError, /'cudaGraphs' must be a boolean.*1/],
    ['executionProviders of an unknown', { executionProviders: ['tpu'] }, RangeError, /'executionProviders'.*"tpu"/],
  ])('%s', async (_, options, Class, says) => {
    const error = await rejection(OnnxModel.load(sum, options as never));
    expect(error).toBeInstanceOf(Class);
    expect(error.message).toMatch(says);
  });
});

describe('the ONNX Runtime library', () => {
  test('says where it is', () => {
    expect(loadLibrary()).toMatchObject({
      path: expect.stringContaining('onnxruntime'),
      version: expect.stringMatching(/^1\.\d+/),
    });
  });

  test('one process has room for one', async () => {
    const { path } = loadLibrary();
    await expectLoads();
    expect(loadLibrary(path).path).toBe(path);
    const other = join(folder, 'libonnxruntime.so.1');
    writeFileSync(other, readFileSync(path).subarray(0, 100));
    await expectRefusal(
      load(await ensureModel({ kind: 'sum' }), { libraryPath: other }),
      'BATCHED_INVALID_INPUT',
      /libraryPath is .*libonnxruntime\.so\.1, but ONNX Runtime is loaded from .* a process can hold only one/,
    );
  });

  /** In a process of its own: what happens there happens before any library is loaded. */
  function loadIn(libraryPath: string): { code: string; message: string } {
    const program = `
      import { loadLibrary } from ${JSON.stringify(pathToFileURL(join(__dirname, '..', '..', 'dist', 'index.mjs')).href)};
      try { console.log(JSON.stringify(loadLibrary(process.argv[1]))); }
      catch ({ code, message }) { console.log(JSON.stringify({ code, message })); }`;
    const { stdout, stderr, signal } = spawnSync(
      process.execPath,
      ['--input-type=module', '-e', program, libraryPath],
      {
        encoding: 'utf8',
        timeout: 20_000,
      },
    );
    expect({ stderr, signal }).toEqual({ stderr: '', signal: null });
    return JSON.parse(stdout) as { code: string; message: string };
  }

  test.each<[string, () => string, RegExp]>([
    ['is missing', () => join(folder, 'nowhere.so'), /nowhere\.so.*(No such file|not found|does not exist)/i],
    ['is a folder', () => folder, /batched-load-/],
    ['is no library', () => __filename, /model-load\.test\.ts.*(invalid ELF header|file too short|not a)/i],
    [
      'is another library',
      () => join(__dirname, '..', '..', 'build', 'Release', 'batched.node'),
      /batched\.node.*(OrtGetApiBase|ONNX Runtime)/,
    ],
  ])('an explicit path that %s is an error, not a reason to look elsewhere', (_, path, says) => {
    const { code, message } = loadIn(path());
    expect(code).toBe('BATCHED_LIBRARY_NOT_FOUND');
    expect(message).toMatch(says);
    expect(message).toMatch(/libraryPath/);
  });

  test('an explicit path that is right is used', () => {
    const { path } = loadLibrary();
    expect(loadIn(path)).toMatchObject({ path, how: 'libraryPath' });
  });
});
