#!/usr/bin/env node
// What prebuildify calls in place of node-gyp: brings the CMake build up to date and leaves a copy of the addon in
// build/Release of the folder it was called in.
import fs from 'node:fs';
import { ADDON, buildNative } from '../build-native.mjs';
import { ensureHeaders } from '../fetch-headers.mjs';
import { inRoot, main } from '../util.mjs';

main(() => {
  buildNative('package: native addon', ensureHeaders);
  fs.mkdirSync('build/Release', { recursive: true });
  fs.copyFileSync(inRoot(ADDON), 'build/Release/batched.node');
});
