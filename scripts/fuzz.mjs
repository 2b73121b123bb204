// Fuzzes the native code that meets what callers and model files say: every program of test/fuzz in turn.
//
//   npm run fuzz                          each for a minute
//   npm run fuzz -- --seconds 10          each for so long
//   npm run fuzz -- --only convert_fuzz   one of them
//
// What a run finds worth keeping goes to build/fuzz/corpus, and the next run goes on from there. An input that fails is
// written to build/fuzz/failed: `build/fuzz/<program> <file>` runs it again.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Advice, build, configure, filesUnder, inRoot, main, step, which } from './util.mjs';

const FOLDER = 'build/fuzz';
const SEED = 1;
const LONGEST_INPUT = 4096; // bytes

/** clang with libFuzzer, or what is missing. */
function findCompiler() {
  const compiler = which('clang++-19', 'clang++');
  if (!compiler) throw new Advice('not run: clang was not found (Debian: clang-19 libclang-rt-19-dev)');
  const program = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }';
  const args = ['-x', 'c++', '-fsanitize=fuzzer,address,undefined', '-o', '/dev/null', '-'];
  const { status } = spawnSync(compiler, args, { input: program });
  if (status !== 0) throw new Advice(`not run: ${compiler} has no libFuzzer (Debian: libclang-rt-19-dev)`);
  return compiler;
}

function fuzz(name, seconds) {
  const folder = (...parts) => {
    fs.mkdirSync(inRoot(FOLDER, ...parts), { recursive: true });
    return inRoot(FOLDER, ...parts);
  };
  const flags = {
    seed: SEED,
    max_total_time: seconds,
    max_len: LONGEST_INPUT,
    timeout: 10, // seconds for one input
    artifact_prefix: `${folder('failed')}/${name}-`,
    print_final_stats: 1,
    verbosity: 0,
  };
  const args = [...Object.entries(flags).map(([flag, value]) => `-${flag}=${value}`), folder('corpus', name)];
  const options = { encoding: 'utf8', env: { ...process.env, UBSAN_OPTIONS: 'print_stacktrace=1' } };
  const { status, stderr } = spawnSync(inRoot(FOLDER, name), args, { ...options, timeout: 1e3 * (seconds + 120) });
  const runs = /number_of_executed_units:\s*(\d+)/.exec(stderr)?.[1] ?? 'unknown';
  console.log(`fuzz: ${name} ${status === 0 ? 'ok' : 'FAILED'} (${runs} inputs in ${seconds} s)`);
  if (status !== 0) console.error(stderr.slice(-8000));
  return status === 0;
}

main(() => {
  const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' }, only: { type: 'string' } } });
  const seconds = Number(values.seconds);
  if (!(Number.isInteger(seconds) && seconds > 0)) throw new Advice('--seconds takes a whole number of at least 1');
  const names = filesUnder('test/fuzz', /\.cc$/).map((file) => path.basename(file, '.cc'));
  if (values.only !== undefined && !names.includes(values.only)) {
    throw new Advice(`--only takes one of: ${names.join(', ')}`);
  }
  let compiler;
  try {
    compiler = findCompiler();
  } catch (error) {
    // A person may do without it; a CI that silently does is worth nothing.
    if (!(error instanceof Advice) || process.env.CI) throw error;
    console.log(`fuzz: ${error.message}`);
    return 0;
  }
  const chosen = configure(FOLDER, '--preset', 'fuzz', `-DCMAKE_CXX_COMPILER=${compiler}`);
  step('fuzz-configure', `${FOLDER}: configuring`, chosen);
  step('fuzz-build', `${FOLDER}: building`, build(FOLDER, values.only ?? 'fuzzers'));
  const failures = names.filter((name) => (values.only ?? name) === name && !fuzz(name, seconds));
  return failures.length > 0 ? 1 : 0;
});
