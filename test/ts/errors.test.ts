/** `BatchedError`: its codes, and that native code means the same by its numbers. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { BatchedError, type BatchedErrorCode, dynamically } from '../../ts';
import { fromNative, NativeCode } from '../../ts/errors';

const codes: BatchedErrorCode[] = [
  'BATCHED_INVALID_INPUT',
  'BATCHED_QUEUE_FULL',
  'BATCHED_DEADLINE',
  'BATCHED_CLOSED',
  'BATCHED_OUTPUT_MISMATCH',
  'BATCHED_BACKEND',
  'BATCHED_OUT_OF_MEMORY',
  'BATCHED_DEVICE_LOST',
  'BATCHED_LIBRARY_NOT_FOUND',
  'BATCHED_PROVIDER_UNAVAILABLE',
  'BATCHED_CANCELLED',
];

describe('BatchedError', () => {
  test('is an Error with a code and a name', () => {
    const error = new BatchedError('BATCHED_CLOSED', 'it is closed');
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ code: 'BATCHED_CLOSED', message: 'it is closed', name: 'BatchedError' });
    expect(String(error)).toBe('BatchedError: it is closed');
    expect(error.stack).toContain('errors.test');
    expect('cause' in error).toBe(false);
  });

  test('keeps its cause', () => {
    const cause = new Error('deep');
    expect(new BatchedError('BATCHED_BACKEND', 'shallow', { cause }).cause).toBe(cause);
  });

  test('what batched raises has a stack that leads somewhere', async () => {
    const f = dynamically((items: number[]) => items);
    await f.close();
    const error = (await f.acall(1).catch((reason: unknown) => reason)) as BatchedError;
    expect(error.stack).toContain('errors.test');
  });
});

describe('numbers of native code', () => {
  test('every number gives its code', () => {
    codes.forEach((code, i) => expect(fromNative(i + 1, 'text')).toMatchObject({ code, message: 'text' }));
    expect(Object.values(NativeCode)).toEqual([0, ...codes.map((_, i) => i + 1)]);
  });

  test.each([0, 12, -1, 1.5, Number.NaN])('%p, which is no error, becomes a backend error', (number) => {
    expect(fromNative(number, 'text').code).toBe('BATCHED_BACKEND');
  });

  test('are in the order of native/engine/status.h', () => {
    const header = readFileSync(path.join(__dirname, '../../native/engine/status.h'), 'utf8');
    const body = /enum class Code[^{]*\{([^}]*)\}/.exec(header)![1]!;
    const names = [...body.matchAll(/k(\w+)/g)].map(([, name]) => name![0]!.toLowerCase() + name!.slice(1));
    expect(names).toEqual(Object.keys(NativeCode));
  });
});
