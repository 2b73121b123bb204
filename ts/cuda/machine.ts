/** What the search for CUDA asks of the world around it. Tests give it a folder for `/` and answers of their own. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';

export interface Machine {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  /** The folder that stands for `/`. What `env` and `home` name is not below it, but as it is. */
  readonly root: string;
  /** As `process.arch`. */
  readonly arch: string;
  /** What `ldconfig -p` prints. */
  linkerCache(): string;
  /** `sys.path` of the `python3` that is on the PATH. */
  pythonPath(): string[];
  /** What `nvidia-smi` prints: a line a GPU, name, memory, compute capability. */
  gpus(): string;
}

/** What `command` prints; undefined if there is no such program or it fails. */
function output(command: string, ...args: string[]): string | undefined {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', timeout: 10_000 });
  return status === 0 ? stdout : undefined;
}

export const thisMachine: Machine = {
  env: process.env,
  home: homedir(),
  root: '/',
  arch: process.arch,
  linkerCache: () => output('/sbin/ldconfig', '-p') ?? output('ldconfig', '-p') ?? '',
  pythonPath: () => (output('python3', '-c', 'import sys; print("\\n".join(sys.path))') ?? '').split('\n'),
  gpus: () => output('nvidia-smi', '--query-gpu=name,memory.total,compute_cap', '--format=csv,noheader') ?? '',
};

/** Such as `580.65.06`; undefined where the kernel does not tell (WSL does not). */
export function driverVersion({ root }: Machine): string | undefined {
  const file = path.join(root, 'proc/driver/nvidia/version');
  return existsSync(file) ? /Module\D+([\d.]+)/.exec(readFileSync(file, 'utf8'))?.[1] : undefined;
}
