/** What the tests of models share: opening made models, and looking closely at how a call was refused. */
import { expect } from '@jest/globals';
import {
  BatchedError,
  type BatchedErrorCode,
  type BatchedModel,
  inference,
  type LoadOptions,
  type ModelStats,
} from '../../ts';
import type { Output, Tensor } from '../../ts';
import { ensureModel, type ModelSpec } from '../../scripts/models/index';

const opened: BatchedModel[] = [];

/**
 * A model, made or at a path, that closeAll() closes. Without warm-up: stats begin at nothing either way, and tests
 * load many models.
 */
export async function open(spec: ModelSpec | string, options: LoadOptions = {}): Promise<BatchedModel> {
  const path = typeof spec === 'string' ? spec : await ensureModel(spec);
  const model = await inference.load(path, { warmup: false, ...options });
  opened.push(model);
  return model;
}

/** For afterAll. */
export async function closeAll(): Promise<void> {
  await Promise.all(opened.splice(0).map((model) => model.close({ drain: false })));
}

const classes = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  bool: Uint8Array,
} as const;

/** A tensor of a type whose elements are numbers. */
export function tensor(type: keyof typeof classes, dims: number[], data: Iterable<number>): Tensor {
  return { type, dims, data: classes[type].from(data) };
}

export const floats = (dims: number[], data: Iterable<number>): Tensor => tensor('float32', dims, data);

export function int64(dims: number[], data: readonly (number | bigint)[]): Tensor {
  return { type: 'int64', dims, data: BigInt64Array.from(data, BigInt) };
}

/** The only output, which is then a tensor. */
export function one(output: Output): Tensor {
  expect(output).toHaveProperty('dims');
  return output as Tensor;
}

export const values = (output: Output): (number | bigint)[] => [...(one(output).data as Iterable<number | bigint>)];

export const record = (output: Output): Record<string, Tensor> => output as Record<string, Tensor>;

/** Type, dims and plain elements, for toEqual. */
export function plain({ type, dims, data }: Tensor): { type: string; dims: number[]; data: unknown[] } {
  return { type, dims: [...dims], data: [...(data as Iterable<number | bigint>)] };
}

/** The error that a call ends with; fails if it does not. */
export async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  const result = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if ('value' in result) throw new Error(`was not refused but gave ${String(result.value)}`);
  return result.error as Error;
}

export async function expectRefusal(promise: Promise<unknown>, code: BatchedErrorCode, says: RegExp): Promise<void> {
  const error = await rejection(promise);
  expect(error.message).toMatch(says);
  expect(error).toBeInstanceOf(BatchedError);
  expect(error.code).toBe(code);
}

/** The same for something that throws. */
export function expectThrow(call: () => unknown, code: BatchedErrorCode, says: RegExp): void {
  let thrown: unknown;
  try {
    call();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(BatchedError);
  expect((thrown as BatchedError).message).toMatch(says);
  expect((thrown as BatchedError).code).toBe(code);
}

/** Nothing waits, and every admitted row has ended in exactly one way. */
export function expectAccounted(stats: ModelStats): void {
  const { totalProcessed, failed, cancelled, timedOut, closed, admitted } = stats;
  expect(stats.queueSize).toBe(0);
  expect(totalProcessed + failed + cancelled + timedOut + closed).toBe(admitted);
}

/** Rows in batches, from the histogram. */
export function rowsInBatches({ batchSizes }: ModelStats): number {
  return Object.entries(batchSizes).reduce((sum, [rows, count]) => sum + Number(rows) * count, 0);
}

/** Turns of the event loop until `condition` holds. Fails by the test's own deadline. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
