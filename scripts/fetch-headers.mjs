// Finds ONNX Runtime's C and C++ headers, or fetches them from the npm registry.
//
// Order: $ONNXRUNTIME_ROOT, then the cache ($BATCHED_CACHE_DIR or .cache/), then `npm pack`. Run as a program it
// prints the folder, which is how binding.gyp asks for it.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { cacheDir, unpackPackage } from './npm-package.mjs';
import { Advice, copyWhole, isProgram, main } from './util.mjs';

// The release whose headers match the onnxruntime-node in package.json (API 29). It is a package for Unity; every
// platform folder in it holds the same headers.
const PACKAGE = {
  name: 'com.github.asus4.onnxruntime',
  version: '0.4.9',
  integrity: 'sha512-BkzxduSZ9IkeDP6Q8lz2TFU2ie7hSSvS7ZIfzMooExoq0CNzJnuuGaUJ7IsojBgqO4ouD1jXah8OYyJbCN29Fg==',
};
const FOLDER = 'package/Plugins/iOS~/onnxruntime.xcframework/ios-arm64/onnxruntime.framework/Headers';

const LAYOUTS = ['include', 'include/onnxruntime', 'include/onnxruntime/core/session', '.'];
const isComplete = (folder) =>
  ['onnxruntime_c_api.h', 'onnxruntime_cxx_api.h'].every((name) => fs.existsSync(path.join(folder, name)));

export function ensureHeaders() {
  const given = process.env.ONNXRUNTIME_ROOT;
  if (given) {
    const found = LAYOUTS.map((layout) => path.resolve(given, layout)).find(isComplete);
    if (found) return found;
    throw new Advice(
      `ONNXRUNTIME_ROOT is ${given}, but onnxruntime_cxx_api.h is in none of: ${LAYOUTS.join(', ')}.\n` +
        'Point it at an unpacked ONNX Runtime release, or unset it to fetch the headers from the npm registry.',
    );
  }
  const target = path.join(cacheDir(), 'headers', `onnxruntime-${PACKAGE.version}`, 'include');
  if (!isComplete(target)) fetchInto(target);
  return target;
}

function fetchInto(target) {
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'batched-headers-'));
  try {
    unpackPackage(scratch, PACKAGE, [FOLDER], 'headers', [
      'setup: ONNX Runtime headers (npm pack, 150 MB)',
      'setup: unpacking them',
    ]);
    copyWhole(path.join(scratch, FOLDER), target);
    if (!isComplete(target))
      throw new Advice(`${PACKAGE.name}@${PACKAGE.version} holds no ONNX Runtime headers in ${FOLDER}.`);
  } catch (error) {
    if (!(error instanceof Advice)) throw error;
    throw new Advice(
      `${error.message}\n\nThe ONNX Runtime headers could not be fetched. With an unpacked ONNX Runtime release at ` +
        'hand,\nset ONNXRUNTIME_ROOT to its folder (the one that holds include/) and run this again.',
    );
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

if (isProgram(import.meta.url)) main(() => console.log(ensureHeaders()));
