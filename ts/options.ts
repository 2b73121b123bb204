/** Options: their types, their defaults, and the errors for wrong ones. */
import type { NativeQueueOptions } from './native';
import { describe } from './tensor';

/** Which side of a short row the padding goes to; `'none'`: only rows of equal shape share a batch. */
export type PaddingSide = 'right' | 'left' | 'none';

/** By what calls are ordered. */
export type PriorityStrategy = 'none' | 'length' | 'priority';

/** By number, as native code has them: the order of `PriorityStrategy` in native/engine/batch_policy.h. */
const priorityStrategies: readonly PriorityStrategy[] = ['priority', 'length', 'none'];

/** What every batched callable takes. */
export interface BatchOptions {
  /** Most rows in a batch. Default 32. */
  batchSize?: number;
  /**
   * Unset: whatever waits runs as soon as something can run it, and nothing waits for company. Set: the longest, in
   * milliseconds since it was enqueued, that a row waits for a fuller batch.
   */
  timeoutMs?: number;
  /** Calls of at most this many rows go before larger ones, within bounds. Default 8. */
  smallBatchThreshold?: number;
  /**
   * What goes first, within bounds. `'priority'` (the default): calls of a lower `priority`, and all others in order of
   * arrival. `'length'`: shorter calls. `'none'`: order of arrival, whatever `priority` a call gives.
   */
  priorityStrategy?: PriorityStrategy;
  /** Most padded length of a batch: rows times the longest row. Unset: no bound. */
  maxBatchLength?: number;
  /** The same as `maxBatchLength`, under the name that models use. */
  maxBatchTokens?: number;
  /** Most rows that wait. More are refused with `BATCHED_QUEUE_FULL`. Default 32768. */
  maxQueueRows?: number;
  /** Longer items are refused at the call with `BATCHED_INVALID_INPUT`. Unset: no bound. */
  maxItemLength?: number;
}

/** What a call takes beside its items. */
export interface CallOptions {
  /** Aborting rejects the call with the signal's reason, wherever its rows are. */
  signal?: AbortSignal;
  /** Milliseconds from now after which the call rejects with `BATCHED_DEADLINE`. */
  deadlineMs?: number;
  /** Lower runs first, within bounds. Default 0. */
  priority?: number;
}

type Kind =
  | 'count'
  | 'ms'
  | 'number'
  | 'boolean'
  | 'function'
  | 'object'
  | 'string'
  | 'strings'
  | 'cache'
  | 'devices'
  | readonly string[];

/** Checks `options` against the kinds of the known names: a TypeError or RangeError names the option and the value. */
export function checkOptions(where: string, options: unknown, kinds: Record<string, Kind>): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new TypeError(`${where}: options must be an object, got ${describe(options)}`);
  }
  for (const [name, value] of Object.entries(options)) {
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
    if (kind === undefined) {
      throw new TypeError(`${where}: unknown option '${name}' (known: ${Object.keys(kinds).join(', ')})`);
    }
    if (value !== undefined) checkOption(where, name, value, kind);
  }
}

function checkOption(where: string, name: string, value: unknown, kind: Kind): void {
  const wrong = (wanted: string, Class: typeof TypeError | typeof RangeError = TypeError): never => {
    throw new Class(`${where}: option '${name}' must be ${wanted}, got ${describe(value)}`);
  };
  if (typeof kind !== 'string') {
    if (typeof value !== 'string') wrong(`one of ${kind.join(', ')}`);
    if (!kind.includes(value as string)) wrong(`one of ${kind.join(', ')}`, RangeError);
    return;
  }
  switch (kind) {
    case 'count':
      if (typeof value !== 'number') wrong('a whole number');
      if (!Number.isSafeInteger(value) || (value as number) < 1) wrong('a whole number of at least 1', RangeError);
      break;
    case 'ms':
      if (typeof value !== 'number') wrong('a number of milliseconds');
      if (!((value as number) >= 0 && (value as number) < Infinity)) wrong('zero or more milliseconds', RangeError);
      break;
    case 'number':
      if (typeof value !== 'number') wrong('a number');
      if (!Number.isFinite(value)) wrong('a finite number', RangeError);
      break;
    case 'object':
      if (typeof value !== 'object' || value === null || Array.isArray(value)) wrong('an object');
      break;
    case 'strings':
      if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) wrong('an array of strings');
      break;
    case 'devices': {
      const devices: unknown[] = Array.isArray(value) ? value : [value];
      if (!devices.every((device) => typeof device === 'number')) wrong('a number or an array of numbers');
      const whole = devices.every((device) => Number.isInteger(device) && (device as number) >= 0);
      if (!whole || devices.length === 0 || new Set(devices).size < devices.length) {
        wrong('the number of a GPU, 0 or more, or an array of different ones', RangeError);
      }
      break;
    }
    case 'cache':
      if (!isCache(value)) wrong('an object with get and set');
      break;
    default:
      if (typeof value !== kind) wrong(`a ${kind}`);
  }
}

function isCache(value: unknown): boolean {
  const { get, set } = (value ?? {}) as { get?: unknown; set?: unknown };
  return typeof get === 'function' && typeof set === 'function';
}

export const batchKinds: Record<string, Kind> = {
  batchSize: 'count',
  timeoutMs: 'ms',
  smallBatchThreshold: 'number',
  priorityStrategy: priorityStrategies,
  maxBatchLength: 'count',
  maxBatchTokens: 'count',
  maxQueueRows: 'count',
  maxItemLength: 'count',
  cache: 'cache',
  cacheKey: 'function',
};

const abortListeners = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Calls `listener` when `signal` aborts; gives the function that takes it back. Thousands of calls may share a signal:
 * they share one listener on it, since an EventTarget warns at eleven and is slow with many.
 */
export function onAbort(signal: AbortSignal, listener: () => void): () => void {
  const known = abortListeners.get(signal);
  const listeners = known ?? new Set();
  listeners.add(listener);
  if (known === undefined) {
    abortListeners.set(signal, listeners);
    signal.addEventListener('abort', notify, { once: true });
  }
  return () => {
    if (!listeners.delete(listener) || listeners.size > 0 || abortListeners.get(signal) !== listeners) return;
    abortListeners.delete(signal);
    try {
      signal.removeEventListener('abort', notify);
    } catch (error) {
      // A signal of somebody's own making: uncaught, but no reason for a call not to settle.
      queueMicrotask(() => {
        throw error;
      });
    }
  };
}

function notify(this: AbortSignal): void {
  const listeners = abortListeners.get(this);
  abortListeners.delete(this);
  for (const listener of listeners ?? []) listener();
}

const callKinds: Record<string, Kind> = { signal: 'object', deadlineMs: 'ms', priority: 'number', stack: 'boolean' };

/** Checks per-call options; throws the reason of a signal that has aborted already. */
export function checkCallOptions(options: CallOptions): void {
  checkOptions('acall', options, callKinds);
  const { signal } = options;
  const methods = ['addEventListener', 'removeEventListener'] as const;
  if (signal !== undefined && !methods.every((name) => typeof signal[name] === 'function')) {
    throw new TypeError(`acall: option 'signal' must be an AbortSignal, got ${describe(signal)}`);
  }
  if (signal?.aborted === true) throw signal.reason;
}

/** As good as no bound (of rows, or in milliseconds: 24 days), and safe to count with in native code. */
const most = 2 ** 31 - 1;

/** The options that both queues know, with their defaults and in native terms. */
export function queueOptions(options: BatchOptions): NativeQueueOptions {
  const tokens = options.maxBatchTokens ?? options.maxBatchLength ?? 0;
  return {
    batchSize: Math.min(options.batchSize ?? 32, most),
    maxBatchTokens: tokens,
    timeoutMs: Math.min(options.timeoutMs ?? -1, most),
    smallBatchThreshold: Math.min(Math.max(0, options.smallBatchThreshold ?? 8), most),
    priorityStrategy: priorityStrategies.indexOf(options.priorityStrategy ?? 'priority'),
    maxQueueRows: options.maxQueueRows ?? 32768,
  };
}
