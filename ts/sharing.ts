/** Tokens by which the threads of a process find each other's models. */
import { randomUUID } from 'node:crypto';
import { BatchedError } from './errors';
import { native, type NativeEngine } from './native';
import { describe, invalidInput } from './tensor';

/**
 * What `share()` gives and `inference.attach` takes. It is plain data: it may go through `workerData`, `postMessage` or
 * JSON, and is good in every thread of its process.
 */
export interface ModelToken {
  /** Tells a token from other data. */
  readonly batched: 'model';
  /** The process that has the model. */
  readonly pid: number;
  /** Of the engine, in that process. */
  readonly id: string;
}

/**
 * What this thread has shared stays until it is closed, or the thread ends. Otherwise whether a worker finds the model
 * would depend on whether garbage was collected while it started.
 */
const shared = new Set<NativeEngine>();

export function share(engine: NativeEngine): ModelToken {
  const id = engine.share(randomUUID());
  if (id === undefined) throw new BatchedError('BATCHED_CLOSED', 'share: the model is closed');
  shared.add(engine);
  return { batched: 'model', pid: process.pid, id };
}

/** The model is closed in this thread: it may be collected. */
export function unshare(engine: NativeEngine): void {
  shared.delete(engine);
}

function checkToken(where: string, token: unknown): ModelToken {
  const { batched, pid, id } = (typeof token === 'object' && token !== null ? token : {}) as Record<string, unknown>;
  if (batched !== 'model' || typeof pid !== 'number' || typeof id !== 'string') {
    throw new TypeError(`${where}: expected a token from share(), got ${describe(token)}`);
  }
  return token as ModelToken;
}

/** The engine that `token` stands for, for this thread. */
export function engineOf(where: string, token: unknown): NativeEngine {
  const { pid, id } = checkToken(where, token);
  if (pid !== process.pid) {
    throw invalidInput(
      `${where}: the token is of process ${pid}, and this is process ${process.pid}; a model is shared by the threads of one process`,
    );
  }
  const engine = native.attach(id);
  if (engine === undefined) {
    throw new BatchedError('BATCHED_CLOSED', `${where}: the model is closed, or the threads that had it have ended`);
  }
  return engine;
}
