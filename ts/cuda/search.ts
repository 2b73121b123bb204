/**
 * What a machine has for CUDA, and what it lacks: the provider beside a core, the libraries that the provider asks for,
 * the driver. Files are looked at, never loaded.
 */
import { existsSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { coreVersion, statedVersions } from './binaries';
import { readElf } from './elf';
import { driverVersion, type Machine } from './machine';
import {
  cudaMajor,
  cudnnLibrary,
  driverLibrary,
  isCudaLibrary,
  newestCuda,
  oldestDriver,
  onDemandLibraries,
  partsOf,
  pipPackage,
  providerLibrary,
  sharedLibrary,
  usualLibraries,
} from './packages';
import { LibraryFinder, namesIn } from './places';
import { readSetUp } from './set_up';

export interface Found {
  name: string;
  /** Undefined: not found. */
  file: string | undefined;
  /** As far as the file's name tells; of the provider ONNX Runtime's. */
  version: string | undefined;
}

export interface Missing {
  name: string;
  /** Such as `not found`. */
  problem: string;
  /** What to do about it. */
  fix: string;
}

export interface CudaSearch {
  /** Nothing is missing; whether it loads is for ONNX Runtime to say. */
  complete: boolean;
  /** The ONNX Runtime core beside which the provider must lie. */
  core: string | undefined;
  /** CUDA's major version: the provider's, or without one that which fits this machine best. */
  cuda: number;
  /** The two files of the provider. */
  provider: Found[];
  /** What the provider asks for, and what that asks for: dependencies first, as they are to be loaded. */
  libraries: Found[];
  /** Its version is that of the kernel's module. */
  driver: Found;
  missing: Missing[];
  /** Where libraries were looked for, besides what ldconfig knows. */
  searched: string[];
}

const setUpFix = 'npx batched setup-cuda';

/** Whether the provider lies beside a core: without it nothing else matters. */
export function hasProvider(core: string): boolean {
  return [providerLibrary, sharedLibrary].every((name) => existsSync(path.join(path.dirname(core), name)));
}

/** @param core undefined: there is none, and with it no provider */
export function searchCuda(core: string | undefined, machine: Machine): CudaSearch {
  const finder = new LibraryFinder(machine, core === undefined ? undefined : path.dirname(core));
  const provider = findProvider(core);
  const providing = provider.found.find(({ name }) => name === providerLibrary)!.file;
  const needed = (providing === undefined ? undefined : readElf(providing)?.needed) ?? [];
  const version = driverVersion(machine);
  const cuda = cudaMajor(needed) ?? cudaHere(finder, version);
  const libraries = new Libraries(finder, cuda);
  const wanted = needed.some(isCudaLibrary) ? needed.filter(isCudaLibrary) : usualLibraries(cuda);
  for (const name of [...wanted, cudnnLibrary]) libraries.add(name, true);
  for (const name of onDemandLibraries(cuda)) libraries.add(name, false);
  const driver = { name: driverLibrary, file: finder.find(driverLibrary), version };
  const missing = [...provider.missing, ...libraries.missing, ...missingDriver(driver, cuda)];
  const { searched } = finder;
  return {
    complete: missing.length === 0,
    core,
    cuda,
    provider: provider.found,
    libraries: libraries.found,
    driver,
    missing,
    searched,
  };
}

/** The CUDA version whose libraries are here; where none are, the newest that the driver runs. */
function cudaHere(finder: LibraryFinder, driver: string | undefined): number {
  return [13, 12].find((cuda) => finder.find(`libcublas.so.${cuda}`) !== undefined) ?? newestCuda(driver);
}

/** The CUDA version that suits a machine, whether or not it has a provider. */
export const cudaOf = (machine: Machine): number =>
  cudaHere(new LibraryFinder(machine, undefined), driverVersion(machine));

function findProvider(core: string | undefined): { found: Found[]; missing: Missing[] } {
  const folder = core === undefined ? undefined : path.dirname(core);
  const fileOf = (name: string): string | undefined =>
    folder !== undefined && existsSync(path.join(folder, name)) ? path.join(folder, name) : undefined;
  const files = [sharedLibrary, providerLibrary].map((name) => ({ name, file: fileOf(name) }));
  const missing: Missing[] = files
    .filter(({ file }) => file === undefined)
    .map(({ name }) => ({
      name,
      problem: core === undefined ? 'there is no core beside which it could lie' : `not beside ${core}`,
      fix: setUpFix,
    }));
  const version = missing.length > 0 ? undefined : versionBeside(core!, missing);
  return { found: files.map((one) => ({ ...one, version })), missing };
}

/**
 * The provider's version, which must be exactly the core's: a core takes a provider of any version and goes wrong
 * later. What `setup-cuda` made was compared when it was made.
 */
function versionBeside(core: string, missing: Missing[]): string | undefined {
  const folder = path.dirname(core);
  const setUp = readSetUp(folder);
  const own = coreVersion(core);
  const versions = setUp === undefined ? statedVersions(path.join(folder, providerLibrary)) : [setUp.manifest.version];
  if (own === undefined || versions.length === 0 || versions.includes(own)) return own;
  const problem = `it is of version ${versions.join(' or ')}, and the core ${core} of ${own}: they must be the same`;
  missing.push({ name: providerLibrary, problem, fix: setUpFix });
  return versions[0];
}

function missingDriver({ file, version }: Found, cuda: number): Missing[] {
  const oldest = oldestDriver(cuda);
  const wanted = oldest === undefined ? "NVIDIA's driver" : `NVIDIA's driver, ${oldest} or newer for CUDA ${cuda}`;
  if (file === undefined) {
    const fix = `install ${wanted}; in a container, run it with --gpus all`;
    return [{ name: driverLibrary, problem: 'not found', fix }];
  }
  if (oldest === undefined || version === undefined || Number.parseInt(version) >= oldest) return [];
  const older = cuda > 12 ? '; or set up for CUDA 12: npx batched setup-cuda --cuda 12' : '';
  return [{ name: driverLibrary, problem: `the driver is ${version}`, fix: `install ${wanted}${older}` }];
}

/** Libraries with all that they ask for, in the order in which they can be loaded. */
class Libraries {
  readonly found: Found[] = [];
  readonly missing: Missing[] = [];
  readonly #finder: LibraryFinder;
  readonly #cuda: number;
  readonly #seen = new Set<string>();

  constructor(finder: LibraryFinder, cuda: number) {
    this.#finder = finder;
    this.#cuda = cuda;
  }

  /** @param required false: what is not there is not missed */
  add(name: string, required: boolean): void {
    if (this.#seen.has(name)) return;
    this.#seen.add(name);
    const file = this.#finder.find(name, (candidate) => this.#fits(candidate), required);
    if (file !== undefined) this.#addFile(name, file, required);
    else if (required) {
      this.found.push({ name, file, version: undefined });
      this.missing.push({ name, problem: 'not found', fix: this.#fixFor(name) });
    }
  }

  #addFile(name: string, file: string, required: boolean): void {
    this.#seen.add(name);
    const needed = readElf(file)?.needed ?? [];
    for (const other of needed.filter(isCudaLibrary)) this.add(other, required);
    this.found.push({ name, file, version: numberOf(name, file) });
    const parts = partsOf(name);
    if (parts === undefined) return;
    const folder = path.dirname(realpathSync(file));
    for (const part of namesIn(folder).filter((one) => parts.test(one) && !this.#seen.has(one))) {
      this.#addFile(part, path.join(folder, part), required);
    }
  }

  /** cuDNN 9 is called the same for every CUDA: one that asks for another CUDA's libraries is not the one. */
  #fits(file: string): boolean {
    const cuda = cudaMajor(readElf(file)?.needed ?? []);
    return cuda === undefined || cuda === this.#cuda;
  }

  #fixFor(name: string): string {
    return `pip install ${pipPackage(name, this.#cuda)}, or set CUDA_HOME or BATCHED_CUDA_PATH to where it is`;
  }
}

/** The number at the end of a library's real file, where that has more of it than the name. */
function numberOf(name: string, file: string): string | undefined {
  const real = path.basename(realpathSync(file));
  return real === name ? undefined : /\.so\.(\d[\d.]*)$/.exec(real)?.[1];
}
