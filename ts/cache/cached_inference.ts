/** Caches of inference: by row. A row's entry is its outputs, at its own length; only the rows that miss run. */
import type { CacheOptions } from './cache';
import { itemKey } from './cache_key';
import { CachedBatcher } from './cached_batcher';
import type { Batcher } from '../callable';
import { BatchedError } from '../errors';
import { FeatureRows, moveBatch, product, type Row } from './feature_rows';
import type { Features } from '../model/features';
import { batchOutputs, callOutput, type FunctionOutput } from '../function/function_outputs';
import { packRows } from '../function/pack_rows';
import type { ModelCallOptions, Output } from '../model/model_batcher';
import type { NativeSignature, NativeTensorSpec } from '../native';
import type { BatchOptions, PaddingSide } from '../options';
import type { BatchStats } from '../stats';
import { describe, isTensor, type Tensor, typeNumber } from '../tensor';

/** Both ways to call; with `stack: false` they give an array. */
export interface InferenceCalls<O> {
  readonly acall: (features: Features, options?: ModelCallOptions) => Promise<O | O[]>;
  readonly call: (features: Features, options?: ModelCallOptions) => O | O[];
}

/** What functions and models differ in. */
interface RowKind<O> {
  /** Undefined for what cannot be cut. */
  cut(features: Features): FeatureRows | undefined;
  /** Throws for what cannot be the outputs of a row. */
  readonly check: (outputs: O) => void;
  /** The outputs of several rows as those of one call. */
  stack(outputs: readonly O[]): O;
}

export function functionRows(name: string, side: PaddingSide): RowKind<FunctionOutput> {
  const rowOf = (output: FunctionOutput) => ({ outputs: batchOutputs(name, output, 1), cuts: [], row: 0 });
  return {
    cut: (features) => FeatureRows.forFunction(features),
    check: rowOf,
    stack: (outputs) => callOutput(name, outputs.map(rowOf), true, side) as FunctionOutput,
  };
}

export function modelRows({ inputs, outputs: specs }: NativeSignature, side: PaddingSide): RowKind<Output> {
  const partsOf = (output: Output): Tensor[] =>
    specs.length === 1 ? [output as Tensor] : specs.map(({ name }) => (output as Record<string, Tensor>)[name]!);
  return {
    cut: (features) => FeatureRows.forModel(features, inputs),
    check: (output) => partsOf(output).forEach((part, i) => checkPart(part, specs[i]!)),
    stack: (outputs) => {
      const rows = outputs.map(partsOf);
      const stacked = specs.map((spec, i) =>
        stackParts(
          rows.map((parts) => parts[i]!),
          spec.batchAxis,
          side,
        ),
      );
      return specs.length === 1 ? stacked[0]! : Object.fromEntries(specs.map(({ name }, i) => [name, stacked[i]!]));
    },
  };
}

function checkPart(part: unknown, { name, type, dims, batchAxis }: NativeTensorSpec): void {
  const sound =
    isTensor(part) &&
    part.type === type &&
    part.dims.length === dims.length &&
    part.dims[batchAxis] === 1 &&
    ArrayBuffer.isView(part.data) &&
    (part.data as Float32Array).length === product(part.dims);
  if (sound) return;
  throw new BatchedError('BATCHED_OUTPUT_MISMATCH', `the cache gave ${describe(part)} for output '${name}' of a row`);
}

/** Single rows, padded with zeros where they differ in length. */
function stackParts(parts: readonly Tensor[], batchAxis: number, side: PaddingSide): Tensor {
  const rows = parts.map(({ type, dims, data }) => {
    const own = dims.toSpliced(batchAxis, 1);
    return { tensor: { type, dims: [1, ...own], data }, place: 0, own };
  });
  return moveBatch(packRows(typeNumber(parts[0]!.type)!, rows, side, 0), batchAxis);
}

/** The layer above `plain`, which runs rows, and `below`, the batcher of both. */
export function cachedInference<O, Stats extends BatchStats>(
  plain: InferenceCalls<O>,
  below: Batcher<Stats>,
  kind: RowKind<O>,
  options: BatchOptions & CacheOptions<Features>,
  name: string,
): { calls: InferenceCalls<O>; batcher: CachedBatcher<Row, O, Stats> } {
  const runner = {
    acall: async (row: Row, callOptions: ModelCallOptions) => (await plain.acall(row.features, callOptions)) as O,
    call: (rows: Row[]) => plain.call(rows[0]!.of.pick(rows.map(({ row }) => row)), { stack: false }) as O[],
  };
  const keyOf = options.cacheKey ?? itemKey;
  const cacheKey = (row: Row): unknown => keyOf(row.features);
  const batcher = new CachedBatcher(runner, below, { ...options, cacheKey }, name, kind.check);
  const together = (outputs: O[], callOptions: ModelCallOptions | undefined): O | O[] => {
    if (callOptions?.stack === false) return outputs;
    return outputs.length === 1 ? outputs[0]! : kind.stack(outputs);
  };
  const calls: InferenceCalls<O> = {
    async acall(features, callOptions) {
      const rows = kind.cut(features);
      if (rows === undefined) return plain.acall(features, callOptions);
      return together(await batcher.acallAll(rows.all(), callOptions), callOptions);
    },
    call(features, callOptions) {
      const rows = kind.cut(features);
      if (rows === undefined) return plain.call(features, callOptions);
      return together(batcher.callAll(rows.all(), callOptions), callOptions);
    },
  };
  return { calls, batcher };
}
