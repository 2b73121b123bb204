/** What chaos calls: a function and two models, and what each must answer. */
import type { BatchedModel, Tensor } from '../../ts/index';
import { dynamically, inference } from '../lib/batched';
import { lookupTable } from '../../scripts/models/lookup';
import { Random } from '../../scripts/models/random';
import { type Episode, SPOILS, type Target, TEXTS, VOCABULARY } from './plan';

export const LOOKUP = { vocabulary: VOCABULARY, dim: 8, seed: 1 } as const;
const longestText = 48;
/** An encoder's rows differ in the last bits with their company. */
const tolerance = 1e-4;

/** What a spoilt batch throws. */
export class Injected extends Error {}

export const hash = (item: number): number => Math.imul(item, 0x9e3779b1) >>> 0;

/** The token ids of the encoder's texts. */
export function texts(): BigInt64Array[] {
  const random = new Random(1, 'chaos texts');
  return Array.from({ length: TEXTS }, () =>
    BigInt64Array.from({ length: 1 + random.below(longestText) }, () => BigInt(random.below(VOCABULARY))),
  );
}

interface Stats {
  readonly queueSize: number;
  readonly admitted: number;
  readonly totalProcessed: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly timedOut: number;
  readonly closed: number;
}

/** One of the three. `items` are those of a request; a bad one makes its run fail. */
export interface Called {
  acall(items: readonly number[], options: object | undefined): Promise<unknown>;
  call(items: readonly number[]): unknown;
  /** A call that is refused for what it is given. */
  invalid(): Promise<unknown>;
  /** Whether these are the results of those items. */
  right(items: readonly number[], results: unknown): boolean;
  /** Whether this is how its runs fail. */
  fails(error: unknown): boolean;
  readonly stats: Stats;
  close(options: { drain: boolean }): Promise<void>;
}

const codeOf = (error: unknown): unknown => (error as { code?: unknown } | undefined)?.code;

function batchFunction(settles: Episode['settles']): (items: number[]) => number[] | Promise<number[]> {
  const run = (items: number[]): number[] => {
    const bad = items.find((item) => item < 0);
    const spoil = bad === undefined ? undefined : SPOILS[-1 - bad]!;
    switch (spoil) {
      case 'the function throws':
        throw new Injected(spoil);
      case 'the function rejects':
        return Promise.reject(new Injected(spoil)) as never;
      case 'the function returns too few results':
        return items.slice(1).map(hash);
      case 'the function returns no array':
        return undefined as never;
      default:
        return items.map(hash);
    }
  };
  switch (settles) {
    case 'at once':
      return run;
    case 'in a microtask':
      return (items) => Promise.resolve(items).then(run);
    case 'in a turn':
      return async (items) => new Promise((resolve) => setImmediate(resolve)).then(() => run(items));
    case 'by a timer':
      return async (items) => new Promise((resolve) => setTimeout(resolve, 1)).then(() => run(items));
  }
}

function userFunction({ settles, options }: Episode): Called {
  const batched = dynamically(batchFunction(settles) as (items: number[]) => number[], options.function);
  // A single item and an array of one are different calls.
  const single = (items: readonly number[]): boolean => items.length === 1;
  return {
    acall: (items, more) => (batched.acall as (input: unknown, options?: object) => Promise<unknown>)(single(items) ? items[0] : items, more), // prettier-ignore
    call: (items) => (batched as (input: unknown) => unknown)(single(items) ? items[0] : items),
    invalid: () => (batched.acall as (input: unknown, options: object) => Promise<unknown>)(1, { priority: 'high' }),
    right: (items, results) =>
      single(items)
        ? results === hash(items[0]!)
        : Array.isArray(results) && results.length === items.length && items.every((n, i) => results[i] === hash(n)),
    fails: (error) => error instanceof Injected || codeOf(error) === 'BATCHED_OUTPUT_MISMATCH',
    get stats() {
      return batched.stats;
    },
    close: (how) => batched.close(how),
  };
}

/** The rows of `results` against the rows of a table. */
function rowsMatch(
  results: unknown,
  items: readonly number[],
  table: Float32Array,
  width: number,
  most: number,
): boolean {
  const { dims, data } = results as Tensor<Float32Array>;
  if (dims.length !== 2 || dims[0] !== items.length || dims[1] !== width) return false;
  return items.every((item, row) => {
    for (let i = 0; i < width; i++) {
      if (!(Math.abs(data[row * width + i]! - table[item * width + i]!) <= most)) return false;
    }
    return true;
  });
}

function modelCalled(
  model: BatchedModel,
  features: (items: readonly number[]) => object,
  right: Called['right'],
): Called {
  return {
    acall: (items, options) => model.acall(features(items) as never, options as never),
    call: (items) => model(features(items) as never),
    invalid: () => model.acall({ ids: [['1']], input_ids: [['1']] } as never),
    right,
    fails: (error) => codeOf(error) === 'BATCHED_BACKEND',
    get stats() {
      return model.stats;
    },
    close: (how) => model.close(how),
  };
}

/** Of the lookup model: a tensor of one column, so that most calls are packed. */
function ids(items: readonly number[]): object {
  const data = BigInt64Array.from(items, (item) => BigInt(item < 0 ? 2 * VOCABULARY : item));
  return { ids: { type: 'int64', dims: [items.length, 1], data } };
}

export interface Paths {
  readonly lookup: string;
  readonly encoder: string;
}

/** `embeddings`: what the encoder gives for each text alone. */
export async function open(
  episode: Episode,
  paths: Paths,
  embeddings: Float32Array,
): Promise<Readonly<Record<Target, Called>>> {
  const load = (target: 'lookup' | 'encoder'): Promise<BatchedModel> =>
    inference.load(paths[target], { ...episode.options[target], warmup: false, intraOpThreads: 1 });
  const [lookup, encoder] = [await load('lookup'), await load('encoder')];
  const table = lookupTable(LOOKUP);
  const all = texts();
  const width = embeddings.length / TEXTS;
  return {
    function: userFunction(episode),
    lookup: modelCalled(lookup, ids, (items, results) => rowsMatch(results, items, table, LOOKUP.dim, 0)),
    encoder: modelCalled(
      encoder,
      (items) => ({ input_ids: items.map((item) => all[item]!) }),
      (items, results) => rowsMatch(results, items, embeddings, width, tolerance),
    ),
  };
}

/** The reference: every text alone, in a sync call. */
export async function embedAlone(path: string): Promise<Float32Array> {
  const model = await inference.load(path, { lanes: 1, batchSize: 1, warmup: false });
  const rows = texts().map((text) => (model({ input_ids: [text] }) as Tensor<Float32Array>).data);
  const embeddings = new Float32Array(new SharedArrayBuffer(4 * TEXTS * rows[0]!.length));
  rows.forEach((row, i) => embeddings.set(row, i * row.length));
  await model.close();
  return embeddings;
}
