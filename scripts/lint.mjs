// Everything that can be said about the sources without running them.
//
//   npm run lint                      all checks below; types are a test (npm test -- --only types)
//   npm run lint -- --only eslint     one of them
//   npm run lint -- --fix             let the tools that can do so rewrite the sources
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import { checkLayering } from './check-layering.mjs';
import { checkSources } from './check-sources.mjs';
import { ensureHeaders } from './fetch-headers.mjs';
import { checkNotices } from './package/notices.mjs';
import { filesUnder, inRoot, root, which } from './util.mjs';

const args = process.argv.slice(2);
const fix = args.includes('--fix');
const only = args.includes('--only') ? args[args.indexOf('--only') + 1] : undefined;

class MissingTool extends Error {}

function tool(name) {
  const found = which(`${name}-19`, name);
  if (!found) throw new MissingTool(`${name} was not found (Debian: ${name.replace('clang++', 'clang')}-19)`);
  return found;
}

/** Runs a program; its output is shown only when it fails. */
function run(command, commandArgs) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, commandArgs, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    const output = [];
    child.stdout.on('data', (chunk) => output.push(chunk));
    child.stderr.on('data', (chunk) => output.push(chunk));
    child.on('error', reject);
    child.on('close', (code) => {
      // clang-tidy counts the warnings in system headers that it then does not show.
      if (code !== 0)
        process.stderr.write(
          Buffer.concat(output)
            .toString()
            .replace(/^\d+ warnings? generated\.\n/gm, ''),
        );
      resolve(code === 0);
    });
  });
}

/** Runs a program once for each file, as many at a time as there are cores. */
async function runEach(files, command, argsFor) {
  const queue = [...files];
  const results = [];
  const worker = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      results.push(await run(command, argsFor(file)));
    }
  };
  await Promise.all(Array.from({ length: os.availableParallelism() }, worker));
  return results.every(Boolean);
}

function report(problems) {
  for (const problem of problems) console.error(problem);
  return problems.length === 0;
}

const bin = (path) => inRoot('node_modules', path);
const NATIVE_INCLUDES = ['-std=c++20', '-Inative'];

/** Whether a source file, or the header beside it, has a mutex: nowhere else is there anything to analyse. */
const hasMutex = (file) =>
  [file, file.replace(/\.cc$/, '.h')].some(
    (name) => fs.existsSync(inRoot(name)) && /\bMutex/.test(fs.readFileSync(inRoot(name), 'utf8')),
  );

// clang, not the compiler of the build: only it understands the annotations on the mutexes.
function threadSafety() {
  const system = [ensureHeaders(), bin('node-addon-api'), bin('node-api-headers/include')];
  const defines = ['-DORT_API_MANUAL_INIT', '-DNAPI_VERSION=8', '-DNAPI_CPP_EXCEPTIONS'];
  const flags = ['-fsyntax-only', '-Wthread-safety', '-Werror', ...NATIVE_INCLUDES, ...defines];
  return runEach(filesUnder('native', /\.cc$/).filter(hasMutex), tool('clang++'), (file) => [
    ...flags,
    ...system.flatMap((folder) => ['-isystem', folder]),
    file,
  ]);
}

const CHECKS = {
  layering: () => report(checkLayering()),
  sources: () => report(checkSources(fix)),
  notices: () => report(checkNotices(fix)),
  'clang-format': () => {
    const files = ['native', 'bench/native', 'test/native', 'test/fuzz', 'test/cuda/emulator'].flatMap((folder) =>
      filesUnder(folder, /\.(h|cc)$/),
    );
    return files.length === 0 || run(tool('clang-format'), [...(fix ? ['-i'] : ['--dry-run', '-Werror']), ...files]);
  },
  'clang-tidy': () =>
    runEach(filesUnder('native/engine', /\.cc$/), tool('clang-tidy'), (file) => [
      '--quiet',
      ...(fix ? ['--fix'] : []),
      file,
      '--',
      ...NATIVE_INCLUDES,
    ]),
  'thread-safety': threadSafety,
  eslint: () =>
    run(process.execPath, [bin('eslint/bin/eslint.js'), '--max-warnings=0', ...(fix ? ['--fix'] : []), '.']),
  prettier: () =>
    run(process.execPath, [bin('prettier/bin/prettier.cjs'), fix ? '--write' : '--check', '--log-level=warn', '.']),
  // That everything public is documented, and every link in doc comments leads somewhere.
  api: () => run(process.execPath, [bin('typedoc/bin/typedoc'), '--emit', 'none', '--logLevel', 'Warn']),
  // What package.json promises: files that are there, and types for every way to import it that Node has.
  package: async () => {
    const publint = await run(process.execPath, [bin('publint/src/cli.js'), 'run', '--strict', '--pack', 'npm']);
    const attw = [bin('@arethetypeswrong/cli/dist/index.js'), '--pack', '.', '--profile', 'node16'];
    return (await run(process.execPath, attw)) && publint;
  },
};

if (only !== undefined && !(only in CHECKS)) {
  console.error(`--only takes one of: ${Object.keys(CHECKS).join(', ')}`);
  process.exit(2);
}

let failures = 0;
for (const [name, check] of Object.entries(CHECKS)) {
  if (only !== undefined && only !== name) continue;
  const began = performance.now();
  let verdict;
  try {
    verdict = (await check()) ? 'ok' : 'FAILED';
  } catch (error) {
    if (!(error instanceof MissingTool)) throw error;
    // A person may lint without clang; CI may not.
    verdict = `${process.env.CI ? 'FAILED' : 'skipped'}: ${error.message}`;
  }
  if (verdict.startsWith('FAILED')) failures++;
  console.log(`lint: ${name} ${verdict} (${((performance.now() - began) / 1000).toFixed(1)} s)`);
}
process.exitCode = failures > 0 ? 1 : 0;
