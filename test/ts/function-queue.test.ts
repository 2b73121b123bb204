/**
 * The native queue of user functions against a slow, obvious model of it: random admissions, batches and removals must
 * end alike. Beside that, what the policy promises is checked on its own, without the model's choice of a batch.
 *
 * The queue reads the real clock. Slacks and deadlines here lie at least 25 ms apart, so as long as a sequence takes
 * less than that, order follows from them alone; a sequence that was held up is drawn again.
 */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { native, type NativeQueueOptions } from '../../ts/native';

const longestSequenceMs = 20;

interface ModelRow {
  slot: number;
  length: number;
  group: number;
  /** Virtual deadline in ms, as if no time passed; rows of equal ones go in order of arrival. */
  due: number;
  sequence: number;
  /** For the bound on waiting: what had to be bound before it when it came, and the batches since. */
  earlier: number;
  dispatches: number;
}

interface Call {
  items: { length: number; group: number }[];
  priority: number;
  /** ms from now; negative: none. */
  deadline: number;
}

const before = (a: ModelRow, b: ModelRow): number => a.due - b.due || a.sequence - b.sequence;

class Model {
  waiting: ModelRow[] = [];
  #sequence = 0;

  constructor(readonly options: NativeQueueOptions) {}

  /** Whether there was room: all rows of a call or none, and a call larger than the queue only alone. */
  admit(call: Call, slots: number[]): boolean {
    const rows = call.items.length;
    if (this.waiting.length > 0 && this.waiting.length + rows > this.options.maxQueueRows) return false;
    const longest = Math.max(...call.items.map((item) => item.length));
    const due = Math.min(this.#slack(call, longest), call.deadline < 0 ? Infinity : call.deadline);
    const arrived = call.items.map((item, i) => {
      const row = { slot: slots[i]!, ...item, due, sequence: this.#sequence++, earlier: 0, dispatches: 0 };
      row.earlier = this.waiting.length + i;
      return row;
    });
    for (const row of this.waiting) row.earlier += arrived.filter((other) => before(other, row) < 0).length;
    this.waiting.push(...arrived);
    return true;
  }

  #slack({ items, priority }: Call, longest: number): number {
    const { priorityStrategy, smallBatchThreshold } = this.options;
    const strategySlack = [50 * priority, longest, 0][priorityStrategy]!;
    const slack = strategySlack + (items.length > smallBatchThreshold ? 50 : 0);
    return Math.max(-1000, Math.min(1000, slack));
  }

  most(longest: number): number {
    const { batchSize, maxBatchTokens } = this.options;
    const byTokens = maxBatchTokens > 0 && longest > 0 ? Math.floor(maxBatchTokens / longest) : Infinity;
    return Math.max(1, Math.min(batchSize, byTokens));
  }

  anchor(): ModelRow {
    return [...this.waiting].sort(before)[0]!;
  }

  fullBatchWaits(): boolean {
    const { batchSize, maxBatchTokens } = this.options;
    const tokens = this.waiting.reduce((sum, row) => sum + row.length, 0);
    return this.waiting.length >= batchSize || (maxBatchTokens > 0 && tokens >= maxBatchTokens);
  }

  /** The most rows next to each other in length, the anchor among them; of several such runs the shortest rows. */
  choose(): ModelRow[] {
    const anchor = this.anchor();
    const peers = this.waiting.filter((row) => row.group === anchor.group).sort(before);
    const lengths = [...new Set(peers.map((row) => row.length))].sort((a, b) => a - b);
    let best: ModelRow[] = [];
    for (const longest of lengths.filter((length) => length >= anchor.length)) {
      const most = this.most(longest);
      const between = peers.filter((row) => row.length > anchor.length && row.length < longest);
      const toAnchor = longest > anchor.length ? between.length + 1 : 0;
      if (toAnchor > 0 && toAnchor + 1 > most) break;
      const top = peers.filter((row) => row.length === longest).slice(0, most - toAnchor);
      const below = peers.filter((row) => row.length < longest).sort((a, b) => b.length - a.length || before(a, b));
      const run = [...top, ...below].slice(0, most);
      if (run.length > best.length) best = run;
    }
    return best;
  }

  take(slots: number[]): ModelRow[] {
    const taken = this.waiting.filter((row) => slots.includes(row.slot));
    this.waiting = this.waiting.filter((row) => !slots.includes(row.slot));
    return taken;
  }
}

type Step =
  | { do: 'admit'; calls: Call[] }
  | { do: 'admitSingles'; lengths: number[] }
  | { do: 'next'; force: boolean }
  | { do: 'finish' }
  | { do: 'remove'; slot: number };

/** The queue and its model side by side; every step is checked. */
class Pair {
  readonly queue;
  readonly model: Model;
  readonly bound: number[][] = [];
  readonly #free: number[] = [];
  #slots = 0;
  admitted = 0;
  refused = 0;
  left = 0;

  constructor(readonly options: NativeQueueOptions) {
    this.queue = new native.FunctionQueue(options);
    this.model = new Model(options);
  }

  #slotsFor(count: number): number[] {
    return Array.from({ length: count }, () => this.#free.pop() ?? this.#slots++);
  }

  step(step: Step): void {
    switch (step.do) {
      case 'admit': {
        this.#admit(step.calls);
        return;
      }
      case 'admitSingles': {
        this.#admitSingles(step.lengths);
        return;
      }
      case 'next':
        this.next(step.force);
        return;
      case 'finish': {
        this.finish();
        return;
      }
      case 'remove': {
        this.#remove(this.#slots === 0 ? 0 : step.slot % this.#slots);
        return;
      }
    }
  }

  #admit(calls: Call[]): void {
    const slots = calls.map((call) => this.#slotsFor(call.items.length));
    const items = calls.flatMap((call) => call.items);
    const numbers = Float64Array.from(calls.flatMap((call) => [call.items.length, call.priority, call.deadline]));
    const lengths = Uint32Array.from(items, (item) => item.length);
    const groups = Uint32Array.from(items, (item) => item.group);
    const refused = this.queue.admit(Uint32Array.from(slots.flat()), lengths, groups, numbers, calls.length);
    const fits = calls.map((call, c) => this.model.admit(call, slots[c]!));
    expect(refused).toBe(fits.filter((fit) => !fit).length);
    calls.forEach((call, c) => {
      expect(numbers[3 * c]).toBe(fits[c]! ? call.items.length : -call.items.length);
      this.#count(fits[c]!, slots[c]!);
    });
  }

  #admitSingles(lengths: number[]): void {
    const slots = this.#slotsFor(lengths.length);
    const admitted = this.queue.admitSingles(Uint32Array.from(slots), Uint32Array.from(lengths), lengths.length);
    let fits = true;
    lengths.forEach((length, i) => {
      fits &&= this.model.admit({ items: [{ length, group: 0 }], priority: 0, deadline: -1 }, [slots[i]!]);
      expect(i < admitted).toBe(fits);
      this.#count(fits, [slots[i]!]);
    });
  }

  #count(fits: boolean, slots: number[]): void {
    if (fits) {
      this.admitted += slots.length;
    } else {
      this.refused += slots.length;
      this.#free.push(...slots);
    }
  }

  next(force: boolean): number {
    const { model, options } = this;
    const out = new Uint32Array(options.batchSize).fill(0xffffffff);
    const count = this.queue.next(out, force);
    if (model.waiting.length === 0) {
      expect(count).toBe(0);
      return 0;
    }
    // Work conservation: what waits is held only for a `timeoutMs` that has not passed, and only while it is short.
    if (!force && options.timeoutMs > 0 && !model.fullBatchWaits()) {
      expect(count).toBeLessThan(0);
      expect(-count).toBeLessThanOrEqual(options.timeoutMs);
      return 0;
    }
    expect(count).toBeGreaterThan(0);
    const slots = [...out.subarray(0, count)];
    const [anchor, chosen] = [model.anchor(), model.choose()];
    for (const row of model.waiting) row.dispatches++;
    const rows = model.take(slots);
    expect(rows).toHaveLength(count); // every one of them was waiting, and none comes twice
    expect(rows).toContain(anchor); // priority: the first in order is in every batch
    expect(new Set(rows.map((row) => row.group)).size).toBe(1);
    expect(count).toBeLessThanOrEqual(model.most(Math.max(...rows.map((row) => row.length))));
    // Bounded waiting (engine.h, 2.): by the batch after as many as there were rows before it in order.
    for (const row of rows) expect(row.dispatches).toBeLessThanOrEqual(row.earlier + 1);
    expect(slots.sort((a, b) => a - b)).toEqual(chosen.map((row) => row.slot).sort((a, b) => a - b));
    this.left += count;
    this.bound.push(slots);
    return count;
  }

  finish(): void {
    const slots = this.bound.shift();
    if (slots === undefined) return;
    this.queue.finish(Uint32Array.from(slots), 1, slots.length);
    this.#free.push(...slots);
  }

  #remove(slot: number): void {
    const waiting = this.model.take([slot]).length === 1;
    expect(this.queue.queued(slot)).toBe(waiting);
    expect(this.queue.remove(slot)).toBe(waiting);
    expect(this.queue.queued(slot)).toBe(false);
    if (!waiting) return;
    this.left++;
    this.#free.push(slot);
  }
}

const options = fc.record({
  batchSize: fc.constantFrom(1, 2, 3, 5, 8, 32),
  maxBatchTokens: fc.constantFrom(0, 0, 1, 300, 1500, 10_000),
  timeoutMs: fc.constantFrom(-1, -1, 0, 1e6),
  smallBatchThreshold: fc.constantFrom(0, 1, 3, 1e3),
  priorityStrategy: fc.constantFrom(0, 1, 2),
  maxQueueRows: fc.constantFrom(1, 7, 40, 1e6),
});
/** By `priorityStrategy: 'length'` a unit of length is 1 ms of slack: these are 50 apart, like priorities. */
const length = fc.integer({ min: 0, max: 24 }).map((steps) => 50 * steps);
const call: fc.Arbitrary<Call> = fc.record({
  items: fc.array(fc.record({ length, group: fc.constantFrom(0, 0, 0, 1, 7) }), { minLength: 1, maxLength: 12 }),
  priority: fc.constantFrom(0, 0, 0, 1, 2, -1, -3, 40, -40, Infinity, -Infinity),
  deadline: fc.constantFrom(-1, -1, -1, 25, 75, 225, 1e9),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('admit'), calls: fc.array(call, { maxLength: 4 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('admitSingles'), lengths: fc.array(length, { maxLength: 20 }) }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('next'), force: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('finish') }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove'), slot: fc.nat(200) }) },
);

describe('the queue of user functions', () => {
  test('does what its model does, and what the policy promises', () => {
    const property = fc.property(options, fc.array(step, { maxLength: 40 }), (given, steps) => {
      const start = performance.now();
      const pair = new Pair(given);
      let failure: unknown;
      try {
        for (const step of steps) {
          pair.step(step);
          expect(pair.queue.size).toBe(pair.model.waiting.length);
        }
        while (pair.next(true) > 0) pair.finish();
        while (pair.bound.length > 0) pair.finish();
      } catch (error) {
        failure = error;
      }
      fc.pre(performance.now() - start < longestSequenceMs);
      if (failure !== undefined) throw failure;

      // Nothing is lost: what was admitted has left, by a batch or by removal, once.
      expect(pair.left).toBe(pair.admitted);
      const stats = pair.queue.stats();
      expect(stats).toMatchObject({ queueRows: 0, queueTokens: 0, admitted: pair.admitted, rejected: pair.refused });
      expect(stats.processed).toBe(stats.batchRows);
      expect(stats.usefulTokens).toBeLessThanOrEqual(stats.paddedTokens);
    });
    fc.assert(property, { seed: 20_260_101, numRuns: 400 });
  });
});
