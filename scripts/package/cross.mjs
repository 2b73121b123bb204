// Building for a processor that is not this machine's, with the cross compiler that a distribution has.
import fs from 'node:fs';
import { Advice, build, configure, inRoot, step, which } from '../util.mjs';

const TARGETS = {
  'linux-arm64': { prefix: 'aarch64-linux-gnu', processor: 'aarch64', debian: 'g++-aarch64-linux-gnu' },
};

/** The programs that build for `target`, such as 'linux-arm64'. */
export function crossTools(target) {
  const known = TARGETS[target];
  if (known === undefined) throw new Advice(`Only ${Object.keys(TARGETS).join(', ')} can be built for, not ${target}.`);
  const { prefix, processor, debian } = known;
  const [compiler, strip] = [`${prefix}-g++`, `${prefix}-strip`];
  if (!which(compiler) || !which(strip)) {
    throw new Advice(`${compiler} is not on the PATH.\n  Debian, Ubuntu: apt-get install ${debian}`);
  }
  return { compiler, strip, processor };
}

/** Builds the addon for `target` from the same CMakeLists.txt; gives its file. */
export function buildFor(target, headers) {
  const { compiler, processor } = crossTools(target);
  const folder = `build/${target}`;
  step(
    target,
    `cross: native addon for ${target}`,
    configure(
      folder,
      '-DCMAKE_BUILD_TYPE=Release',
      '-DCMAKE_SYSTEM_NAME=Linux',
      `-DCMAKE_SYSTEM_PROCESSOR=${processor}`,
      `-DCMAKE_CXX_COMPILER=${compiler}`,
      `-DONNXRUNTIME_INCLUDE_DIR=${headers}`,
      '-DBATCHED_NVTX=OFF',
    ),
    build(folder, 'batched'),
  );
  const addon = inRoot(folder, 'batched.node');
  if (!fs.existsSync(addon)) throw new Advice(`The build for ${target} left no ${addon}.`);
  return addon;
}
