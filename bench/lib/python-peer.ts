/** The Python library `batched`, in a virtual environment of its own: made the first time, out of git. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = path.join(__dirname, '..', '..');
const sources = path.join(root, 'bench', 'peers', 'python');
const requirements = path.join(sources, 'requirements.txt');
const environment = path.join(process.env['BATCHED_CACHE_DIR'] || path.join(root, '.cache'), 'peers', 'python');
const python = path.join(environment, 'bin', 'python');

export interface PythonLoad {
  readonly batchSize: number;
  readonly inFlight: readonly number[];
  /** What the library calls timeout_ms: each is tried. */
  readonly timeoutsMs: readonly number[];
  /** How long each run is measured. */
  readonly seconds: number;
}

export interface PythonRun {
  readonly inFlight: number;
  readonly timeoutMs: number;
  readonly itemsPerSecond: number;
  /** CPU time per item. */
  readonly us: number;
}

export interface PythonFigures {
  readonly python: string;
  readonly batched: string;
  readonly runs: readonly PythonRun[];
}

export type PythonPeer = (load: PythonLoad) => Promise<PythonFigures>;

/** Undefined, and a line that says why, where there is no python3 with venv, or no package to be had. */
export async function pythonPeer(log: (line: string) => void): Promise<PythonPeer | undefined> {
  try {
    await ensureEnvironment(log);
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    const reason = (stderr || message).trim().split('\n').at(-1)!;
    log(`The Python library is skipped, it needs python3 with venv, and PyPI once: ${reason}`);
    return undefined;
  }
  return async (load) => {
    const { stdout } = await run(python, [path.join(sources, 'load.py'), JSON.stringify(load)]);
    return JSON.parse(stdout) as PythonFigures;
  };
}

async function ensureEnvironment(log: (line: string) => void): Promise<void> {
  // The copy comes last: an environment with the same requirements is whole.
  const installed = path.join(environment, 'requirements.txt');
  const wanted = readFileSync(requirements, 'utf8');
  if (existsSync(python) && existsSync(installed) && readFileSync(installed, 'utf8') === wanted) return;
  log(`making ${path.relative(root, environment)} for ${wanted.split(' ', 1)[0]}`);
  await rm(environment, { recursive: true, force: true });
  await mkdir(path.dirname(environment), { recursive: true });
  await run('python3', ['-m', 'venv', environment]);
  const pip = '-m pip install --quiet --disable-pip-version-check --retries 1 --require-hashes --only-binary :all: -r';
  await run(python, [...pip.split(' '), requirements]);
  await copyFile(requirements, installed);
}
