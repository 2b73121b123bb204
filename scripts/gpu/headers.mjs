// NVIDIA's headers (text; no npm package has them): those of a CUDA toolkit, or fetched with pip from PyPI. Prints the
// folder to give as CUDA_HOME when the addon is built, so that profilers see ranges:
//
//   CUDA_HOME=$(node scripts/gpu/headers.mjs) npm run setup
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Advice, copyWhole, isProgram, main, step, which } from '../util.mjs';
import { cacheDir } from '../npm-package.mjs';

/** By the header that is looked for, under its folder. */
const HEADERS = {
  'include/nvtx3/nvToolsExt.h': {
    title: "NVTX's headers",
    wheels: [
      {
        name: 'nvidia-nvtx',
        version: '13.4.92',
        sha256: '6d14c3b7a91917892f0f54fca352acd315fbadcc92bdc616a9bc3f626e9f1e28',
      },
    ],
  },
  'include/cuda_runtime_api.h': {
    title: "CUDA's headers",
    wheels: [
      {
        name: 'nvidia-cuda-runtime',
        version: '13.5.37',
        sha256: 'df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d',
      },
      {
        name: 'nvidia-cuda-crt',
        version: '13.5.37',
        sha256: 'e898b7f73d3035fa89915a3f7bf3b54a73e90249746111aed295822c4729bb29',
      },
    ],
  },
};
const PLATFORMS = ['manylinux1_x86_64', 'manylinux_2_5_x86_64', 'manylinux2014_x86_64', 'manylinux_2_17_x86_64'];

/** A folder that has `include/nvtx3`. */
export const ensureNvtx = () => ensure('include/nvtx3/nvToolsExt.h');

/** A folder whose `include` has the driver's and the runtime's API. */
export const ensureCudaHeaders = () => ensure('include/cuda_runtime_api.h');

function ensure(header) {
  const { title, wheels } = HEADERS[header];
  const cached = path.join(cacheDir(), 'headers', `${wheels[0].name}-${wheels[0].version}`);
  const found = [process.env.CUDA_HOME, '/usr/local/cuda', cached].find(
    (folder) => folder && fs.existsSync(path.join(folder, header)),
  );
  if (found) return found;
  if (!which('python3'))
    throw new Advice(`${title} come with a CUDA toolkit, or through python3 with pip: neither is here.`);
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'batched-headers-'));
  try {
    for (const wheel of wheels) unpackWheel(wheel, title, scratch);
    copyWhole(path.join(scratch, 'nvidia/cu13/include'), path.join(cached, 'include'));
    return cached;
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}

function unpackWheel({ name, version, sha256 }, title, scratch) {
  const folder = path.join(scratch, name);
  const platforms = PLATFORMS.flatMap((platform) => ['--platform', platform]);
  const flags = ['--quiet', '--no-deps', '--only-binary=:all:', ...platforms, '-d', folder];
  step(`pip-${name}`, `fetching ${title} (pip download ${name})`, [
    'python3',
    ['-m', 'pip', 'download', ...flags, `${name}==${version}`],
  ]);
  const [file] = fs.readdirSync(folder).map((wheel) => path.join(folder, wheel));
  const actual = createHash('sha256').update(fs.readFileSync(file)).digest('hex');
  if (actual !== sha256) throw new Advice(`${path.basename(file)} is not the wheel we know: its sha256 is ${actual}`);
  step(`unpack-${name}`, 'unpacking them', ['python3', ['-m', 'zipfile', '-e', file, scratch]]);
}

if (isProgram(import.meta.url)) main(() => console.log(ensureNvtx()));
