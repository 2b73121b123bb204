/** Which rows of a user function over tensors may share a batch. */
import type { PaddingSide } from '../options';
import { type CallFeatures, type FeatureRow, padOf, shapeKey, type Source } from './function_features';
import type { OutputTrims } from './output_trims';
import { type ElementType, elementTypes, invalidInput } from '../tensor';

/** How many of each the tables of {@link FeatureGroups} keep; beyond that they begin anew. */
const mostGroups = 1024;

/**
 * Says which rows may share a batch: those whose features have the same names, types and ranks, and with padding side
 * `'none'` the same shapes. A wrong or unusual call thus runs alone and cannot fail others.
 */
export class FeatureGroups {
  readonly #side: PaddingSide;
  readonly #padTokens: Readonly<Record<string, number>>;
  /** By the sorted names: their order in the first call that had them. */
  readonly #orders = new Map<string, readonly string[]>();
  readonly #groups = new Map<string, number>();
  readonly #trims: OutputTrims;
  #next = 0;

  constructor(side: PaddingSide, padTokens: Readonly<Record<string, number>>, trims: OutputTrims) {
    this.#side = side;
    this.#padTokens = padTokens;
    this.#trims = trims;
  }

  /** The call with its features in the order of the first such call, and its group. */
  arrange(call: CallFeatures): CallFeatures {
    const names = this.#order(call.names);
    const sources = names === call.names ? call.sources : names.map((name) => call.sources[call.names.indexOf(name)]!);
    let key = JSON.stringify(names);
    for (const { type, tensors } of sources) key += `${type}/${tensors[0]!.dims.length};`;
    return {
      first: call.first,
      names,
      sources,
      rows: call.rows,
      group: this.#number(key, () => this.#check(names, sources)),
    };
  }

  of(row: FeatureRow): number {
    const { group } = row.call;
    return this.#side === 'none' ? this.#number(`${group}:${shapeKey(row)}`) : group;
  }

  #order(names: readonly string[]): readonly string[] {
    const key = JSON.stringify([...names].sort());
    const known = this.#orders.get(key);
    if (known !== undefined) return known;
    if (this.#orders.size >= mostGroups) this.#orders.clear();
    this.#orders.set(key, names);
    return names;
  }

  #number(key: string, check?: () => void): number {
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    check?.();
    if (this.#groups.size >= mostGroups) this.#groups.clear();
    this.#groups.set(key, ++this.#next);
    return this.#next;
  }

  #check(names: readonly string[], sources: readonly Source[]): void {
    this.#trims.checkCall(names, sources);
    names.forEach((name, i) => {
      const { type } = sources[i]!;
      const value = padOf(this.#padTokens, name);
      if (!padFits(elementTypes[type]!, value)) {
        throw invalidInput(`'${name}' is ${elementTypes[type]!}, which cannot hold its pad value ${value}`);
      }
    });
  }
}

function padFits(type: ElementType, value: number): boolean {
  if (type.startsWith('float')) return true;
  if (type === 'bool') return value === 0 || value === 1;
  const bits = Number(/\d+/.exec(type));
  const [least, above] = type.startsWith('u') ? [0, 2 ** bits] : [-(2 ** (bits - 1)), 2 ** (bits - 1)];
  return Number.isInteger(value) && value >= least && value < above;
}
