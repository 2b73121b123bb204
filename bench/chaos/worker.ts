/** One episode: clients make its requests, judge how each ended, and count it in the ledger. */
import { parentPort, workerData } from 'node:worker_threads';
import { Ledger } from './ledger';
import { type Episode, type Kind, type Outcome, type Request, Requests, TARGETS } from './plan';
import { open, type Paths } from './targets';

export interface WorkerData {
  readonly episode: Episode;
  readonly paths: Paths;
  readonly embeddings: Float32Array;
  readonly ledger: SharedArrayBuffer;
}

const { episode, paths, embeddings, ledger: shared } = workerData as WorkerData;
const ledger = new Ledger(shared);
const requests = new Requests(episode);
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

let made = 0;
let closing = false;
const closed: Promise<void>[] = [];

const cannotSucceed = new Set<Kind>([
  'a deadline that has passed',
  'an abort before',
  'an abort in the tick of the call',
  'bad input',
  'the function throws',
  'the function rejects',
  'the function returns too few results',
  'the function returns no array',
  'the native run fails',
]);
const isBad = (kind: Kind): boolean => kind.startsWith('the ');

class Wrong extends Error {}

async function main(): Promise<void> {
  const targets = await open(episode, paths, embeddings);

  function middle(): void {
    switch (episode.ending) {
      case 'exits in the middle':
        process.exit(7);
      case 'closes with drain in the middle':
      case 'closes without drain in the middle': {
        closing = true;
        const drain = episode.ending === 'closes with drain in the middle';
        for (const target of TARGETS) closed.push(targets[target].close({ drain }));
        break;
      }
      case 'is terminated in the middle': // the main thread does it
      case 'drains when all is done':
    }
  }

  function call({ target, kind, items, priority, delay }: Request): { result: unknown; signal?: AbortSignal } {
    const called = targets[target];
    const more = priority === undefined ? undefined : { priority };
    switch (kind) {
      case 'a sync call':
        return { result: called.call(items) };
      case 'bad input':
        return { result: called.invalid() };
      case 'a deadline that has passed':
        return { result: called.acall(items, { ...more, deadlineMs: 0 }) };
      case 'a deadline of a few ms':
        return { result: called.acall(items, { ...more, deadlineMs: 1 + delay }) };
      case 'an abort before': {
        const signal = AbortSignal.abort();
        return { signal, result: called.acall(items, { ...more, signal }) };
      }
      case 'an abort in the tick of the call':
      case 'an abort some turns later': {
        const controller = new AbortController();
        const { signal } = controller;
        const result = called.acall(items, { ...more, signal });
        if (kind === 'an abort in the tick of the call') controller.abort();
        else void after(delay, () => controller.abort());
        return { signal, result };
      }
      default:
        return { result: called.acall(items, more) };
    }
  }

  async function outcomeOf(request: Request): Promise<Outcome> {
    const { target, kind, items } = request;
    let made: ReturnType<typeof call> | undefined;
    try {
      made = call(request);
      const results = await made.result;
      if (cannotSucceed.has(kind)) throw new Wrong('succeeded');
      if (!targets[target].right(items, results)) throw new Wrong(`gave a wrong result: ${JSON.stringify(results)}`);
      return 'succeeded';
    } catch (error) {
      if (error instanceof Wrong) throw error;
      const outcome = failure(request, error, made?.signal);
      if (outcome !== undefined) return outcome;
      throw new Wrong(`ended with ${String(error)}`);
    }
  }

  /** What the error means, if it may come to this request. */
  function failure({ target, kind }: Request, error: unknown, signal: AbortSignal | undefined): Outcome | undefined {
    if (signal !== undefined && error === signal.reason) return 'cancelled';
    if (kind === 'bad input') {
      const type = target === 'function' ? error instanceof TypeError : codeOf(error) === 'BATCHED_INVALID_INPUT';
      return type ? 'refused as invalid' : undefined;
    }
    switch (codeOf(error)) {
      case 'BATCHED_DEADLINE':
        return kind.startsWith('a deadline') ? 'expired' : undefined;
      case 'BATCHED_CLOSED':
        return closing ? 'closed' : undefined;
      case 'BATCHED_QUEUE_FULL':
        return 'queue full';
    }
    // Of a function a batch fails as a whole; a model finds its bad rows, up to four in a batch.
    if (target === 'encoder' || !targets[target].fails(error)) return undefined;
    return isBad(kind) ? 'failed' : 'failed beside a bad row';
  }

  async function client(): Promise<void> {
    for (let request = requests.next(); request !== undefined; request = requests.next()) {
      if (made++ === episode.endsAt) middle();
      ledger.made(request.kind);
      const number = made;
      try {
        ledger.ended(request.kind, await outcomeOf(request));
      } catch (error) {
        throw new Error(`request ${number} (${JSON.stringify(request)}): ${(error as Error).message}`);
      }
      for (let turns = 0; turns < request.pause; turns++) await turn();
    }
  }

  await Promise.all(Array.from({ length: episode.clients }, client));
  await Promise.all(closed);
  await Promise.all(TARGETS.map((target) => targets[target].close({ drain: true })));
  for (const target of TARGETS) {
    const { queueSize, admitted, totalProcessed, failed, cancelled, timedOut, closed: shut } = targets[target].stats;
    if (queueSize !== 0 || admitted !== totalProcessed + failed + cancelled + timedOut + shut) {
      throw new Error(`${target}: rows are not accounted for: ${JSON.stringify(targets[target].stats)}`);
    }
  }
  parentPort!.postMessage('accounted');
}

async function after(turns: number, then: () => void): Promise<void> {
  for (let i = 0; i < turns; i++) await turn();
  then();
}

const codeOf = (error: unknown): unknown => (error as { code?: unknown } | undefined)?.code;

void main(); // what it throws is uncaught, and ends the run
