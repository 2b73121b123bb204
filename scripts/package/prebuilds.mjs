// npm run package:prebuilds: fills prebuilds/<platform>-<arch>/ with what the npm package ships for this machine: the
// stripped addon, made by prebuildify from the CMake build, and the ONNX Runtime core that matches it.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { Advice, inRoot, main, root, step } from '../util.mjs';
import { checkBinaries } from './check-binaries.mjs';

const here = `${process.platform}-${process.arch}`;
const CORES = { linux: 'libonnxruntime.so.1', darwin: 'libonnxruntime.1.dylib' };

/** The core of onnxruntime-node, a development dependency of a pinned version. */
function shipCore(folder) {
  const name = CORES[process.platform];
  const core = inRoot('node_modules/onnxruntime-node/bin/napi-v6', process.platform, process.arch, name ?? '');
  if (name === undefined || !fs.existsSync(core)) {
    throw new Advice(`onnxruntime-node has no core library for ${here}: batched has no prebuilt package for it.`);
  }
  const shipped = process.platform === 'darwin' ? 'libonnxruntime.dylib' : name; // as native/ort/ort_library.cc knows it
  fs.copyFileSync(core, `${folder}/${shipped}`);
}

main(() => {
  const setup = spawnSync(process.execPath, [inRoot('scripts/setup.mjs')], { cwd: root, stdio: 'inherit' });
  if (setup.status !== 0) return 1;
  const folder = inRoot('prebuilds', here);
  fs.rmSync(folder, { recursive: true, force: true });
  // prebuildify moves what it packs: it works on a copy, in a folder of its own.
  const staging = inRoot('build/package');
  fs.rmSync(staging, { recursive: true, force: true });
  fs.mkdirSync(staging, { recursive: true });
  const shim = inRoot('scripts/package/cmake-build.mjs');
  const flags = ['--napi', '--strip', '--tag-libc', '--name', 'batched', '--node-gyp', shim];
  const tool = inRoot('node_modules/prebuildify/bin.js');
  step('prebuildify', `package: addon for ${here}`, [
    process.execPath,
    [tool, ...flags, '--cwd', staging, '--out', root],
  ]);
  shipCore(folder);
  for (const line of checkBinaries(folder)) console.log(line);
});
