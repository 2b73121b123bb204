/**
 * What a chaos run does, from its seed alone: which workers come and how they go, and every request they make. Only the
 * order in which things then happen is left to time.
 */
import { Random } from '../../scripts/models/random';

/** What is done to a request. */
export const KINDS = [
  'nothing',
  'several rows',
  'a sync call',
  'a deadline that has passed',
  'a deadline of a few ms',
  'an abort before',
  'an abort in the tick of the call',
  'an abort some turns later',
  'bad input',
  'the function throws',
  'the function rejects',
  'the function returns too few results',
  'the function returns no array',
  'the native run fails',
] as const;
export type Kind = (typeof KINDS)[number];

/** How it ended. */
export const OUTCOMES = [
  'succeeded',
  'failed',
  'failed beside a bad row',
  'cancelled',
  'expired',
  'closed',
  'queue full',
  'refused as invalid',
] as const;
export type Outcome = (typeof OUTCOMES)[number];

export const TARGETS = ['function', 'lookup', 'encoder'] as const;
export type Target = (typeof TARGETS)[number];

export interface Request {
  readonly target: Target;
  readonly kind: Kind;
  /** Of a function: numbers; of the lookup model: ids; of the encoder: numbers of texts. Negative ones are bad. */
  readonly items: readonly number[];
  readonly priority: number | undefined;
  /** Milliseconds or turns of the event loop, by the kind. */
  readonly delay: number;
  /** Turns that its client waits before the next one. */
  readonly pause: number;
}

export const ENDINGS = [
  'drains when all is done',
  'closes with drain in the middle',
  'closes without drain in the middle',
  'is terminated in the middle',
  'exits in the middle',
] as const;
export type Ending = (typeof ENDINGS)[number];

/** Options of a batched callable, as plain data. */
export type BatchOptions = Readonly<Record<string, number | string>>;

/** One worker thread with engines of its own, from its coming to its going. */
export interface Episode {
  readonly seed: number;
  readonly number: number;
  readonly requests: number;
  readonly clients: number;
  readonly ending: Ending;
  /** After so many requests. */
  readonly endsAt: number;
  /** When the function settles: at once, or by a promise. */
  readonly settles: 'at once' | 'in a microtask' | 'in a turn' | 'by a timer';
  readonly options: Readonly<Record<Target, BatchOptions>>;
}

export const VOCABULARY = 1000;
export const TEXTS = 64;

/** Of the items of a function: what the batch that has one does. */
export const SPOILS: readonly Kind[] = [
  'the function throws',
  'the function rejects',
  'the function returns too few results',
  'the function returns no array',
];

function chosen<T>(random: Random, values: readonly T[]): T {
  return values[random.below(values.length)]!;
}

function batchOptions(random: Random): BatchOptions {
  return {
    batchSize: chosen(random, [1, 2, 8, 32, 32, 100]),
    maxQueueRows: chosen(random, [16, 64, 32768, 32768]),
    priorityStrategy: chosen(random, ['none', 'length', 'priority']),
    smallBatchThreshold: chosen(random, [1, 8]),
    ...(random.below(3) === 0 && { timeoutMs: chosen(random, [0, 0.5, 2]) }),
    ...(random.below(4) === 0 && { maxBatchTokens: chosen(random, [64, 512]) }),
  };
}

export function planEpisode(seed: number, number: number, requests: number): Episode {
  const random = new Random(seed, `episode ${number}`);
  const ending = random.below(2) === 0 ? ENDINGS[0] : chosen(random, ENDINGS.slice(1));
  return {
    seed,
    number,
    requests,
    clients: chosen(random, [4, 32, 64, 64, 256]),
    ending,
    endsAt: Math.floor(requests * (0.05 + 0.9 * random.uniform())),
    settles: chosen(random, ['at once', 'in a microtask', 'in a turn', 'by a timer']),
    options: {
      function: { ...batchOptions(random), concurrency: chosen(random, [1, 1, 4]) },
      lookup: { ...batchOptions(random), lanes: chosen(random, [1, 2]) },
      encoder: { ...batchOptions(random), lanes: chosen(random, [1, 2]) },
    },
  };
}

/** The requests of an episode, one after the other: number i is the same in every run. */
export class Requests {
  readonly #random: Random;
  readonly #synchronous: boolean;
  #left: number;

  constructor({ seed, number, requests, settles }: Episode) {
    this.#random = new Random(seed, `requests ${number}`);
    this.#left = requests;
    this.#synchronous = settles === 'at once';
  }

  next(): Request | undefined {
    if (this.#left-- <= 0) return undefined;
    const random = this.#random;
    const chance = random.uniform();
    const target = chance < 0.7 ? 'function' : chance < 0.98 ? 'lookup' : 'encoder';
    const kind = this.#kind(target);
    const rows = kind === 'several rows' || random.below(20) === 0 ? 1 + random.below(6) : 1;
    const most = target === 'function' ? 2 ** 31 : target === 'lookup' ? VOCABULARY : TEXTS;
    const items = Array.from({ length: rows }, () => random.below(most));
    const spoil = SPOILS.indexOf(kind);
    if (spoil >= 0) items[random.below(rows)] = -1 - spoil;
    if (kind === 'the native run fails') items[random.below(rows)] = -1;
    return {
      target,
      kind,
      items,
      priority: random.below(8) === 0 ? random.below(5) - 2 : undefined,
      delay: random.below(6),
      pause: random.below(16) === 0 ? random.below(4) : 0,
    };
  }

  #kind(target: Target): Kind {
    const random = this.#random;
    if (random.below(5) > 0) return random.below(10) === 0 ? 'several rows' : 'nothing';
    const kind = KINDS[1 + random.below(KINDS.length - 1)]!;
    // Faults are rarer: one fails its whole batch of a function, and costs a model its extra runs.
    if ((SPOILS.includes(kind) || kind === 'the native run fails') && random.below(8) > 0) return 'nothing';
    // A sync call cannot wait for a batch that turns out to be asynchronous, as one that rejects is.
    if (kind === 'the function rejects' && this.#synchronous) return 'nothing';
    if (SPOILS.includes(kind)) return target === 'function' ? kind : 'nothing';
    if (kind === 'the native run fails') return target === 'lookup' ? kind : 'nothing';
    if (kind === 'a sync call' && (target === 'function' ? !this.#synchronous : random.below(8) > 0)) return 'nothing';
    return kind;
  }
}
