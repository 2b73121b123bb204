/**
 * What is published on `node:diagnostics_channel`. Nothing is measured or made unless somebody has subscribed: a call
 * and a batch of a function look at one flag each, and so does a model once a tick.
 */
import { channel } from 'node:diagnostics_channel';
import { BatchedError, type BatchedErrorCode, fromNative } from './errors';
import { native } from './native';
import type { CallOptions } from './options';

/**
 * A batch that has been run: a message of the channel `batched:batch`. A model's batch that fails and is run again in
 * parts is a message for each run.
 *
 * A channel belongs to a thread. What a function runs is published in its own thread. A model's batches are published
 * in every thread that has subscribers and calls the model, from its first call after subscribing: each batch once, also
 * those of other threads' calls, since they share them. They arrive with the event loop, do not keep the process alive,
 * and a thread that is blocked for thousands of batches misses some.
 *
 * @example
 * import { subscribe } from 'node:diagnostics_channel';
 * import type { BatchMessage } from 'batched';
 *
 * subscribe('batched:batch', (message) => {
 *   const { name, rows, durationMs } = message as BatchMessage;
 *   console.log(`${name}: ${rows} rows in ${durationMs} ms`);
 * });
 */
export interface BatchMessage {
  /** The function's name, or that of the model's file (`'model'` for one from memory). */
  name: string;
  /** What ran it. */
  kind: 'function' | 'model';
  /** Rows of the batch. */
  rows: number;
  /** Sum of the rows' lengths. For a function whose options do not ask for lengths, each row counts one. */
  tokens: number;
  /** Rows times the longest. */
  paddedTokens: number;
  /** Why it was dispatched then, as in `stats.dispatchReasons`. */
  reason: 'full' | 'idle' | 'timeout' | 'staged';
  /** Milliseconds that its oldest row had waited when it began to run. */
  queueMs: number;
  /** Milliseconds that it ran. */
  durationMs: number;
  /** Of a model: the thread that ran it, as in `stats.lanes`. */
  lane?: string;
  /** Why it failed: what the function threw, or a BatchedError. */
  error?: unknown;
}

/**
 * A call that has settled: a message of the channel `batched:request`, published in the thread of the call, just before
 * its caller goes on. The outcome is what the caller got; a call that a cache answered is one as well.
 */
export interface RequestMessage {
  /** As in {@link BatchMessage}. */
  name: string;
  /** 0 for a call whose input is none. */
  rows: number;
  /** `'rejected'`: the queue was full; `'closed'`: the callable was. */
  outcome: 'ok' | 'failed' | 'cancelled' | 'timedOut' | 'rejected' | 'closed';
  /** Where it ended with a BatchedError. */
  code?: BatchedErrorCode;
  /** Milliseconds from the call to its end. */
  totalMs: number;
}

// Kept here: a channel that nobody holds is another one the next time it is asked for.
export const batches = channel('batched:batch');
const requests = channel('batched:request');

native.setObserver(({ name, lane, facts, durationMs, refusal }) => {
  const failure = refusal === undefined ? {} : { error: fromNative(refusal.code, refusal.message) };
  batches.publish({ name, kind: 'model', ...facts, durationMs, lane, ...failure } satisfies BatchMessage);
});

/** Both ways to call. */
export interface Calls<I, O> {
  readonly acall: (input: I, options?: O) => Promise<unknown>;
  readonly call: (input: I, options?: O) => unknown;
}

const outcomes: { readonly [Code in BatchedErrorCode]?: RequestMessage['outcome'] } = {
  BATCHED_DEADLINE: 'timedOut',
  BATCHED_QUEUE_FULL: 'rejected',
  BATCHED_CLOSED: 'closed',
  BATCHED_CANCELLED: 'cancelled',
};

function endOf(error: unknown, options: unknown): Pick<RequestMessage, 'outcome' | 'code'> {
  const { signal } = (options ?? {}) as CallOptions;
  if (signal?.aborted === true && signal.reason === error) return { outcome: 'cancelled' };
  if (!(error instanceof BatchedError)) return { outcome: 'failed' };
  return { outcome: outcomes[error.code] ?? 'failed', code: error.code };
}

/** The same calls; those that settle while somebody has subscribed are published. */
export function observe<I, O>({ acall, call }: Calls<I, O>, name: string, rowsOf: (input: I) => number): Calls<I, O> {
  /** Begins a request; what it gives ends it. */
  const begin = (input: I, options: O | undefined) => {
    const start = performance.now();
    let rows = 0;
    try {
      rows = rowsOf(input);
    } catch {
      // Input of somebody's own making: the call will say what is wrong with it.
    }
    return (failure?: { error: unknown }): void => {
      const end = failure === undefined ? { outcome: 'ok' as const } : endOf(failure.error, options);
      requests.publish({ name, rows, ...end, totalMs: performance.now() - start } satisfies RequestMessage);
    };
  };
  const observedAcall = async (input: I, options: O | undefined): Promise<unknown> => {
    const end = begin(input, options);
    try {
      const result = await acall(input, options);
      end();
      return result;
    } catch (error) {
      end({ error });
      throw error;
    }
  };
  const observedCall = (input: I, options: O | undefined): unknown => {
    const end = begin(input, options);
    try {
      const result = call(input, options);
      end();
      return result;
    } catch (error) {
      end({ error });
      throw error;
    }
  };
  return {
    acall: (input, options) => (requests.hasSubscribers ? observedAcall(input, options) : acall(input, options)),
    call: (input, options) => (requests.hasSubscribers ? observedCall(input, options) : call(input, options)),
  };
}
