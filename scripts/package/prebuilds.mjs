// npm run package:prebuilds: fills prebuilds/<platform>-<arch>/ with what the npm package ships for this machine: the
// stripped addon, made by prebuildify from the CMake build, and the ONNX Runtime core that matches it.
//
//   npm run package:prebuilds                   for this machine
//   npm run package:prebuilds -- --arch arm64   for another processor, with its cross compiler (Linux)
//
// --out FOLDER fills FOLDER/prebuilds instead.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Advice, inRoot, main, root, step } from '../util.mjs';
import { checkBinaries } from './check-binaries.mjs';
import { crossTools } from './cross.mjs';
import { packedFiles, reportSize } from './size-report.mjs';

const CORES = { linux: 'libonnxruntime.so.1', darwin: 'libonnxruntime.1.dylib' };

// The dynamic linker takes a library that is asked for by its soname for any other that has the same one: the core of an
// onnxruntime-node of another version would be taken for ours, and fail. So ours has a soname of its own, of the same
// length. native/ort/ort_library.cc looks for both.
const SONAME = { theirs: 'libonnxruntime.so.1', ours: 'libbatched-ort.so.1' };

/** The library's bytes with its soname replaced: a text that occurs in it once. */
function withOwnSoname(library) {
  const [theirs, ours] = [SONAME.theirs, SONAME.ours].map((name) => Buffer.from(`\0${name}\0`));
  const at = library.indexOf(theirs);
  if (at < 0 || library.indexOf(theirs, at + 1) >= 0) {
    throw new Advice(`The core of onnxruntime-node does not have the text ${SONAME.theirs} exactly once.`);
  }
  const renamed = Buffer.from(library);
  ours.copy(renamed, at);
  return renamed;
}

/** The core of onnxruntime-node, a development dependency of a pinned version. */
function shipCore(folder, arch) {
  const name = CORES[process.platform];
  const core = inRoot('node_modules/onnxruntime-node/bin/napi-v6', process.platform, arch, name ?? '');
  if (name === undefined || !fs.existsSync(core)) {
    throw new Advice(
      `onnxruntime-node has no core library for ${process.platform}-${arch}: batched has no prebuilt package for it.`,
    );
  }
  if (process.platform === 'linux') fs.writeFileSync(`${folder}/${name}`, withOwnSoname(fs.readFileSync(core)));
  else fs.copyFileSync(core, `${folder}/${name}`);
}

main(() => {
  const { values } = parseArgs({
    options: { arch: { type: 'string', default: process.arch }, out: { type: 'string', default: root } },
  });
  const out = path.resolve(values.out);
  const target = `${process.platform}-${values.arch}`;
  const strip = values.arch === process.arch ? {} : { PREBUILD_STRIP_BIN: crossTools(target).strip };
  const setup = spawnSync(process.execPath, [inRoot('scripts/setup.mjs')], { cwd: root, stdio: 'inherit' });
  if (setup.status !== 0) return 1;
  const folder = path.join(out, 'prebuilds', target);
  fs.rmSync(folder, { recursive: true, force: true });
  // prebuildify moves what it packs: it works on a copy, in a folder of its own.
  const staging = inRoot('build/package');
  fs.rmSync(staging, { recursive: true, force: true });
  fs.mkdirSync(staging, { recursive: true });
  const shim = inRoot('scripts/package/cmake-build.mjs');
  const flags = ['--napi', '--strip', '--tag-libc', '--name', 'batched', '--node-gyp', shim, '--arch', values.arch];
  const tool = inRoot('node_modules/prebuildify/bin.js');
  step('prebuildify', `package: addon for ${target}`, [
    process.execPath,
    [tool, ...flags, '--cwd', staging, '--out', out],
    strip,
  ]);
  shipCore(folder, values.arch);
  for (const line of checkBinaries(folder)) console.log(line);
  if (out === root) for (const line of reportSize(packedFiles())) console.log(line);
});
