// Brings a checkout to the point where its programs and tests run: npm packages, ONNX Runtime headers, the native
// addon, the TypeScript build. Each step is skipped when it is up to date, so every npm script begins with this.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { ensureHeaders } from './fetch-headers.mjs';
import {
  Advice,
  build,
  configure,
  filesUnder,
  fingerprint,
  inRoot,
  isStamped,
  main,
  stamp,
  step,
  which,
} from './util.mjs';

const readJson = (file) => JSON.parse(fs.readFileSync(inRoot(file), 'utf8'));

const install = (debian, fedora, macos) =>
  `  Debian, Ubuntu: apt-get install ${debian}\n  Fedora: dnf install ${fedora}\n  macOS: ${macos}`;

function checkNode() {
  if (Number(process.versions.node.split('.')[0]) >= 20) return;
  throw new Advice(
    `Node 20 or newer is needed; this is ${process.version}. See https://nodejs.org/ for a current one.`,
  );
}

/** Whether node_modules holds what package-lock.json asks for; npm leaves its own account of what it put there. */
function packagesAreCurrent() {
  if (!fs.existsSync(inRoot('node_modules/.package-lock.json'))) return false;
  const installed = readJson('node_modules/.package-lock.json').packages;
  return Object.entries(readJson('package-lock.json').packages).every(
    // Optional packages are those of other platforms; peers that are optional may be absent too.
    ([folder, wanted]) => folder === '' || wanted.optional || installed[folder]?.integrity === wanted.integrity,
  );
}

function installPackages() {
  if (packagesAreCurrent()) return;
  if (!which('npm')) throw new Advice(`npm is not on the PATH.\n${install('npm', 'npm', 'brew install node')}`);
  // .npmrc says ignore-scripts; the variable is for people whose own settings override it.
  step('npm', 'setup: npm packages', ['npm', ['ci', '--no-audit', '--no-fund'], { ONNXRUNTIME_NODE_INSTALL: 'skip' }]);
}

function checkTools() {
  if (!which('cmake'))
    throw new Advice(`cmake is not on the PATH.\n${install('cmake', 'cmake', 'brew install cmake')}`);
  if (!which('ninja', 'make', 'gmake')) {
    const how = install('ninja-build', 'ninja-build', 'brew install ninja');
    throw new Advice(`Neither ninja nor make is on the PATH.\n${how}`);
  }
  const compiler = which(process.env.CXX?.split(' ')[0], 'c++', 'g++', 'clang++');
  const how = install('g++', 'gcc-c++', 'xcode-select --install');
  if (!compiler) throw new Advice(`No C++ compiler is on the PATH (c++, g++ or clang++, or $CXX).\n${how}`);
  const input =
    '#include <concepts>\n#include <span>\n#include <vector>\nstd::span<const int> s; static_assert(std::integral<int>);';
  const { status } = spawnSync(compiler, ['-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], { input });
  if (status !== 0) throw new Advice(`${compiler} does not compile C++20 (g++ 11 or clang 14 are new enough).\n${how}`);
}

const ADDON = 'build/Release/batched.node';

function buildNative(headers) {
  const inputs = ['CMakeLists.txt', ...filesUnder('native')];
  const versions = ['node-addon-api', 'node-api-headers'].map(
    (name) => readJson(`node_modules/${name}/package.json`).version,
  );
  const environment = ['CI', 'CXX', 'CXXFLAGS', 'LDFLAGS', 'CUDA_HOME'].map((name) => process.env[name]);
  const print = fingerprint(inputs, headers, versions, environment, process.platform, process.arch);
  if (isStamped('native', print) && fs.existsSync(inRoot(ADDON))) return;
  checkTools();
  step(
    'native',
    'setup: native addon',
    configure(
      'build/native',
      '-DCMAKE_BUILD_TYPE=Release',
      `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${inRoot('build/Release')}`,
      `-DONNXRUNTIME_INCLUDE_DIR=${headers}`,
    ),
    build('build/native', 'batched'),
  );
  stamp('native', print);
}

function buildTypeScript() {
  const configs = ['tsconfig.json', 'tsconfig.build.json', 'scripts/esm-entry.mjs'];
  const print = fingerprint(
    [...configs, ...filesUnder('ts')],
    readJson('node_modules/typescript/package.json').version,
  );
  if (isStamped('typescript', print) && fs.existsSync(inRoot('dist/index.mjs'))) return;
  fs.rmSync(inRoot('dist'), { recursive: true, force: true }); // a removed module must not linger
  step(
    'typescript',
    'setup: TypeScript',
    [process.execPath, [inRoot('node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json']],
    [process.execPath, [inRoot('scripts/esm-entry.mjs')]],
  );
  stamp('typescript', print);
}

main(() => {
  checkNode();
  installPackages();
  buildNative(ensureHeaders());
  buildTypeScript();
});
