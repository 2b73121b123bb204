/** What a model runs on: decided from what its caller wants and what the machine has. Pure. */
import type { CudaSearch } from './search';

/** What can run a model: ONNX Runtime's execution providers that batched knows. */
export type Provider = 'cuda' | 'cpu';

export interface ProviderPlan {
  /** Undefined: none of those that were wanted can be had; `note` says why. */
  provider: Provider | undefined;
  /** Libraries to load before the provider, dependencies first. */
  preload: readonly string[];
  /** Why it is not CUDA, which was wanted or is here in part. */
  note: string | undefined;
  /** The caller named CUDA and gets another: that is worth a warning. */
  warn: boolean;
}

/** The default: CUDA where it loads. */
const usual: readonly Provider[] = ['cuda', 'cpu'];

/** Whether CUDA comes first: what comes after the CPU is never reached. */
export const wantsCuda = (wanted: readonly Provider[] | undefined): boolean => (wanted ?? usual)[0] === 'cuda';

/** Whether the process should get a core that has CUDA. */
export const mayUseCuda = (wanted: readonly Provider[] | undefined): boolean => (wanted ?? usual).includes('cuda');

/** @param wanted in order of preference; undefined: the default, which falls back without a word */
export function planProvider(wanted: readonly Provider[] | undefined, search: CudaSearch): ProviderPlan {
  if (!wantsCuda(wanted)) return planCpu();
  if (!search.complete) return planWithout(wanted, obstacleOf(search), search.provider.every(isThere));
  const preload = [search.driver, ...search.libraries].map(({ file }) => file).filter((file) => file !== undefined);
  return { provider: 'cuda', preload, note: undefined, warn: false };
}

/** @param here part of CUDA is here, so that the default tells in `stats` why it is not used */
export function planWithout(wanted: readonly Provider[] | undefined, obstacle: string, here = true): ProviderPlan {
  const named = wanted !== undefined;
  const provider = (wanted ?? usual).includes('cpu') ? 'cpu' : undefined;
  const note = named || here ? obstacle : undefined;
  return { provider, preload: [], note, warn: named && provider !== undefined };
}

export const planCpu = (): ProviderPlan => ({ provider: 'cpu', preload: [], note: undefined, warn: false });

const isThere = ({ file }: { file: string | undefined }): boolean => file !== undefined;

/** A line for each thing that is missing, with what to do about it. Those with one fix in common share a line. */
export function obstacleOf({ missing }: Pick<CudaSearch, 'missing'>): string {
  const lines = missing.map(({ name, problem, fix }, i) => {
    const text = `  ${name}: ${problem}`;
    return fix === missing[i + 1]?.fix ? text : `${text}. Fix: ${fix}`;
  });
  return ['CUDA cannot be used here. Missing:', ...lines].join('\n');
}
