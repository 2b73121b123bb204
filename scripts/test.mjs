// Runs every test that this machine can run, and closes with one line that counts them all.
//
//   npm test                          types, C++ tests, jest, the GPU tests on the CPU, ONNX Runtime's CUDA provider on an
//                                     emulated GPU, the npm package
//   npm test -- --only native         one runner: types, native, jest, gpu, cuda or package
//   npm test -- --sanitizers          the C++ tests once more under ASan+UBSan and under TSan, jest on the addon under ASan+UBSan
//   npm test -- -t pattern            anything else goes to jest
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { checkTypes } from './check-types.mjs';
import { ensureEmulator } from './gpu/emulator.mjs';
import { ensureCudaHeaders } from './gpu/headers.mjs';
import { Advice, build, cacheEntry, configure, filesUnder, inRoot, main, root, step } from './util.mjs';

const RUNNERS = ['types', 'native', 'jest', 'gpu', 'cuda', 'package'];
const HANG_MS = 20 * 60_000; // a runner that takes longer is stuck: fail, rather than hang whoever waits

function parseArguments(args) {
  const jestArgs = [...args];
  const take = (flag, count) => {
    const at = jestArgs.indexOf(flag);
    return at < 0 ? undefined : jestArgs.splice(at, count);
  };
  const sanitizers = take('--sanitizers', 1) !== undefined;
  const only = take('--only', 2)?.[1];
  if (only !== undefined && !RUNNERS.includes(only)) throw new Advice(`--only takes one of: ${RUNNERS.join(', ')}`);
  return { only, runs: (runner) => only === undefined || only === runner, sanitizers, jestArgs };
}

const say = (text) => process.stderr.write(`\n── ${text}\n`);

/** Runs a program in full view, and reads the report it leaves behind. A crash leaves none. */
function runWithReport(command, args, report, env = {}, parse = JSON.parse) {
  fs.mkdirSync(inRoot('build/reports'), { recursive: true });
  fs.rmSync(report, { force: true });
  const options = { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, ...env } };
  const { status, signal, error } = spawnSync(command, args, { ...options, timeout: HANG_MS, killSignal: 'SIGKILL' });
  const ended = error?.message ?? (signal ? `killed by ${signal}` : `exit code ${status}`);
  return {
    ok: status === 0,
    ended,
    report: fs.existsSync(report) ? parse(fs.readFileSync(report, 'utf8')) : undefined,
  };
}

/** A runner that failed without a failed test to show for it (a crash, a leak, a hang) counts as one failure. */
function settle(name, run, counts) {
  if (run.ok || counts.failed > 0) return { name, ...counts };
  return { name, ...counts, failed: 1, note: `the runner itself failed (${run.ended})` };
}

function runTypes() {
  say('types');
  return { name: 'types', ...checkTypes() };
}

/** Builds the GoogleTest program `target` in `folder` and runs it. */
function runNative(name, folder, target, configureArgs, env) {
  say(`C++ tests (${name})`);
  step(`${name}-configure`, `${folder}: configuring`, configure(folder, ...configureArgs));
  if (!cacheEntry(folder, 'GTest_DIR') || cacheEntry(folder, 'GTest_DIR').endsWith('NOTFOUND')) {
    const note =
      'not run: GoogleTest was not found (Debian: libgtest-dev, Fedora: gtest-devel, macOS: brew install googletest)';
    // A person may do without them; a CI that silently does is worth nothing.
    return { name, passed: 0, failed: process.env.CI ? 1 : 0, note };
  }
  step(`${name}-build`, `${folder}: building ${target}`, build(folder, target));
  const report = inRoot('build/reports', `${name}.json`);
  const run = runWithReport(inRoot(folder, target), [`--gtest_output=json:${report}`, '--gtest_brief=1'], report, env);
  const tests = (run.report?.testsuites ?? []).flatMap((suite) => suite.testsuite);
  const ran = tests.filter((test) => test.result === 'COMPLETED');
  const failed = ran.filter((test) => test.failures?.length > 0).length;
  return settle(name, run, { passed: ran.length - failed, failed, skipped: tests.length - ran.length });
}

function runJest(name, jestArgs, env) {
  say(name);
  const report = inRoot('build/reports', `${name}.json`);
  const args = [inRoot('node_modules/jest/bin/jest.js'), '--json', '--outputFile', report, ...jestArgs];
  const run = runWithReport(process.execPath, args, report, env);
  const {
    numPassedTests = 0,
    numFailedTests = 0,
    numPendingTests = 0,
    numRuntimeErrorTestSuites = 0,
  } = run.report ?? {};
  // A test file that does not even load has no tests to count.
  const failed = numFailedTests + numRuntimeErrorTestSuites;
  return settle(name, run, { passed: numPassedTests, failed, skipped: numPendingTests });
}

/** Node's own runner: these tests also run where there is no jest. On the CPU, unless BATCHED_TEST_PROVIDER is cuda. */
function runGpu() {
  const provider = process.env.BATCHED_TEST_PROVIDER || 'cpu';
  say(`GPU tests (on ${provider})`);
  const report = inRoot('build/reports/gpu.xml');
  const reporters = ['spec', 'stdout', 'junit', report].map(
    (value, i) => `--test-reporter${i % 2 === 0 ? '' : '-destination'}=${value}`,
  );
  const files = filesUnder('test/gpu', /\.test\.ts$/).map((file) => inRoot(file));
  const args = ['--import', 'tsx', '--test', '--test-concurrency=2', '--test-timeout=300000', ...reporters, ...files];
  const count = (xml) => ({
    all: xml.match(/<testcase\b/g)?.length ?? 0,
    failed: xml.match(/<(failure|error)\b/g)?.length ?? 0,
  });
  const run = runWithReport(process.execPath, args, report, { BATCHED_TEST_PROVIDER: provider }, count);
  const { all = 0, failed = 0 } = run.report ?? {};
  return settle('gpu', run, { passed: all - failed, failed });
}

/** ONNX Runtime's real CUDA provider, on a GPU that is threads of ours: see test/cuda/emulator/device.h. */
function runCuda(jestArgs) {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return { name: 'cuda', passed: 0, failed: 0, note: 'not run: there is a CUDA provider for Linux x64 only' };
  }
  try {
    ensureCudaHeaders();
  } catch (error) {
    // A person may do without them; a CI that silently does is worth nothing.
    if (!(error instanceof Advice) || process.env.CI) throw error;
    return { name: 'cuda', passed: 0, failed: 0, note: `not run: ${error.message.split('\n').at(-1)}` };
  }
  const config = ['--config', inRoot('test/cuda/jest.config.cjs')];
  return runJest('cuda', [...config, ...jestArgs], { BATCHED_CUDA_PATH: ensureEmulator() });
}

/** The jest files whose every line of native code is worth a sanitizer: they need no downloaded model. */
const ADDON_TESTS = [
  'dynamically[\\w-]*',
  'function-queue',
  'fuzz',
  'inference-functions',
  'model',
  'model-batching',
  'model-input',
  'model-load',
  'model-outputs',
  'native',
  'options',
  'share',
  'trim-outputs',
];

/** Jest on the addon of a sanitizer's folder: node itself is not instrumented, so the runtime is loaded before it. */
function runAddon(name, preset, env) {
  if (process.platform !== 'linux') return { name, passed: 0, failed: 0, note: 'not run: only on Linux' };
  const folder = `build/${preset}`;
  step(`${name}-configure`, `${folder}: configuring`, configure(folder, '--preset', preset));
  step(`${name}-build`, `${folder}: building batched`, build(folder, 'batched'));
  const compiler = cacheEntry(folder, 'CMAKE_CXX_COMPILER');
  const library = `lib${preset}.so`;
  const runtime = spawnSync(compiler, [`-print-file-name=${library}`], { encoding: 'utf8' }).stdout.trim();
  if (!fs.existsSync(runtime)) throw new Advice(`${compiler} has no ${library} (it must be g++)`);
  const only = ['--testPathPatterns', `/test/ts/(${ADDON_TESTS.join('|')})\\.test\\.ts$`];
  // node-gyp-build looks in $BATCHED_PREBUILD/build/Release.
  return runJest(name, only, { ...env, LD_PRELOAD: fs.realpathSync(runtime), BATCHED_PREBUILD: inRoot(folder) });
}

/** A runner that cannot even be built is one failure; the others still get their turn. */
function guarded(name, runner) {
  try {
    return runner();
  } catch (error) {
    if (!(error instanceof Advice)) throw error;
    console.error(error.message);
    return { name, passed: 0, failed: 1, note: 'could not be built' };
  }
}

/** The core library that the ONNX Runtime room is tested with. */
function installedCore() {
  const [folder, name] =
    process.platform === 'darwin' ? ['darwin', 'libonnxruntime.1.dylib'] : ['linux', 'libonnxruntime.so.1'];
  return inRoot('node_modules/onnxruntime-node/bin/napi-v6', folder, process.arch, name);
}

const ASAN = 'detect_stack_use_after_return=1:strict_string_checks=1';
const TSAN = 'second_deadlock_stack=1';
const UBSAN_OPTIONS = 'print_stacktrace=1';

/** Per preset, the environment of the C++ tests, and of node with the addon. */
const SANITIZERS = {
  asan: {
    tests: { ASAN_OPTIONS: ASAN, UBSAN_OPTIONS },
    // Node frees little of what it holds when it exits: its leaks would drown ours. The C++ tests look for those.
    addon: { ASAN_OPTIONS: `${ASAN}:detect_leaks=0`, UBSAN_OPTIONS },
  },
  // TSan is for the engine, which owns the threads.
  tsan: { tests: { TSAN_OPTIONS: TSAN } },
};

main(() => {
  const { only, runs, sanitizers, jestArgs } = parseArguments(process.argv.slice(2));
  const results = [];
  const add = (name, runner) => results.push(guarded(name, runner));
  if (runs('types')) add('types', runTypes);
  // The folder that the addon was built in, so that the engine is compiled once for both.
  const plain = ['-DBATCHED_BUILD_TESTS=ON'];
  if (runs('native')) {
    add('engine', () => runNative('engine', 'build/native', 'batched_tests', plain));
    add('ort', () =>
      runNative('ort', 'build/native', 'batched_ort_tests', plain, { BATCHED_TEST_ORT: installedCore() }),
    );
  }
  for (const [preset, env] of sanitizers ? Object.entries(SANITIZERS) : []) {
    if (runs('native')) {
      add(preset, () => runNative(preset, `build/${preset}`, 'batched_tests', ['--preset', preset], env.tests));
    }
    if (runs('jest') && env.addon) add(`addon-${preset}`, () => runAddon(`addon-${preset}`, preset, env.addon));
  }
  if (runs('jest')) add('jest', () => runJest('jest', jestArgs));
  if (runs('gpu') && jestArgs.length === 0) add('gpu', runGpu);
  if (runs('cuda') && (jestArgs.length === 0 || only === 'cuda')) add('cuda', () => runCuda(jestArgs));
  // Last and alone: it builds what it packs.
  if (runs('package')) {
    const config = ['--config', inRoot('test/package/jest.config.cjs')];
    add('package', () => runJest('package', [...config, ...jestArgs]));
  }

  say('all runners');
  for (const { name, passed, failed, skipped = 0, note } of results) {
    const counts = `${passed} ok, ${failed} failed${skipped ? `, ${skipped} skipped` : ''}`;
    console.error(`   ${name.padEnd(12)}${counts}${note ? `: ${note}` : ''}`);
  }
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  const [passed, failed] = [sum('passed'), sum('failed')];
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 || passed === 0 ? 1 : 0;
});
