// Builds the emulated GPU of test/cuda, and puts ONNX Runtime's real CUDA provider beside a core. Prints what to set
// BATCHED_CUDA_PATH to, so that any program of this checkout runs on them:
//
//   BATCHED_CUDA_PATH=$(node scripts/gpu/emulator.mjs) node dist/cli/main.js doctor --cuda
import fs from 'node:fs';
import path from 'node:path';
import { cacheDir } from '../npm-package.mjs';
import { Advice, build, configureProject, inRoot, isProgram, main, step } from '../util.mjs';
import { ensureCudaHeaders } from './headers.mjs';

const FOLDER = 'build/emulator';

/** The folders of the libraries and of the set-up, as BATCHED_CUDA_PATH has them. */
export function ensureEmulator() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Advice("ONNX Runtime's CUDA provider is there for Linux x64 only");
  }
  const setUp = path.join(cacheDir(), 'set-ups', 'cuda13');
  if (!fs.existsSync(setUp)) {
    const args = [inRoot('dist/cli/main.js'), 'setup-cuda', '--cuda', '13', '--folder', setUp];
    step('setup-cuda', 'cuda: batched setup-cuda (npm package, 180 MB)', [process.execPath, args]);
  }
  const include = path.join(ensureCudaHeaders(), 'include');
  step(
    'emulator',
    'cuda: the emulated GPU',
    configureProject(inRoot('test/cuda/emulator'), FOLDER, `-DCUDA_INCLUDE_DIR=${include}`),
    build(FOLDER, 'all'),
  );
  return [inRoot(FOLDER), setUp].join(':');
}

if (isProgram(import.meta.url)) main(() => console.log(ensureEmulator()));
