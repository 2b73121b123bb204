/** Decorated fields, accessors and private members, which only standard decorators have. */
import { describe, expect, test } from '@jest/globals';
import { batchedOf } from '../../ts';
import { native } from '../../ts/native';
import { load, standard } from '../helpers/compiled';
import type * as Classes from '../helpers/decorated-members';

describe.each(standard)('%s', (_, compile) => {
  const { calls, Members, Numberless, Stacked } = load<typeof Classes>('decorated-members.ts', compile);

  describe('fields', () => {
    test('the value of a field is batched', async () => {
      const members = new Members();
      const arrow = batchedOf(members.arrow);
      expect(arrow).toBe(members.arrow);
      expect(members.arrow([1, 2, 3, 4])).toEqual([2, 4, 6, 8]);
      expect(await Promise.all([arrow.acall(1), arrow.acall([2])])).toEqual([2, [4]]);
      expect(arrow.stats.batchSizes).toEqual({ 1: 1, 2: 1, 3: 1 });
      expect(arrow.name).toBe('arrow');
      arrow.clearStats();
      expect(arrow.stats.totalProcessed).toBe(0);
      await arrow.close();
      expect(arrow.health).toEqual({ healthy: false });
      expect(() => arrow(1)).toThrow('arrow is closed');
    });

    test('this is the instance, and each has a batcher of its own', () => {
      const [one, two] = [new Members(), new Members()];
      one.arrow([1]);
      expect(one.selves).toEqual([one]);
      expect(one.plain([1])).toEqual([one]);
      expect(two.plain([1])).toEqual([two]);
      expect(batchedOf(two.arrow).stats.totalProcessed).toBe(0);
    });

    test('it is a field like others', () => {
      const members = new Members();
      expect(Object.hasOwn(members, 'arrow')).toBe(true);
      members.arrow = () => [7];
      expect(members.arrow([1])).toEqual([7]);
    });

    test('its batcher is made at first use', () => {
      const { FunctionQueue } = native;
      let made = 0;
      native.FunctionQueue = class extends FunctionQueue {
        constructor(...args: ConstructorParameters<typeof FunctionQueue>) {
          super(...args);
          made++;
        }
      };
      try {
        const members = new Members();
        expect(made).toBe(0);
        members.arrow([1]);
        members.arrow([1]);
        expect(made).toBe(1);
      } finally {
        native.FunctionQueue = FunctionQueue;
      }
    });

    test('what is no function is refused when the object is made', () => {
      expect(() => new Numberless()).toThrow("dynamically: 'count' must be a function, got number 3");
    });
  });

  describe('accessors', () => {
    test('the value of an accessor is batched', async () => {
      const members = new Members();
      const later = batchedOf(members.later);
      expect(later).toBe(members.later);
      expect(await Promise.all([later(1), later.acall([2, 3]), members.later([4])])).toEqual([1, [2, 3], [4]]);
      expect(later.stats.batchSizes).toEqual({ 2: 2 });
    });

    test('so is what is assigned to it', async () => {
      const members = new Members();
      const before = members.later;
      members.later = async (items) => items.map((item) => -item);
      expect(await batchedOf(members.later)(1)).toBe(-1);
      members.later = before;
      expect(members.later).toBe(before);
      expect(() => {
        members.later = 3 as never;
      }).toThrow("aio.dynamically: 'later' must be a function, got number 3");
    });
  });

  describe('private members', () => {
    test('a private method is batched', () => {
      const members = new Members();
      expect(members.secret([1, 2, 3])).toEqual([3, 6, 9]);
      expect(members.selves).toEqual([members, members]);
    });

    test('batchedOf gives the view of an instance', async () => {
      const [one, two] = [new Members(), new Members()];
      const { secret, hidden, counted } = one.views();
      expect(await secret.acall(1)).toBe(3);
      one.secret([1]);
      expect(secret.stats.totalProcessed).toBe(2);
      expect(one.views().secret).toBe(secret);
      expect(two.views().secret).not.toBe(secret);
      expect(hidden(1)).toBe(5);
      expect(counted(1)).toBe('Members 1');
      expect(() => batchedOf(one.secretMethod())).toThrow(/shared by all instances/);
    });
  });

  test('static fields and accessors', () => {
    expect(batchedOf(Members.field)(1)).toBe('field 1');
    expect(batchedOf(Members.other)(1)).toBe('accessor 1');
    expect(Members.field([1, 2])).toEqual(['field 1', 'field 2']);
  });

  test('a decorator on top that replaces the method keeps its say', () => {
    const [one, two] = [new Stacked(1), new Stacked(2)];
    expect(one.outside([1])).toEqual([1]);
    expect(two.outside([1])).toEqual([2]);
    expect(calls).toEqual([[[1]], [[1]]]);
    expect(() => batchedOf(one.outside)).toThrow(TypeError);
  });

  test('a decorator on top that only looks takes nothing away', () => {
    const stacked = new Stacked(1);
    expect(batchedOf(stacked.noted)(1)).toBe(1);
    expect(stacked.noted).toBe(stacked.noted);
  });
});
