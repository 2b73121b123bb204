// NVTX's headers (Apache-2.0 with LLVM exception, a folder of text), which no npm package has: those of a CUDA toolkit, or
// fetched with pip from PyPI's nvidia-nvtx. Prints the folder to give as CUDA_HOME when the addon is built:
//
//   CUDA_HOME=$(node scripts/gpu/nvtx.mjs) npm run setup
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Advice, isProgram, main, step, which } from '../util.mjs';
import { cacheDir } from '../npm-package.mjs';

const WHEEL = {
  version: '13.4.92',
  file: 'nvidia_nvtx-13.4.92-py3-none-manylinux1_x86_64.manylinux_2_5_x86_64.whl',
  sha256: '6d14c3b7a91917892f0f54fca352acd315fbadcc92bdc616a9bc3f626e9f1e28',
};
const HEADER = 'include/nvtx3/nvToolsExt.h';

/** A folder that has include/nvtx3; undefined where there is neither a toolkit nor pip. */
export function ensureNvtx() {
  const cached = path.join(cacheDir(), 'headers', `nvtx-${WHEEL.version}`);
  const found = [process.env.CUDA_HOME, '/usr/local/cuda', cached].find(
    (folder) => folder && fs.existsSync(path.join(folder, HEADER)),
  );
  if (found) return found;
  if (!which('python3')) return undefined;
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'batched-nvtx-'));
  try {
    const platforms = ['manylinux1_x86_64', 'manylinux_2_5_x86_64'].flatMap((name) => ['--platform', name]);
    const flags = ['--no-deps', '--only-binary=:all:', ...platforms, '-d', scratch];
    step('nvtx', "fetching NVTX's headers (pip download)", [
      'python3',
      ['-m', 'pip', 'download', '--quiet', ...flags, `nvidia-nvtx==${WHEEL.version}`],
    ]);
    const wheel = path.join(scratch, WHEEL.file);
    const actual = createHash('sha256').update(fs.readFileSync(wheel)).digest('hex');
    if (actual !== WHEEL.sha256) throw new Advice(`${WHEEL.file} is not the wheel we know: its sha256 is ${actual}`);
    step('nvtx-unpack', 'unpacking them', ['python3', ['-m', 'zipfile', '-e', wheel, scratch]]);
    fs.mkdirSync(path.dirname(cached), { recursive: true });
    fs.cpSync(path.join(scratch, 'nvidia/cu13/include'), path.join(cached, 'include'), { recursive: true });
    return cached;
  } catch (error) {
    if (!(error instanceof Advice)) throw error;
    console.error(`${error.message}\nGoing on without NVTX: profilers will see no ranges of ours.`);
    return undefined;
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

if (isProgram(import.meta.url)) {
  main(() => {
    const folder = ensureNvtx();
    if (folder === undefined) throw new Advice('NVTX needs a CUDA toolkit, or python3 with pip');
    console.log(folder);
  });
}
