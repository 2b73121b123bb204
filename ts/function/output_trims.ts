/** `trimOutputs`: which axes of a user function's outputs follow a padded feature, to be cut back to each row's own length. */
import { BatchedError } from '../errors';
import { type CallFeatures, type FeatureRow, rowDims } from './function_features';
import type { BatchOutputs, Cut } from './function_outputs';
import { describe, invalidInput } from '../tensor';

/** By output, by axis: the feature whose length the axis has. */
export type TrimOutputs = Readonly<Record<string, Readonly<Record<number, string>>>>;

interface Trim {
  readonly output: string;
  readonly axis: number;
  readonly feature: string;
}

/** Tensors have at most 8 axes. */
const isRowAxis = (axis: string): boolean => /^[1-7]$/.test(axis);

export class OutputTrims {
  readonly #trims: readonly Trim[];

  /** Throws for an option that is wrong by itself. */
  constructor(where: string, option: TrimOutputs = {}) {
    const wrong = (Class: typeof TypeError | typeof RangeError, message: string): never => {
      throw new Class(`${where}: option 'trimOutputs' ${message}`);
    };
    this.#trims = Object.entries<unknown>(option).flatMap(([output, axes]) => {
      if (typeof axes !== 'object' || axes === null || Array.isArray(axes)) {
        wrong(TypeError, `must have features by axis for '${output}', such as { 1: 'ids' }, got ${describe(axes)}`);
      }
      return Object.entries(axes as object).map(([axis, feature]: [string, unknown]) => {
        if (!isRowAxis(axis)) wrong(RangeError, `has '${axis}' for '${output}': axes are 1 to 7, axis 0 is the batch`);
        if (typeof feature !== 'string') {
          wrong(TypeError, `must name a feature for axis ${axis} of '${output}', got ${describe(feature)}`);
        }
        return { output, axis: Number(axis), feature: feature as string };
      });
    });
  }

  /** Refuses a call without the features that the option names. */
  checkCall(names: CallFeatures['names'], sources: CallFeatures['sources']): void {
    for (const { output, feature } of this.#trims) {
      const source = sources[names.indexOf(feature)];
      if (source === undefined) {
        throw invalidInput(
          `'${feature}', whose length trimOutputs gives '${output}', is not among ${names.join(', ')}`,
        );
      }
      if (source.tensors[0]!.dims.length < 2) {
        throw invalidInput(`'${feature}', whose length trimOutputs gives '${output}', has one scalar per row`);
      }
    }
  }

  /** By trim, by row: how long the rows of a batch are. Asked before the function runs, which may do much in between. */
  lengthsOf(rows: readonly FeatureRow[]): number[][] {
    const { names } = rows[0]!.call;
    return this.#trims.map(({ feature }) => {
      const index = names.indexOf(feature);
      return rows.map(({ call, row }) => rowDims(call.sources[index]!, row)[0]!);
    });
  }

  /** Finds the axes in what the function returned: each must be there, and as long as its feature was padded to. */
  cuts(name: string, { tensors, shape }: BatchOutputs, lengths: readonly (readonly number[])[]): Cut[] {
    const mismatch = (message: string): never => {
      throw new BatchedError('BATCHED_OUTPUT_MISMATCH', `${name}: ${message}`);
    };
    const names = typeof shape === 'string' ? tensors.map((_, i) => String(i)) : shape;
    return this.#trims.map(({ output, axis, feature }, i): Cut => {
      const index = names.indexOf(output);
      if (index < 0) mismatch(`trimOutputs has '${output}', the batch function returned ${names.join(', ')}`);
      const { dims } = tensors[index]!;
      const padded = lengths[i]!.reduce((most, length) => Math.max(most, length));
      if (dims[axis] !== padded) {
        mismatch(
          `trimOutputs has axis ${axis} of '${output}', whose dims are [${dims.join(', ')}], ` +
            `but '${feature}' was padded to ${padded}`,
        );
      }
      return { output: index, axis, lengths: lengths[i]! };
    });
  }
}
