/** The codes a {@link BatchedError} can carry. They are stable: switch on them, not on messages. */
export type BatchedErrorCode =
  | 'BATCHED_INVALID_INPUT'
  | 'BATCHED_QUEUE_FULL'
  | 'BATCHED_DEADLINE'
  | 'BATCHED_CLOSED'
  | 'BATCHED_OUTPUT_MISMATCH'
  | 'BATCHED_BACKEND'
  | 'BATCHED_OUT_OF_MEMORY'
  | 'BATCHED_DEVICE_LOST'
  | 'BATCHED_LIBRARY_NOT_FOUND'
  | 'BATCHED_PROVIDER_UNAVAILABLE'
  | 'BATCHED_CANCELLED';

/** Numbers of the codes as native code gives them: the order of `Code` in native/engine/status.h. */
export const NativeCode = {
  ok: 0,
  invalidInput: 1,
  queueFull: 2,
  deadline: 3,
  closed: 4,
  outputMismatch: 5,
  backend: 6,
  outOfMemory: 7,
  deviceLost: 8,
  libraryNotFound: 9,
  providerUnavailable: 10,
  cancelled: 11,
} as const;

/** By number, as native code gives them. */
export const codesInOrder: readonly (BatchedErrorCode | 'OK')[] = [
  'OK',
  'BATCHED_INVALID_INPUT',
  'BATCHED_QUEUE_FULL',
  'BATCHED_DEADLINE',
  'BATCHED_CLOSED',
  'BATCHED_OUTPUT_MISMATCH',
  'BATCHED_BACKEND',
  'BATCHED_OUT_OF_MEMORY',
  'BATCHED_DEVICE_LOST',
  'BATCHED_LIBRARY_NOT_FOUND',
  'BATCHED_PROVIDER_UNAVAILABLE',
  'BATCHED_CANCELLED',
];

/**
 * Every error that batched itself raises, with a stable {@link BatchedErrorCode} as `code`. What a user's function
 * throws reaches its callers as it was thrown, and an abort rejects with the signal's reason.
 *
 * @example
 * try {
 *   await embed.acall(features);
 * } catch (error) {
 *   if (error instanceof BatchedError && error.code === 'BATCHED_QUEUE_FULL') return reply.code(429).send();
 *   throw error;
 * }
 */
export class BatchedError extends Error {
  /** What went wrong; stable, unlike the message. */
  readonly code: BatchedErrorCode;

  /** For errors of your own in batched's terms, in a test say. */
  constructor(code: BatchedErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'BatchedError';
    this.code = code;
  }
}

/** A refusal or failure from native code as the error that callers get. */
export function fromNative(code: number, message: string): BatchedError {
  const name = codesInOrder[code];
  return new BatchedError(name === undefined || name === 'OK' ? 'BATCHED_BACKEND' : name, message);
}
