/** CUDA's libraries by their names: which belong to CUDA, whose version they carry, and what to install for one. */

export const driverLibrary = 'libcuda.so.1';
export const providerLibrary = 'libonnxruntime_providers_cuda.so';
/** What joins the provider to the core. */
export const sharedLibrary = 'libonnxruntime_providers_shared.so';
export const coreLibrary = 'libonnxruntime.so.1';
/**
 * The provider does not name it, but loads it when a model first needs it. Many do (convolutions): without it they would
 * fail at their first run.
 */
export const cudnnLibrary = 'libcudnn.so.9';

/** Those of the toolkit and of cuDNN; the driver's own is a matter of its own. */
export const isCudaLibrary = (name: string): boolean => /^lib(cu|nv)/.test(name) && name !== driverLibrary;

/** Of these the number is CUDA's own; that of curand, say, is not. */
const numberedAsCuda = /^lib(cudart|cublas|cublasLt|nvrtc)\.so\.(\d+)$/;

/** The CUDA version that a library is of which asks for these; undefined: they do not tell. */
export function cudaMajor(needed: readonly string[]): number | undefined {
  const [, , major] = needed.map((name) => numberedAsCuda.exec(name)).find((match) => match !== null) ?? [];
  return major === undefined ? undefined : Number(major);
}

/** What the provider of that CUDA asks for, as far as can be said without having it. */
export const usualLibraries = (cuda: number): string[] => [
  `libcudart.so.${cuda}`,
  `libcublasLt.so.${cuda}`,
  `libcublas.so.${cuda}`,
  'libcurand.so.10',
];

/** Loaded on demand as well, by what compiles kernels and by Fourier transforms; most models run without. */
export const onDemandLibraries = (cuda: number): string[] => [`libnvrtc.so.${cuda}`, `libcufft.so.${cuda - 1}`];

/** A library's parts, which it loads by name from its own folder. */
export function partsOf(library: string): RegExp | undefined {
  if (library === cudnnLibrary) return /^libcudnn_\w+\.so\.9$/;
  const [, major] = /^libnvrtc\.so\.(\d+)$/.exec(library) ?? [];
  return major === undefined ? undefined : new RegExp(`^libnvrtc-builtins\\.so\\.${major}(\\.\\d+)*$`);
}

/** The oldest driver that runs a CUDA version. */
const oldestDrivers: Readonly<Record<number, number>> = { 12: 525, 13: 580 };

export const oldestDriver = (cuda: number): number | undefined => oldestDrivers[cuda];

/** The newest CUDA version that a driver runs, of those that there are providers for. */
export const newestCuda = (driver: string | undefined): number =>
  driver !== undefined && Number.parseInt(driver) < oldestDrivers[13]! ? 12 : 13;

/** The package of PyPI that has a library: the quickest way to it, without root. */
export function pipPackage(library: string, cuda: number): string {
  const [, stem = ''] = /^lib([A-Za-z]+)/.exec(library) ?? [];
  if (stem === 'cudnn') return `nvidia-cudnn-cu${cuda}`;
  const names: Readonly<Record<string, string>> = {
    cublasLt: 'cublas',
    cudart: 'cuda-runtime',
    nvrtc: 'cuda-nvrtc',
    nvJitLink: 'nvjitlink',
  };
  const name = `nvidia-${names[stem] ?? stem}`;
  return cuda >= 13 ? name : `${name}-cu${cuda}`; // since CUDA 13 only cuDNN has it in its name
}
