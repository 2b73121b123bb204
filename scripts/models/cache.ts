/** A folder of made models: made once, whole or not at all, and anew when their maker has changed. */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { SingleBar } from 'cli-progress';
import type { OnnxModel } from './onnx-builder';
import { writeModel } from './onnx-writer';

/** The environment's BATCHED_CACHE_DIR, or .cache/models in the project root. */
export function cacheFolder(): string {
  return resolve(process.env['BATCHED_CACHE_DIR'] || join(__dirname, '..', '..', '.cache', 'models'));
}

let makerHash: string | undefined;

/** Changes with any source file of this folder, the command line apart: files are cached under it. */
export function makerVersion(): string {
  if (makerHash === undefined) {
    const hash = createHash('sha256');
    const sources = readdirSync(__dirname).filter((name) => name.endsWith('.ts') && name !== 'main.ts');
    for (const name of sources.sort()) hash.update(name).update(readFileSync(join(__dirname, name)));
    makerHash = hash.digest('hex').slice(0, 12);
  }
  return makerHash;
}

const underway = new Map<string, Promise<string>>();

/** The path of the model called `name`, which `make` describes if it has to be written first. */
export function cachedModel(name: string, make: () => OnnxModel): Promise<string> {
  const path = join(cacheFolder(), `${name}-${makerVersion()}.onnx`);
  if (existsSync(path)) return Promise.resolve(path);
  let writing = underway.get(path);
  if (!writing) {
    writing = write(path, name, make).finally(() => underway.delete(path));
    underway.set(path, writing);
  }
  return writing;
}

/** A temporary file untouched for so long, in ms, belongs to a process that was killed. */
const ABANDONED_MS = 10 * 60 * 1000;

/** Deletes models of other versions, and what killed processes left. Returns the deleted paths. */
export async function cleanCache(): Promise<string[]> {
  const folder = cacheFolder();
  if (!existsSync(folder)) return [];
  const deleted: string[] = [];
  for (const name of await readdir(folder)) {
    const [, version, temporary] = /-([0-9a-f]{12})\.onnx(\.[0-9a-f]+\.tmp)?$/.exec(name) ?? [];
    if (version === undefined) continue;
    const path = join(folder, name);
    if (temporary ? Date.now() - (await stat(path)).mtimeMs < ABANDONED_MS : version === makerVersion()) continue;
    await rm(path, { force: true });
    deleted.push(path);
  }
  return deleted;
}

/**
 * A file of its own beside `path`, renamed when complete. Two processes at once both write, and either
 * result is the whole file; nobody waits for a lock that a killed process left.
 */
async function write(path: string, name: string, make: () => OnnxModel): Promise<string> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  await mkdir(cacheFolder(), { recursive: true });
  const bar = progressBar(name);
  try {
    const file = await open(temporary, 'wx');
    try {
      await writeModel(file, make(), bar?.update);
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  } finally {
    bar?.stop();
  }
  return path;
}

/** On a terminal only, and on stderr: stdout is for the path. */
function progressBar(name: string): { update: (done: number, total: number) => void; stop: () => void } | undefined {
  if (!process.stderr.isTTY || process.env['NODE_ENV'] === 'test') return undefined;
  const bar = new SingleBar({
    format: `${name} {bar} {percentage}% | {value} of {total} MB`,
    hideCursor: true,
    stream: process.stderr,
  });
  let started = false;
  return {
    update(done, total) {
      const megabytes = (bytes: number): number => Math.ceil(bytes / 1e6);
      if (!started) bar.start(megabytes(total), 0);
      started = true;
      bar.update(megabytes(done));
    },
    stop: () => bar.stop(),
  };
}
