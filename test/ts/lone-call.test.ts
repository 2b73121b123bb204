/** A lone call on an idle batcher is as prompt as dataloader's: both settle in the turn of the event loop they are made in. */
import { readFile } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import DataLoader from 'dataloader';
import { aio, dynamically, inference, type Tensor } from '../../ts';
import { turn } from '../helpers/gate';

const increment = (items: readonly number[]): number[] => items.map((item) => item + 1);

/** From where a call is made: each is another phase of the event loop, or queue of it. */
const phases: [string, (call: () => void) => void][] = [
  ['a timer', (call) => setTimeout(call)],
  ['an immediate', (call) => setImmediate(call)],
  ['file I/O', (call) => readFile(__filename, call)],
  ['a microtask', (call) => queueMicrotask(call)],
  ['process.nextTick', (call) => process.nextTick(call)],
];

/** Turns of the event loop that begin before the call settles. */
function turnsOf(from: (call: () => void) => void, call: () => Promise<unknown>): Promise<number> {
  return new Promise((resolve, reject) => {
    from(() => {
      let turns = 0;
      let immediate: NodeJS.Immediate;
      const count = (): void => {
        turns++;
        immediate = setImmediate(count);
      };
      immediate = setImmediate(count);
      call().then(() => {
        clearImmediate(immediate);
        resolve(turns);
      }, reject);
    });
  });
}

describe.each(phases)('called from %s', (_, from) => {
  const sync = dynamically(increment);
  const asynchronous = aio.dynamically(async (items: number[]) => increment(items));
  const tensors = inference.dynamically(({ x }: Record<string, Tensor>) => x!);
  const loader = new DataLoader<number, number>(async (keys) => increment(keys), { cache: false });
  const calls: [string, () => Promise<unknown>][] = [
    ['dataloader', () => loader.load(1)],
    ['a sync function', () => sync.acall(1)],
    ['an async function', () => asynchronous(1)],
    ['items of an array', () => sync.acall([1, 2, 3])],
    ['tensors', () => tensors.acall({ x: [[1]] })],
  ];

  test.each(calls)('%s: settles in the same turn, again and again', async (_name, call) => {
    for (let i = 0; i < 20; i++) {
      await turn(); // batches that take long in one turn put the next one off, on a slow machine these might
      expect(await turnsOf(from, call)).toBe(0);
    }
  });
});

test('called together with dataloader, neither settles a turn before the other', async () => {
  const batched = dynamically(increment);
  const loader = new DataLoader<number, number>(async (keys) => increment(keys), { cache: false });
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    setTimeout(() => {
      setImmediate(() => resolve(void order.push('the next turn')));
      void loader.load(1).then(() => order.push('dataloader'));
      void batched.acall(1).then(() => order.push('batched'));
    });
  });
  expect(order.slice(0, 2).sort()).toEqual(['batched', 'dataloader']);
  expect(order[2]).toBe('the next turn');
});
