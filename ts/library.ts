/** ONNX Runtime for this process: which core it loads, and on what a model then runs. */
import { existsSync } from 'node:fs';
import { thisMachine } from './cuda/machine';
import {
  mayUseCuda,
  planCpu,
  planProvider,
  planWithout,
  type Provider,
  type ProviderPlan,
  wantsCuda,
} from './cuda/plan';
import { type CudaSearch, hasProvider, searchCuda } from './cuda/search';
import { setUps } from './cuda/set_up';
import { fromNative } from './errors';
import { installedCore, type LibraryInfo, native, shippedCore } from './native';

let library: LibraryInfo | undefined;
const searches = new Map<string, CudaSearch>();

/** What a search says of a core, for as long as the process runs. */
function searchFor(core: string): CudaSearch {
  const search = searches.get(core) ?? searchCuda(core, thisMachine);
  searches.set(core, search);
  return search;
}

/** Those at hand with a provider beside them, the one to prefer first. Asking costs next to nothing where there is none. */
function coresWithProvider(): string[] {
  const cores = [...setUps(thisMachine).map(({ core }) => core), shippedCore, ...installedCore()];
  const equipped = cores.filter((core) => existsSync(core) && hasProvider(core));
  const complete = equipped.find((core) => searchFor(core).complete);
  return complete === undefined ? equipped : [complete, ...equipped];
}

/** The core that CUDA is complete for. */
const coreForCuda = (): string | undefined => coresWithProvider().find((core) => searchFor(core).complete);

/**
 * What CUDA lacks: for this core, or where it has no provider or not all else, for a better one at hand, which the next
 * process would load.
 *
 * @param named the core was asked for by name, so no other counts
 */
export function searchHere(core: string, named: boolean): CudaSearch {
  if (named || (hasProvider(core) && searchFor(core).complete)) return searchFor(core);
  const [best] = coresWithProvider();
  return searchFor(best !== undefined && (!hasProvider(core) || searchFor(best).complete) ? best : core);
}

function open(libraryPath: string | undefined, forCuda: boolean): LibraryInfo {
  if (library !== undefined && libraryPath === undefined) return library;
  const preferred = forCuda && libraryPath === undefined ? coreForCuda() : undefined;
  const loaded = native.loadLibrary({
    libraryPath,
    preferred: preferred === undefined ? [] : [preferred],
    candidates: installedCore(),
  });
  if ('code' in loaded) throw fromNative(loaded.code, loaded.message);
  library = loaded;
  return loaded;
}

/**
 * Loads ONNX Runtime once for the process; says which library it is and why that one. Models do so by themselves.
 *
 * @param libraryPath the library to use. Default: what the process has loaded already, one for which CUDA is complete, the
 *   copy beside the addon, the one of an installed onnxruntime-node
 * @throws BatchedError `BATCHED_LIBRARY_NOT_FOUND`, with what was tried; `BATCHED_INVALID_INPUT` if the process has loaded
 *   another library than `libraryPath`
 * @example
 * const { version, path } = loadLibrary();
 */
export const loadLibrary = (libraryPath?: string): LibraryInfo => open(libraryPath, true);

/**
 * Loads ONNX Runtime, and decides what a model is to run on.
 *
 * @param wanted in order of preference; undefined: CUDA where it is complete
 */
export function chooseProvider(wanted: readonly Provider[] | undefined, libraryPath?: string): ProviderPlan {
  const { path: core, how } = open(libraryPath, mayUseCuda(wanted));
  if (!wantsCuda(wanted)) return planCpu();
  // What nobody asked for is not looked for all over the machine.
  if (wanted === undefined && !hasProvider(core) && coresWithProvider().length === 0) return planCpu();
  const search = searchHere(core, libraryPath !== undefined);
  if (!search.complete || search.core === core) return planProvider(wanted, search);
  const obstacle = `CUDA is complete for ${search.core}, but this process runs ONNX Runtime from ${core} (${how})`;
  return planWithout(wanted, `${obstacle} and can hold only one: load a model for CUDA before all others`);
}
