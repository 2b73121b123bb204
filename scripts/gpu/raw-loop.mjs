// Builds bench/native/raw_loop.cc, the limit that `bench gpu` measures against, and prints the program's path. Where one
// was brought along, as in the GPU bundle, $BATCHED_RAW_LOOP names it and nothing is built.
import { ensureHeaders } from '../fetch-headers.mjs';
import { build, configure, inRoot, isProgram, main, step } from '../util.mjs';

const FOLDER = 'build/native'; // the addon's, so that the engine is compiled once for both

export function buildRawLoop() {
  step(
    'raw-loop',
    'bench: the raw loop',
    configure(
      FOLDER,
      '-DCMAKE_BUILD_TYPE=Release',
      '-DBATCHED_BUILD_RAW_LOOP=ON',
      `-DONNXRUNTIME_INCLUDE_DIR=${ensureHeaders()}`,
    ),
    build(FOLDER, 'raw_loop'),
  );
  return inRoot(FOLDER, 'raw_loop');
}

if (isProgram(import.meta.url)) main(() => console.log(process.env.BATCHED_RAW_LOOP || buildRawLoop()));
