#!/usr/bin/env node
// What prebuildify calls in place of node-gyp: brings the CMake build up to date, for the processor that prebuildify was
// asked for, and leaves a copy of the addon in build/Release of the folder it was called in.
import fs from 'node:fs';
import { ADDON, buildNative } from '../build-native.mjs';
import { ensureHeaders } from '../fetch-headers.mjs';
import { inRoot, main } from '../util.mjs';
import { buildFor } from './cross.mjs';

function builtAddon() {
  const arch = process.env.PREBUILD_ARCH ?? process.arch;
  if (arch !== process.arch) return buildFor(`${process.platform}-${arch}`, ensureHeaders());
  buildNative('package: native addon', ensureHeaders);
  return inRoot(ADDON);
}

main(() => {
  const addon = builtAddon();
  fs.mkdirSync('build/Release', { recursive: true });
  fs.copyFileSync(addon, 'build/Release/batched.node');
});
