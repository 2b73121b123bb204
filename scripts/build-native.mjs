// Builds the addon from source with plain cmake: for a checkout, and for people whose platform has no prebuilt one.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import {
  Advice,
  build,
  configure,
  filesUnder,
  fingerprint,
  inRoot,
  installAdvice,
  isStamped,
  stamp,
  step,
  which,
} from './util.mjs';

export const ADDON = 'build/Release/batched.node';

function checkTools() {
  if (!which('cmake')) {
    throw new Advice(`cmake is not on the PATH.\n${installAdvice('cmake', 'cmake', 'brew install cmake')}`);
  }
  if (!which('ninja', 'make', 'gmake')) {
    const how = installAdvice('ninja-build', 'ninja-build', 'brew install ninja');
    throw new Advice(`Neither ninja nor make is on the PATH.\n${how}`);
  }
  const compiler = which(process.env.CXX?.split(' ')[0], 'c++', 'g++', 'clang++');
  const how = installAdvice('g++', 'gcc-c++', 'xcode-select --install');
  if (!compiler) throw new Advice(`No C++ compiler is on the PATH (c++, g++ or clang++, or $CXX).\n${how}`);
  const input =
    '#include <concepts>\n#include <span>\n#include <vector>\nstd::span<const int> s; static_assert(std::integral<int>);';
  const { status } = spawnSync(compiler, ['-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], { input });
  if (status !== 0) throw new Advice(`${compiler} does not compile C++20 (g++ 11 or clang 14 are new enough).\n${how}`);
}

/** Skipped when nothing has changed since the last time. `findHeaders` gives the folder of ONNX Runtime's headers. */
export function buildNative(title, findHeaders) {
  const require = createRequire(inRoot('package.json'));
  const inputs = ['CMakeLists.txt', ...filesUnder('native')];
  const versions = ['node-addon-api', 'node-api-headers'].map((name) => require(`${name}/package.json`).version);
  const environment = ['CI', 'CXX', 'CXXFLAGS', 'LDFLAGS', 'CUDA_HOME', 'ONNXRUNTIME_ROOT'].map(
    (name) => process.env[name],
  );
  const print = fingerprint(inputs, versions, environment, process.platform, process.arch);
  if (isStamped('native', print) && fs.existsSync(inRoot(ADDON))) return;
  checkTools();
  const headers = findHeaders();
  step(
    'native',
    title,
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
