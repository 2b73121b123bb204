/** The steps of scripts/gpu/assemble.py, over a bundle of stand-ins: what it does when things go well, and when they don't. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync,
} from 'node:fs'; // prettier-ignore
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const source = join(__dirname, '../../scripts/gpu');
const partBytes = 300;

/** What stands in for the programs of a real bundle. */
const programs = {
  'scripts/gpu/probe.js': 'console.log(JSON.stringify({ provider: process.argv[2] }));',
  'scripts/gpu/make-model.js': 'console.log(__filename);',
  'dist/cli/main.js': 'console.log(process.argv.includes("--json") ? JSON.stringify({ ok: true }) : "fine");',
  'test/gpu/one.test.js': 'require("node:test").test("runs", () => {});',
  'bench/main.js': `require("node:fs").writeFileSync(process.argv[process.argv.indexOf("--json") + 1], '{"results": []}');`,
  'texts/texts.bin': 'tokens',
};
type Programs = Partial<Record<keyof typeof programs, string>>;

interface Archive {
  name: string;
  sha256: string;
  parts: { file: string; sha256: string }[];
}

interface Step {
  ok: boolean;
  error?: string;
  [found: string]: unknown;
}

let folder: string;
let count = 0;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'batched-assemble-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

function python(...args: string[]): void {
  const { status, stderr, error } = spawnSync('python3', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`python3: ${error?.message ?? stderr}`);
}

/** An archive of a folder, cut into small parts from number `first` on. */
function pack(bundle: string, name: string, from: string, first: number): Archive {
  const file = join(bundle, `${name}.tar.xz`);
  // The same bytes for the same files.
  const code = `import sys, tarfile
def plain(entry):
    entry.mtime = 0
    return entry
with tarfile.open(sys.argv[1], "w:xz") as tar:
    tar.add(sys.argv[2], ".", filter=plain)`;
  python('-c', code, file, from);
  const data = readFileSync(file);
  rmSync(file);
  const parts = Array.from({ length: Math.ceil(data.length / partBytes) }, (_, i) => {
    const part = data.subarray(i * partBytes, (i + 1) * partBytes);
    const to = `part-${String(first + i).padStart(2, '0')}`;
    writeFileSync(join(bundle, to), part);
    return { file: to, sha256: sha256(part) };
  });
  return { name, sha256: sha256(data), parts };
}

/** A folder with assemble.sh and the parts of a bundle whose programs are `own` or stand-ins. */
function bundle(own: Programs = {}, to = join(folder, `bundle-${count++}`)): string {
  const scratch = join(folder, `tree-${count++}`);
  for (const [path, text] of Object.entries({ ...programs, ...own })) write(join(scratch, 'app', path), text);
  write(join(scratch, 'runtime/node/bin/node'), `#!/bin/sh\nexec ${process.execPath} "$@"\n`);
  chmodSync(join(scratch, 'runtime/node/bin/node'), 0o755);
  write(join(scratch, 'runtime/app/prebuilds/linux-x64/libonnxruntime.so.1'), 'a core');
  mkdirSync(to, { recursive: true });
  for (const name of ['assemble.sh', 'assemble.py']) copyFileSync(join(source, name), join(to, name));
  const app = pack(to, 'app', join(scratch, 'app'), 0);
  const runtime = pack(to, 'runtime', join(scratch, 'runtime'), app.parts.length);
  writeFileSync(join(to, 'manifest.json'), JSON.stringify({ version: '1.2.3', archives: [app, runtime] }));
  return to;
}

interface Ended {
  code: number | null;
  output: string;
  steps: Record<string, Step>;
  result: Record<string, unknown>;
}

function assemble(at: string, args: string[] = [], env: Record<string, string> = {}): Ended {
  const out = join(at, 'out');
  const { status, stdout, stderr } = spawnSync('bash', [join(at, 'assemble.sh'), '--provider', 'cpu', ...args], {
    encoding: 'utf8',
    // As a bare machine has it: no node on the path.
    env: { PATH: '/usr/bin:/bin', HOME: at, OUT: out, ...env },
    timeout: 50_000,
  });
  const result = JSON.parse(readFileSync(join(out, 'result.json'), 'utf8')) as Record<string, unknown>;
  return { code: status, output: stdout + stderr, steps: result['steps'] as Record<string, Step>, result };
}

const outcomes = ({ steps }: Ended): Record<string, boolean> =>
  Object.fromEntries(Object.entries(steps).map(([name, { ok }]) => [name, ok]));

const modelsOf = (...names: string[]): string[] => ['--models', names.join()];

describe('a whole bundle', () => {
  let at: string;
  let ended: Ended;
  beforeAll(() => {
    at = bundle();
    ended = assemble(at, modelsOf('a', 'b'));
  });

  test('every step runs and is told of', () => {
    expect(outcomes(ended)).toEqual({
      unpack: true, machine: true, probe: true, doctor: true, models: true, tests: true, bench: true, profile: true,
    }); // prettier-ignore
    expect(ended.code).toBe(0);
    expect(ended.result).toMatchObject({ provider: 'cpu', bundle: { version: '1.2.3' } });
    expect(ended.steps['unpack']).toMatchObject({ unpacked: ['app', 'runtime'] });
    expect(ended.steps['probe']).toMatchObject({ environment: 'as it is' });
    expect(Object.keys(ended.steps['models']!['made'] as object)).toEqual(['a', 'b']);
    expect(ended.steps['tests']).toMatchObject({ passed: 1, failed: 0 });
    expect(ended.steps['bench']).toMatchObject({ report: { results: [] } });
    expect(ended.output).toMatch(/all steps went well/);
    expect(readFileSync(join(at, 'out/log.txt'), 'utf8')).toMatch(/probe\.js cpu/);
  });

  test('what the runtime has for the app lies in it, and texts lie in the cache', () => {
    const [core, own] = ['work/app', 'work/runtime/app'].map((place) =>
      statSync(join(at, place, 'prebuilds/linux-x64/libonnxruntime.so.1')),
    );
    expect(core!.ino).toBe(own!.ino);
    expect(readFileSync(join(at, 'work/models/texts.bin'), 'utf8')).toBe('tokens');
  });

  test('--only runs what is asked for, on what was unpacked before', () => {
    const again = assemble(at, ['--only', 'doctor']);
    expect(outcomes(again)).toEqual({ unpack: true, probe: true, doctor: true });
    expect(again.steps['unpack']).toMatchObject({ unpacked: [] });
  });

  test('a new app is unpacked, the same runtime is not', () => {
    bundle({ 'dist/cli/main.js': 'console.log(JSON.stringify({ ok: true, fresh: true }));' }, at);
    const again = assemble(at, ['--only', 'doctor']);
    expect(again.steps['unpack']).toMatchObject({ unpacked: ['app'] });
    expect(again.steps['doctor']).toMatchObject({ ok: true, report: { fresh: true } });
    expect(existsSync(join(at, 'work/app/prebuilds/linux-x64/libonnxruntime.so.1'))).toBe(true);
  });
});

describe('what goes wrong', () => {
  test('a damaged or a missing part is named, and nothing runs', () => {
    const at = bundle();
    const part = join(at, 'part-01');
    const data = readFileSync(part);
    data[10]! ^= 1;
    writeFileSync(part, data);
    const damaged = assemble(at);
    expect(damaged).toMatchObject({ code: 1, steps: { unpack: { ok: false } } });
    expect(damaged.steps['unpack']!.error).toMatch(/part-01 is damaged/);
    expect(Object.keys(damaged.steps)).toEqual(['unpack']);
    rmSync(part);
    expect(assemble(at).steps['unpack']!.error).toMatch(/part-01 is not here/);
  });

  test('steps that fail say why, and the others run', () => {
    const at = bundle({
      'dist/cli/main.js': 'console.log("no JSON at all");',
      'scripts/gpu/make-model.js': 'throw new RangeError("no such model");',
      'test/gpu/one.test.js':
        'const { test } = require("node:test"); test("runs", () => {}); test("breaks", () => { throw new Error("broken"); });',
    });
    const ended = assemble(at);
    expect(ended.code).toBe(1);
    expect(outcomes(ended)).toMatchObject({ doctor: false, models: false, tests: false, bench: true, profile: true });
    expect(ended.steps['doctor']!.error).toMatch(/no JSON/);
    expect(ended.steps['models']!.error).toMatch(/no such model/);
    expect(ended.steps['tests']).toMatchObject({ passed: 1, failed: 1 });
    expect(JSON.stringify(ended.steps['tests']!['tests'])).toMatch(/broken/);
    expect(ended.output).toMatch(/failed: doctor, models, tests/);
  });

  test('a model runs only with LD_LIBRARY_PATH: all that follows has it', () => {
    const home = join(folder, 'toolkit');
    write(join(home, 'lib64/libcudart.so.13'), '');
    const needs =
      'if (!(process.env.LD_LIBRARY_PATH ?? "").includes("toolkit")) throw new Error("libcudart.so.13 is missing");';
    const at = bundle({
      'scripts/gpu/probe.js': `${needs} console.log("{}");`,
      'dist/cli/main.js': `${needs} console.log('{"ok": true}');`,
    });
    const ended = assemble(at, ['--only', 'doctor'], { CUDA_HOME: home });
    expect(outcomes(ended)).toEqual({ unpack: true, probe: true, doctor: true });
    expect(ended.steps['probe']).toMatchObject({
      environment: 'LD_LIBRARY_PATH',
      tries: [{ ok: false }, { ok: true }],
    });
    expect(JSON.stringify(ended.steps['probe'])).toMatch(/libcudart\.so\.13 is missing/);
  });

  test('a benchmark that hangs is ended, and what it has saved comes back', () => {
    const at = bundle({ 'bench/main.js': `${programs['bench/main.js']} setInterval(() => {}, 1000);` });
    const ended = assemble(at, ['--only', 'bench', '--minutes', '0.15']);
    expect(ended.steps['bench']).toMatchObject({ ok: false, report: { results: [] } });
    expect(ended.steps['bench']!.error).toMatch(/took longer than/);
  });
});
