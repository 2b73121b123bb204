/** The command line as people run it: the built program in a process of its own, its output piped. */
import { execFile, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Resvg } from '@resvg/resvg-js';
import { ensureModel, type ModelSpec } from '../../scripts/models';
import { readElf } from '../../ts/cuda/elf';
import { paintFor } from '../../ts/cli/paint';
import { scaleFor, spreadLabels } from '../../ts/cli/chart_scale';

const root = join(__dirname, '..', '..');
const main = join(root, 'dist', 'cli', 'main.js');

interface Ran {
  code: number;
  out: string;
  error: string;
}

function batched(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  return new Promise((resolve) => {
    // Nor what was set up for CUDA on this machine.
    const own = { NODE_OPTIONS: '', XDG_CACHE_HOME: folder, BATCHED_CUDA_PATH: '' };
    const options = { env: { ...process.env, ...own, ...env }, timeout: 50_000 };
    execFile(process.execPath, [main, ...args], options, (error, out, err) => {
      resolve({ code: error === null ? 0 : (error.code as unknown as number), out, error: err });
    });
  });
}

const model = (spec: ModelSpec): Promise<string> => ensureModel(spec);

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'batched-cli-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('the words', () => {
  test.each<[string, string[], RegExp]>([
    ['an unknown command', ['docter'], /unknown command 'docter'\n\(Did you mean doctor\?\)/],
    ['an unknown option', ['inspect', 'x.onnx', '--bach'], /unknown option '--bach'/],
    ['a missing model', ['inspect'], /missing required argument 'model'/],
    ['a length that is none', ['bench', 'x.onnx', '--lengths', '16,x'], /whole number of at least 1/],
    ['no clients', ['bench', 'x.onnx', '--clients', '0'], /whole number of at least 1/],
    ['no time', ['bench', 'x.onnx', '--seconds', '0'], /above 0/],
    ['an axis without a name', ['inspect', 'x.onnx', '--batch-axis', '1'], /such as state=1/],
    ['an axis that none has', ['inspect', 'x.onnx', '--batch-axis', 'x=99'], /an axis, 0 to 7, got 99/],
    ['a side that is none', ['bench', 'x.onnx', '--padding-side', 'up'], /Allowed choices are right, left, none/],
    ['a chart of an unknown kind', ['bench', 'x.onnx', '--chart', 'x.gif'], /\.svg or a \.png/],
  ])('%s is exit code 2 and says so', async (_, args, says) => {
    const { code, out, error } = await batched(args);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(error).toMatch(says);
    expect(error).not.toMatch(/\n +at /);
  });

  test('help and version are exit code 0, without a command 2', async () => {
    expect(await batched(['--help'])).toMatchObject({ code: 0, out: expect.stringContaining('doctor') });
    expect(await batched(['bench', '--help'])).toMatchObject({ code: 0, out: expect.stringContaining('--clients') });
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    expect(await batched(['--version'])).toEqual({ code: 0, out: `${version}\n`, error: '' });
    expect(await batched([])).toMatchObject({ code: 2, error: expect.stringContaining('Usage') });
  });

  test('package.json names the program, which has its first line', () => {
    const { bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    expect(bin).toEqual({ batched: 'dist/cli/main.js' });
    expect(readFileSync(main, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
  });
});

describe('colours', () => {
  const terminal = (colours: boolean) => ({ isTTY: true, hasColors: () => colours }) as unknown as NodeJS.WriteStream;

  test('on a terminal that has them, unless --no-color', () => {
    expect(paintFor(terminal(true), true)('red', 'x')).toContain('\u001b[');
    expect(paintFor(terminal(true), false)('red', 'x')).toBe('x');
    expect(paintFor(terminal(false), true)('red', 'x')).toBe('x');
    const pipe = { isTTY: false } as unknown as NodeJS.WriteStream;
    expect(paintFor(pipe, true)('red', 'x')).toBe('x');
  });

  test('not in a pipe', async () => {
    for (const args of [['doctor'], ['doctor', '--no-color'], ['inspect', await model({ kind: 'sum' })]]) {
      const { out, error } = await batched(args);
      expect(out).not.toContain('\u001b');
      expect(error).toBe('');
    }
  });
});

describe('doctor', () => {
  test('finds what it runs on, and says what CUDA lacks', async () => {
    const { code, out } = await batched(['doctor']);
    expect(code).toBe(0);
    expect(out).toMatch(/✓ Addon +\/.*batched\.node\n/);
    expect(out).toMatch(/✓ ONNX Runtime +1\.29\.0, API 29, \/.*libonnxruntime\.so\.1/);
    expect(out).toMatch(/✓ A model +runs, on cpu/);
    expect(out).toMatch(
      /– libonnxruntime_providers_cuda\.so +not beside .*libonnxruntime\.so\.1\n +npx batched setup-cuda\n/,
    );
    expect(out).toMatch(/– A model +runs on the CPU: see what is missing above/);
    expect(out).toMatch(/Models can run here, on the CPU\.\n$/);
  });

  test('--cuda: exit code 1 where models run on the CPU only', async () => {
    const { code, out } = await batched(['doctor', '--cuda', '--json']);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ ok: false, cudaLane: 'not ready' });
  });

  test('--json has every check', async () => {
    const { code, out } = await batched(['doctor', '--json']);
    const report = JSON.parse(out);
    expect(code).toBe(0);
    expect(report).toMatchObject({ ok: true, cudaLane: 'not ready', searched: expect.any(Array) });
    const names = report.checks.map(({ name }: { name: string }) => name);
    expect(names).toEqual(expect.arrayContaining(['Node', 'Platform', 'Addon', 'ONNX Runtime', 'A model', 'GPU']));
    for (const check of report.checks) {
      expect(check).toMatchObject({
        group: expect.stringMatching(/^(machine|batched|cuda)$/),
        detail: expect.any(String),
      });
      expect(check.verdict).toMatch(check.group === 'cuda' ? /^(ok|missing)$/ : /^ok$/);
    }
  });

  test('finds the libraries that a toolkit or a Python environment has', async () => {
    const places = {
      'libcublas.so.13': join(folder, 'toolkit', 'lib64'),
      'libcudnn.so.9': join(folder, 'venv', 'lib', 'python3.12', 'site-packages', 'nvidia', 'cudnn', 'lib'),
    };
    for (const [name, place] of Object.entries(places)) {
      mkdirSync(place, { recursive: true });
      writeFileSync(join(place, name), '');
    }
    const env = { CUDA_HOME: join(folder, 'toolkit'), VIRTUAL_ENV: join(folder, 'venv') };
    const { checks } = JSON.parse((await batched(['doctor', '--json'], env)).out);
    for (const [name, place] of Object.entries(places)) {
      expect(checks).toContainEqual({
        group: 'cuda',
        name,
        verdict: 'ok',
        detail: join(place, name),
        file: join(place, name),
      });
    }
  });

  test('asks nvidia-smi for the GPUs', async () => {
    const bin = join(folder, 'bin');
    mkdirSync(bin);
    writeFileSync(join(bin, 'nvidia-smi'), '#!/bin/sh\necho "NVIDIA H100 80GB HBM3, 81559 MiB, 9.0"\n');
    chmodSync(join(bin, 'nvidia-smi'), 0o755);
    const { out } = await batched(['doctor'], { PATH: `${bin}:${process.env.PATH}` });
    expect(out).toContain('✓ GPU');
    expect(out).toContain('NVIDIA H100 80GB HBM3');
  });

  test('exit code 1, with a fix, when ONNX Runtime does not load', async () => {
    const file = join(folder, 'broken.so');
    writeFileSync(file, 'no library');
    for (const libraryPath of [join(folder, 'none.so'), file]) {
      const { code, out } = await batched(['doctor', '--library-path', libraryPath]);
      expect(code).toBe(1);
      expect(out).toMatch(/✗ ONNX Runtime/);
      expect(out).toContain(libraryPath);
      expect(out).toContain('npm install onnxruntime-node');
      expect(out).toContain('Models cannot run here');
    }
  });

  test('exit code 1, with a fix, when the addon does not load; the rest is still told', async () => {
    const place = join(folder, 'broken');
    mkdirSync(join(place, 'build', 'Release'), { recursive: true });
    writeFileSync(join(place, 'build', 'Release', 'batched.node'), 'no addon');
    const env = { BATCHED_PREBUILD: place };
    const { code, out } = await batched(['doctor'], env);
    expect(code).toBe(1);
    expect(out).toMatch(/✗ Addon/);
    expect(out).toContain('npm rebuild batched');
    expect(out).toContain('libcuda.so.1');
    const inspected = await batched(['inspect', 'x.onnx'], env);
    expect(inspected).toMatchObject({ code: 1, error: expect.stringContaining('npx batched doctor') });
  });
});

describe('inspect', () => {
  test('MiniLM: the batch, what is padded, what the engine makes', async () => {
    const { code, out } = await batched(['inspect', await model({ kind: 'minilm' })]);
    expect(code).toBe(0);
    expect(out).toMatch(/input_ids +int64 +\[batch\*, sequence~\] +axis 0 +padded: sequence \(axis 1\)\n/);
    expect(out).toMatch(/attention_mask .*made where a call leaves it out/);
    expect(out).toMatch(/sentence_embedding +float32 +\[batch\*, 384\]/);
  });

  test('--json of an output that is cut back', async () => {
    const file = await model({ kind: 'echo', type: 'int32' });
    const { code, out } = await batched(['inspect', file, '--json']);
    const tensor = { type: 'int32', dims: ['batch', 'sequence'], batchAxis: 0, paddedAxes: [1], automatic: false };
    const inputs = [{ name: 'x', ...tensor }];
    const outputs = [{ name: 'y', ...tensor }];
    expect({ code, report: JSON.parse(out) }).toEqual({
      code: 0,
      report: { ok: true, file, inputs, outputs, fixedBatch: 0 },
    });
  });

  test('another batch axis and a shared input', async () => {
    const file = await model({ kind: 'state' });
    const refused = await batched(['inspect', file]);
    expect(refused.code).toBe(1);
    expect(refused.error).toMatch(
      /input 'sr' int64 \[\] has no axis for the batch.*\nOn this command line: --shared sr\n$/,
    );
    const args = ['--shared', 'sr', '--batch-axis', 'state=1', '--batch-axis', 'stateN=1'];
    const { code, out } = await batched(['inspect', file, ...args]);
    expect(code).toBe(0);
    expect(out).toMatch(/state +float32 +\[2, batch\*, 3\] +axis 1/);
    expect(out).toMatch(/sr +int64 +\[\] +shared by the batch/);
    expect(out).toContain('nothing is padded');
  });

  test('a batch fixed at 1', async () => {
    const { out } = await batched(['inspect', await model({ kind: 'fixed-batch' })]);
    expect(out).toContain('fixed at 1: rows run one by one');
  });

  test('a refusal for programs', async () => {
    const file = await model({ kind: 'no-batch' });
    const { code, out } = await batched(['inspect', file, '--json']);
    expect(code).toBe(1);
    const error = { code: 'BATCHED_INVALID_INPUT', message: expect.stringContaining("doesn't take batches") };
    expect(JSON.parse(out)).toMatchObject({ ok: false, file, error });
  });

  test('no file, and no model', async () => {
    expect(await batched(['inspect', join(folder, 'none.onnx')])).toMatchObject({
      code: 1,
      error: expect.stringMatching(/^.*none\.onnx.*does not exist\n$/),
    });
    const corrupt = join(folder, 'corrupt.onnx');
    writeFileSync(corrupt, readFileSync(await model({ kind: 'minilm' })).subarray(0, 5000));
    for (const command of ['inspect', 'bench']) {
      const { code, error } = await batched([command, corrupt]);
      expect(code).toBe(1);
      expect(error).toContain('corrupt.onnx');
      expect(error).not.toMatch(/\n +at /);
    }
  });
});

describe('bench', () => {
  const quick = ['--seconds', '0.1', '--clients', '4', '--batch-sizes', '4,1'];

  test('MiniLM: figures, a table, and a chart that parses', async () => {
    const [json, svg] = [join(folder, 'minilm.json'), join(folder, 'minilm.svg')];
    const file = await model({ kind: 'minilm' });
    const { code, out, error } = await batched([
      'bench',
      file,
      ...quick,
      '--lengths',
      '16,8',
      '--json',
      json,
      '--chart',
      svg,
    ]);
    expect({ code, error }).toEqual({ code: 0, error: '' }); // no progress bar in a pipe
    expect(out).toMatch(/length +clients +batchSize +rows\/s +p50 ms/);
    const report = JSON.parse(readFileSync(json, 'utf8'));
    expect(report).toMatchObject({
      provider: 'cpu',
      onnxruntime: '1.29.0',
      seconds: 0.1,
      machine: { cores: expect.any(Number) },
    });
    const settings = report.results.map((result: Record<string, number>) => [
      result.length,
      result.clients,
      result.batchSize,
    ]);
    expect(settings).toEqual(
      [8, 16].flatMap((length) => [
        [length, 1, 1],
        [length, 4, 1],
        [length, 4, 4],
      ]),
    );
    for (const { rows, rowsPerSecond, latency, avgBatchSize, batchSize } of report.results) {
      expect(rows).toBeGreaterThan(0);
      expect(rowsPerSecond).toBeGreaterThan(0);
      expect(latency.p50).toBeGreaterThan(0);
      expect(latency.p99).toBeGreaterThanOrEqual(latency.p50);
      expect(avgBatchSize).toBeLessThanOrEqual(batchSize);
    }
    const chart = readFileSync(svg, 'utf8');
    expect(chart).toContain('>length 16</text>');
    expect(chart).not.toMatch(/NaN|Infinity|undefined/);
    expect(new Resvg(chart).width).toBe(1080); // it parses XML strictly
  });

  test('a PNG, of a model without lengths; the figures to standard output', async () => {
    const png = join(folder, 'state.png');
    const described = ['--shared', 'sr', '--batch-axis', 'state=1', '--batch-axis', 'stateN=1', '--value', 'sr=16000'];
    const args = ['bench', await model({ kind: 'state' }), ...described, ...quick, '--json', '-', '--chart', png];
    const { code, out } = await batched(args);
    expect(code).toBe(0);
    expect(JSON.parse(out).results[0]).toMatchObject({ length: null, clients: 1 });
    const bytes = readFileSync(png);
    expect(bytes.subarray(0, 8)).toEqual(Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]));
    expect(bytes.readUInt32BE(16)).toBe(2160);
  });

  test('every element type gets inputs that the model takes', async () => {
    for (const type of ['float16', 'int8', 'uint64', 'bool', 'float64'] as const) {
      const args = ['bench', await model({ kind: 'echo', type }), '--seconds', '0.02', '--clients', '2'];
      expect(await batched([...args, '--lengths', '3', '--batch-sizes', '2'])).toMatchObject({ code: 0 });
    }
  });

  test('inputs that the model refuses: exit code 1, and which option helps', async () => {
    const file = await model({ kind: 'gather' }); // ten ids
    const refused = await batched(['bench', file, ...quick, '--lengths', '8']);
    expect(refused.code).toBe(1);
    expect(refused.error).toMatch(/The inputs were made up \(length 8\): --max-id/);
    expect(await batched(['bench', file, ...quick, '--lengths', '8', '--max-id', '10'])).toMatchObject({ code: 0 });
  });

  test('a fixed batch has no batch sizes', async () => {
    const { code, out } = await batched(['bench', await model({ kind: 'fixed-batch' }), ...quick]);
    expect(code).toBe(0);
    expect(out).toContain('--batch-sizes has no say');
  });

  test('a folder that is not there is told before the work', async () => {
    const chart = join(folder, 'nowhere', 'x.svg');
    const { code, error } = await batched(['bench', await model({ kind: 'sum' }), '--chart', chart]);
    expect(code).toBe(1);
    expect(error).toContain('nowhere');
    expect(existsSync(chart)).toBe(false);
  });
});

describe('parts', () => {
  test('scales have round ticks within reach of every value', () => {
    expect(scaleFor([20, 30, 37], 0, 100).ticks).toEqual([0, 10, 20, 30, 40]);
    expect(scaleFor([0.14, 9], 0, 100).ticks).toEqual([0.2, 0.5, 1, 2, 5, 10]);
    expect(scaleFor([3, 90_000], 0, 100).ticks).toEqual([10, 100, 1000, 10_000, 100_000]);
    for (const values of [
      [1, 1],
      [0.001, 900],
      [5, 7],
    ]) {
      const { at } = scaleFor(values, 400, 100);
      for (const value of values) expect(at(value)).toBeGreaterThanOrEqual(100);
      expect(at(values[0]!)).toBeLessThanOrEqual(400);
    }
  });

  test('labels are moved apart, in order', () => {
    const placed = spreadLabels([100, 101, 20, 99], 20);
    expect(placed[2]).toBe(20);
    const [a, b, c] = [placed[3]!, placed[0]!, placed[1]!];
    expect(b - a).toBeGreaterThan(19.8);
    expect(c - b).toBeGreaterThan(19.8);
  });

  test('the needed libraries of a binary are those that readelf names', () => {
    const addon = join(root, 'build', 'Release', 'batched.node');
    const [, listed = ''] = spawnSync('readelf', ['-d', addon], { encoding: 'utf8' }).output;
    const names = [...String(listed).matchAll(/NEEDED.*\[(.*)\]/g)].map(([, name]) => name);
    const { needed } = readElf(addon)!;
    if (names.length > 0) expect(needed).toEqual(names);
    expect(needed).toContain('libc.so.6');
  });
});
