/** `batched setup-cuda`: a core and the CUDA provider of exactly its version in one folder, where models find them. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import path from 'node:path';
import { SingleBar } from 'cli-progress';
import { Advice } from '../advice';
import { assemble, checkTarget } from '../cuda/assemble';
import { thisMachine } from '../cuda/machine';
import { cudaOf, type CudaSearch, searchCuda } from '../cuda/search';
import { cacheFolder, folderName, readSetUp, type SetUp } from '../cuda/set_up';
import { checkPlatform, type Source, sourceFor } from '../cuda/sources';
import { installedCore, shippedCore } from '../native';
import type { Paint } from './paint';

export interface SetupCudaOptions {
  from?: string;
  cuda?: '12' | '13';
  folder?: string;
  force?: boolean;
  json?: boolean;
}

/** The exit code: 0 when the set-up is there, whatever else CUDA lacks on this machine. Throws advice otherwise. */
export async function setupCuda(options: SetupCudaOptions, paint: Paint): Promise<number> {
  checkPlatform(process.platform);
  const wanted = options.cuda === undefined ? undefined : Number(options.cuda);
  const cores = {
    installed: installedCore()[0],
    all: [shippedCore, ...installedCore()].filter((file) => existsSync(file)),
  };
  const source = sourceFor({ from: options.from, cuda: wanted ?? cudaOf(thisMachine) }, cores, thisMachine);
  const there = source.promised === undefined ? undefined : readSetUp(targetOf(options, source.promised));
  const { setUp, made } =
    there === undefined || options.force === true ? await make(source, wanted, options) : { setUp: there, made: false };
  const search = searchCuda(setUp.core, thisMachine);
  if (options.json === true) console.log(JSON.stringify(reportOf(setUp, made, search), null, 2));
  else console.log(lines(setUp, made, search, options, paint).join('\n'));
  return 0;
}

const targetOf = ({ folder }: SetupCudaOptions, { version, cuda }: { version: string; cuda: number }): string =>
  folder === undefined ? path.join(cacheFolder(thisMachine), folderName(version, cuda)) : path.resolve(folder);

async function make(
  source: Source,
  wanted: number | undefined,
  options: SetupCudaOptions,
): Promise<{ setUp: SetUp; made: boolean }> {
  const place = options.folder === undefined ? cacheFolder(thisMachine) : path.dirname(path.resolve(options.folder));
  if (options.folder !== undefined) checkTarget(path.resolve(options.folder)); // before the work
  mkdirSync(place, { recursive: true });
  // Beside what it becomes, since a rename does not lead from one file system to another.
  const scratch = mkdtempSync(path.join(place, '.setup-'));
  const release = (): void => rmSync(scratch, { recursive: true, force: true });
  const interrupted = (): void => {
    release();
    process.exit(130);
  };
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  try {
    const pieces = await bringing(source, options, (progress) => source.pieces(scratch, progress));
    if (wanted !== undefined && pieces.cuda !== wanted) {
      throw new Advice(`${source.name} is for CUDA ${pieces.cuda}, and CUDA ${wanted} was asked for`);
    }
    const target = targetOf(options, pieces);
    const there = readSetUp(target);
    if (there !== undefined && options.force !== true) return { setUp: there, made: false };
    const nameOf = (file: string): string => source.nameOf(file, scratch);
    return { setUp: await assemble({ pieces, target, scratch, source: source.name, nameOf }), made: true };
  } finally {
    release();
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
  }
}

/** Shows how far a download is, on a terminal as a bar. */
async function bringing<T>(
  { name, bytes }: Source,
  { json }: SetupCudaOptions,
  work: (progress: (bytes: number) => void) => Promise<T>,
): Promise<T> {
  if (bytes === 0 || json === true) return work(() => undefined);
  const size = Math.round(bytes / 1e6);
  if (!process.stderr.isTTY) {
    process.stderr.write(`fetching ${name}, ${size} MB\n`);
    return work(() => undefined);
  }
  const format = `fetching ${name} {bar} {value}/{total} MB`;
  const bar = new SingleBar({ format, stream: process.stderr, clearOnComplete: true, barsize: 30 });
  bar.start(size, 0);
  try {
    return await work((arrived) => bar.update(Math.min(size, Math.round(arrived / 1e6))));
  } finally {
    bar.stop();
  }
}

/** `fresh`: made by this run. */
function reportOf({ folder, core, manifest }: SetUp, fresh: boolean, { complete, missing }: CudaSearch): object {
  return { ok: true, fresh, folder, core, manifest, complete, missing };
}

function lines(
  { folder, core, manifest }: SetUp,
  made: boolean,
  { complete, missing }: CudaSearch,
  options: SetupCudaOptions,
  paint: Paint,
): string[] {
  const { version, cuda, source } = manifest;
  const said = [
    `${paint('green', '✓')} ONNX Runtime ${version} for CUDA ${cuda} is in ${folder}`,
    made ? `  from ${source}` : `  It was there already, from ${source}. --force makes it anew.`,
  ];
  if (options.folder !== undefined) {
    said.push(`  Models find it by BATCHED_CUDA_PATH=${folder}, or by the option libraryPath: '${core}'`);
  }
  if (complete) return [...said, 'CUDA is complete here: models run on it by default.'];
  const lacks = missing.flatMap(({ name, problem, fix }) => [
    `${paint('yellow', '–')} ${name}: ${problem}`,
    `    ${paint('cyan', fix)}`,
  ]);
  return [...said, 'What CUDA still lacks on this machine:', ...lacks];
}
