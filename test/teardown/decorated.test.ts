/** Objects with decorated methods are collected, and their batchers with them. */
import { expect, test } from '@jest/globals';
import { runProgram } from '../helpers/child-program';

const lines = [
  'unused: collected',
  'read only: collected',
  'used: collected',
  'many in turn: collected',
  'whose calls were held by a timer: collected',
  'closed: collected',
  'with a batch that never settles: collected',
  'of a subclass that calls up: collected',
  'frozen: collected',
  'behind a proxy: collected',
  'while another lives: all but what is kept collected',
  'whose statistics live: all but what is kept collected',
  'with fields, accessors and private methods: collected',
  'function kept: object kept',
];

test.each(['standard', 'legacy'])('objects with %s decorators', async (dialect) => {
  const ended = await runProgram('decorated.mjs', [dialect], { node: ['--expose-gc'] });
  expect(ended).toMatchObject({ code: 0, signal: null, stderr: '' });
  expect(ended.stdout.trim().split('\n')).toEqual(lines);
});
