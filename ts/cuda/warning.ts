let warned = false;

/** Once: a service that loads ten models need not say it ten times. */
export function warnOfFallback(note: string): void {
  if (warned) return;
  warned = true;
  process.emitWarning(`models run on the CPU, though CUDA was asked for first. ${note}`, {
    code: 'BATCHED_CUDA_FALLBACK',
  });
}
