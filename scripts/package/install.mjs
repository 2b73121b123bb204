// npm's install script: where the package has no prebuilt addon for this machine, it is built from source. Loading never
// depends on this having run: with a prebuilt addon there is nothing to do.
import { createRequire } from 'node:module';
import { buildNative } from '../build-native.mjs';
import { ensureHeaders } from '../fetch-headers.mjs';
import { Advice, inRoot, main, root } from '../util.mjs';

function isThere() {
  try {
    createRequire(inRoot('package.json'))('node-gyp-build').resolve(root);
    return true;
  } catch {
    return false;
  }
}

main(() => {
  if (isThere()) return;
  try {
    buildNative('batched: building the addon from source', ensureHeaders);
  } catch (error) {
    if (!(error instanceof Advice)) throw error;
    throw new Advice(
      `batched has no prebuilt addon for ${process.platform}-${process.arch}, and it could not be built here:\n${error.message}`,
    );
  }
});
