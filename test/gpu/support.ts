/**
 * What the GPU tests share. They run on Node's own test runner, so that a machine without npm can run them, against the
 * built package, on the provider that BATCHED_TEST_PROVIDER names: `cuda`, or `cpu` (the default), which tests the tests.
 */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after } from 'node:test';
import { encodedOf } from '../../scripts/data/token-file';
import { ensureTexts } from '../../scripts/data/token-texts';
import type { Encoded } from '../../scripts/data/tokenize';
import { Random } from '../../scripts/models/random';
import type * as batched from '../../ts/index';
import { distance } from '../helpers/distance';

const packaged = createRequire(__filename)('../../dist/index.js') as typeof batched;

export const { BatchedError } = packaged;
export type Model = batched.BatchedModel;
export type Tensor = batched.Tensor;

function readProvider(): 'cpu' | 'cuda' {
  const provider = process.env['BATCHED_TEST_PROVIDER'] ?? 'cpu';
  if (provider === 'cpu' || provider === 'cuda') return provider;
  throw new RangeError(`BATCHED_TEST_PROVIDER is cpu or cuda, not ${provider}`);
}

export const provider = readProvider();
export const onGpu = provider === 'cuda';

/** Options that only CUDA has. */
export interface CudaOptions {
  readonly deviceId?: number | number[];
  readonly cudaGraphs?: boolean;
  readonly gpuMemLimit?: number;
}

// First: the reference's model, for the CPU, would take whichever core, and a process has room for one.
if (onGpu) packaged.loadLibrary();

const opened: Model[] = [];

/** A model on the provider under test, warmed up on a GPU only. On CPU `cuda` has no say. */
export async function load(path: string, options: batched.LoadOptions = {}, cuda: CudaOptions = {}): Promise<Model> {
  const own = { executionProviders: [provider] as const, warmup: onGpu };
  const model = await packaged.inference.load(path, { ...own, ...options, ...(onGpu ? cuda : {}) });
  assert.equal(model.stats.provider, provider);
  return model;
}

/** The same, closed when the file's tests have ended. */
export async function open(...how: Parameters<typeof load>): Promise<Model> {
  const model = await load(...how);
  opened.push(model);
  return model;
}

/** The reference: one row at a time on the CPU, whatever the provider under test is. */
export async function openReference(path: string): Promise<Model> {
  const model = await packaged.inference.load(path, { executionProviders: ['cpu'], batchSize: 1, warmup: false });
  opened.push(model);
  return model;
}

after(() => Promise.all(opened.splice(0).map((model) => model.close({ drain: false }))));

export const featuresOf = ({ inputIds, attentionMask, tokenTypeIds }: Encoded): batched.Features => ({
  input_ids: inputIds,
  attention_mask: attentionMask,
  token_type_ids: tokenTypeIds,
});

/** The only output's elements. */
export async function embed(model: Model, text: Encoded): Promise<Float32Array> {
  return ((await model.acall(featuresOf(text))) as Tensor).data as Float32Array;
}

export function worst(found: readonly Float32Array[], wanted: readonly Float32Array[]): number {
  assert.equal(found.length, wanted.length);
  return Math.max(...found.map((vector, i) => distance(vector, wanted[i]!)));
}

/** Texts for a model of `vocabulary` words, of 1 to `longest` tokens, most of them short. */
export function madeUpTexts(count: number, longest: number, vocabulary: number, seed = 1): Encoded[] {
  const random = new Random(seed, 'gpu tests');
  return Array.from({ length: count }, () => {
    const length = 1 + Math.floor(longest * random.uniform() ** 3);
    return encodedOf(BigInt64Array.from({ length }, () => BigInt(random.below(vocabulary))));
  });
}

/** WordNet's glosses, every eighth with its followers joined on until it is up to 512 tokens long. */
export async function realTexts(count: number): Promise<Encoded[]> {
  const random = new Random(1, 'real texts');
  const glosses = (await ensureTexts('glosses')).map(({ inputIds }) => inputIds);
  return Array.from({ length: count }, (_, i) => {
    if (i % 8 !== 0) return encodedOf(glosses[i]!);
    const ids = glosses.slice(i, i + 40).flatMap((gloss) => [...gloss]);
    return encodedOf(BigInt64Array.from(ids.slice(0, 16 + random.below(497))));
  });
}

/** Nothing waits, and every admitted row has ended in exactly one way. */
export function assertAccounted({ stats }: Model): void {
  const { totalProcessed, failed, cancelled, timedOut, closed, admitted } = stats;
  assert.equal(stats.queueSize, 0);
  assert.equal(totalProcessed + failed + cancelled + timedOut + closed, admitted);
}

/** Turns of the event loop until `condition` holds. Fails by the test's own deadline. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
