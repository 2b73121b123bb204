/** Inference over user functions, the way back: outputs of batches become those of calls, rows cut and stacked again. */
import { BatchedError } from '../errors';
import { tensorOf } from './function_features';
import type { PaddingSide } from '../options';
import { copyOf, type PackRow, packRows } from './pack_rows';
import { describe, isTensor, type Tensor, typeNumber } from '../tensor';

/** What a user function may return: a tensor, a list of tensors, or a record of tensors; axis 0 is the batch. */
export type FunctionOutput = Tensor | readonly Tensor[] | Readonly<Record<string, Tensor>>;

/** An axis of an output of a batch, and how much of it belongs to each row. */
export interface Cut {
  readonly output: number;
  readonly axis: number;
  readonly lengths: readonly number[];
}

/** One row of a batch's output. */
export interface OutputRow {
  outputs: BatchOutputs;
  cuts: readonly Cut[];
  row: number;
}

/** The outputs of a batch in one form, whichever the function used. */
export interface BatchOutputs {
  tensors: readonly Tensor[];
  shape: 'tensor' | 'list' | readonly string[];
}

/** Checks what the function returned and gives it one form. */
export function batchOutputs(name: string, output: unknown, rows: number): BatchOutputs {
  const mismatch = (message: string): BatchedError =>
    new BatchedError('BATCHED_OUTPUT_MISMATCH', `${name}: ${message}`);
  let shape: BatchOutputs['shape'];
  let values: unknown[];
  if (isTensor(output) || ArrayBuffer.isView(output)) {
    shape = 'tensor';
    values = [output];
  } else if (Array.isArray(output)) {
    shape = 'list';
    values = output;
  } else if (typeof output === 'object' && output !== null) {
    shape = Object.keys(output);
    values = Object.values(output);
  } else {
    throw mismatch(`the batch function must return a tensor, a list or a record of tensors, got ${describe(output)}`);
  }
  if (values.length === 0) throw mismatch('the batch function returned no tensor');
  const tensors = values.map((value, i) => {
    const label = typeof shape === 'string' ? `output ${i}` : shape[i]!;
    let tensor: Tensor;
    try {
      tensor = tensorOf(label, value);
    } catch (error) {
      throw mismatch(`output ${(error as Error).message}`);
    }
    if (tensor.dims[0] !== rows) {
      throw mismatch(`the batch function was given ${rows} rows and returned ${tensor.dims[0]!} in ${label}`);
    }
    return tensor;
  });
  // The function may use its memory again for the next batch, before callers have got their rows of this one.
  return { tensors: tensors.map(copyOf), shape };
}

/** What the function returned for the batches of one call must fit together. */
function checkAlike(name: string, rows: readonly OutputRow[]): void {
  const first = rows[0]!.outputs;
  for (const { outputs } of rows) {
    if (outputs === first) continue;
    const alike =
      String(outputs.shape) === String(first.shape) &&
      outputs.tensors.length === first.tensors.length &&
      outputs.tensors.every(({ type, dims }, i) => {
        const other = first.tensors[i]!;
        return type === other.type && dims.length === other.dims.length;
      });
    if (!alike) {
      const message = `${name}: the batches of a call gave outputs that differ in number, names, type or rank`;
      throw new BatchedError('BATCHED_OUTPUT_MISMATCH', message);
    }
  }
}

/** The dims of what belongs to a row. */
function ownDims({ outputs, cuts, row }: OutputRow, output: number): number[] {
  const own = outputs.tensors[output]!.dims.slice(1);
  for (const cut of cuts) if (cut.output === output) own[cut.axis - 1] = cut.lengths[row]!;
  return own;
}

/**
 * The outputs of a call's rows, in the form its function returned them. Rows are cut, and padded again with zeros where
 * they are stacked, on the side that features are padded on: what comes last in a row stays last.
 */
export function callOutput(
  name: string,
  rows: readonly OutputRow[],
  stack: boolean,
  side: PaddingSide,
): FunctionOutput | FunctionOutput[] {
  if (!stack) return rows.map((row) => callOutput(name, [row], true, side) as FunctionOutput);
  const { tensors, shape } = rows[0]!.outputs;
  checkAlike(name, rows);
  const stacked = tensors.map((tensor, output) => {
    const packed = rows.map((row): PackRow => {
      return { tensor: row.outputs.tensors[output]!, place: row.row, own: ownDims(row, output) };
    });
    return packRows(typeNumber(tensor.type)!, packed, side, 0);
  });
  if (shape === 'tensor') return stacked[0]!;
  if (shape === 'list') return stacked;
  return Object.fromEntries(shape.map((name, i) => [name, stacked[i]!]));
}
