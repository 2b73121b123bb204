/** Where on a machine CUDA's libraries may be, and finding them there. */
import { existsSync, readdirSync, realpathSync } from 'node:fs';
import path from 'node:path';
import type { Machine } from './machine';

/** The folders that an absolute path with `*` in it stands for; only those that exist. */
export function expand(pattern: string, root = '/'): string[] {
  let found = [root];
  for (const part of pattern.split('/').filter(Boolean)) {
    const fits = new RegExp(`^${part.replace(/[.+]/g, '\\$&').replaceAll('*', '.*')}$`);
    found = found.flatMap((folder) => {
      if (!part.includes('*')) return existsSync(path.join(folder, part)) ? [path.join(folder, part)] : [];
      return namesIn(folder)
        .filter((name) => fits.test(name))
        .map((name) => path.join(folder, name));
    });
  }
  return found;
}

/** Sorted; none of what is no folder or may not be read. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

const absolute = (folder: string | undefined): folder is string => folder !== undefined && path.isAbsolute(folder);
const listed = (variable: string | undefined): string[] => (variable ?? '').split(':').filter(absolute);

/** The folders of $BATCHED_CUDA_PATH: they come before all others, for libraries and for what `setup-cuda` made. */
export const ownFolders = ({ env }: Machine): string[] => listed(env.BATCHED_CUDA_PATH);

/** Both layouts of NVIDIA's packages: nvidia/cublas/lib and nvidia/cu13/lib. */
const wheels = 'nvidia/*/lib';

/**
 * Finds libraries by their names. What costs a process (ldconfig, python3) is asked only when the places before it do
 * not have what is wanted, and once.
 */
export class LibraryFinder {
  readonly #machine: Machine;
  readonly #folders: string[];
  #linker: Map<string, string> | undefined;
  #environments: string[] | undefined;
  #python: string[] | undefined;

  /** @param beside a folder that is looked at right after $BATCHED_CUDA_PATH */
  constructor(machine: Machine, beside: string | undefined) {
    this.#machine = machine;
    const { env, root } = machine;
    const inToolkit = ['lib64', 'lib', 'targets/*-linux/lib'];
    const given = [...ownFolders(machine), beside, ...listed(env.LD_LIBRARY_PATH)].filter(absolute);
    const toolkits = [env.CUDA_HOME, env.CUDA_PATH].filter(absolute);
    this.#folders = existing([
      ...given.flatMap((folder) => expand(folder)),
      ...toolkits.flatMap((folder) => inToolkit.flatMap((end) => expand(path.join(folder, end)))),
      ...inToolkit.flatMap((end) => expand(path.join('usr/local/cuda*', end), root)),
      // The driver's: in containers, and under WSL.
      ...['usr/local/nvidia/lib64', 'usr/lib/wsl/lib'].flatMap((folder) => expand(folder, root)),
    ]);
  }

  /**
   * The file; undefined: not found. `fits` may pass a file over; with `asking` false no process is asked that has not
   * been already.
   */
  find(name: string, fits: (file: string) => boolean = () => true, asking = true): string | undefined {
    const within = (folders: string[]): string | undefined =>
      folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file) && fits(file));
    const known = (file: string | undefined): string | undefined =>
      file !== undefined && existsSync(file) && fits(file) ? file : undefined;
    return (
      within(this.#folders) ??
      known((asking ? this.#linkerCache() : this.#linker)?.get(name)) ??
      within(this.#environmentFolders()) ??
      within((asking ? this.#pythonFolders() : this.#python) ?? [])
    );
  }

  /** Where it has looked, besides what ldconfig knows. */
  get searched(): string[] {
    return [...this.#folders, ...(this.#environments ?? []), ...(this.#python ?? [])];
  }

  #linkerCache(): Map<string, string> {
    if (this.#linker === undefined) {
      const entries = [...this.#machine.linkerCache().matchAll(/^\s*(\S+) .*=> (\S+)$/gm)];
      this.#linker = new Map(entries.reverse().map(([, name, file]) => [name!, file!])); // the first of a name stays
    }
    return this.#linker;
  }

  /** Of Python's virtual environments, of the user's packages and of the system's. */
  #environmentFolders(): string[] {
    const { env, home, root } = this.#machine;
    const packages = path.join('lib*/python3*/*-packages', wheels);
    const own = [env.VIRTUAL_ENV, env.CONDA_PREFIX].filter(absolute);
    this.#environments ??= existing([
      ...own.flatMap((folder) => expand(path.join(folder, packages))),
      ...(absolute(env.CONDA_PREFIX) ? expand(path.join(env.CONDA_PREFIX, 'lib')) : []),
      ...expand(path.join(home, '.local', packages)),
      ...['usr/local', 'usr'].flatMap((folder) => expand(path.join(folder, packages), root)),
    ]);
    return this.#environments;
  }

  /** Wherever the python3 on the PATH has its packages. */
  #pythonFolders(): string[] {
    if (this.#python === undefined) {
      const packages = this.#machine.pythonPath().filter((folder) => absolute(folder) && folder.endsWith('-packages'));
      this.#python = existing(packages.flatMap((folder) => expand(path.join(folder, wheels))));
    }
    return this.#python;
  }
}

/** Each once, by its real name: /usr/local/cuda is a link to /usr/local/cuda-13.0. */
const existing = (folders: readonly string[]): string[] => [...new Set(folders.map((folder) => realpathSync(folder)))];
