/**
 * Tiny models, each for one oddity that an engine must handle. Every output value depends on the row it
 * belongs to, so a result that reaches the wrong caller shows.
 */
import { GraphBuilder, type ElementType, type OnnxModel } from './onnx-builder';

/** x [batch, sequence] -> y [batch, sequence], the same values. */
export function echo(type: ElementType): OnnxModel {
  const graph = new GraphBuilder(`echo-${type}`, 'y = x');
  graph.input('x', type, ['batch', 'sequence']);
  graph.node('Identity', 'y', ['x']);
  graph.output('y', type, ['batch', 'sequence']);
  return graph.build();
}

/** Two outputs, one without the padded axis: total [batch] = sum of the row, running = 2 x. */
export function sum(): OnnxModel {
  const graph = new GraphBuilder('sum', 'total = sum(x, 1), running = 2 x');
  graph.input('x', 'float32', ['batch', 'sequence']);
  graph.node('ReduceSum', 'total', ['x', graph.int64([1])], { keepdims: 0 });
  graph.node('Mul', 'running', ['x', graph.scalar(2, 'float32')]);
  graph.output('total', 'float32', ['batch']);
  graph.output('running', 'float32', ['batch', 'sequence']);
  return graph.build();
}

/** x float32 `dims` -> y = 2 x. */
function doubling(name: string, dims: readonly (number | string)[]): OnnxModel {
  const graph = new GraphBuilder(name, 'y = 2 x');
  graph.input('x', 'float32', dims);
  graph.node('Mul', 'y', ['x', graph.scalar(2, 'float32')]);
  graph.output('y', 'float32', dims);
  return graph.build();
}

/** A model exported for one row only: x [1, 4] -> y = 2 x. */
export const fixedBatch = (): OnnxModel => doubling('fixed-batch', [1, 4]);

/** No batch axis at all: x [3, 4] -> y = 2 x. */
export const noBatch = (): OnnxModel => doubling('no-batch', [3, 4]);

/** Rows that are scalars: x [batch] -> y = 2 x. */
export const scalarRows = (): OnnxModel => doubling('scalar-rows', ['batch']);

/**
 * As recurrent speech models have it: the state's batch is axis 1, and sr is one scalar for all rows.
 * x [batch, 4], state [2, batch, 3], sr int64 scalar -> y = x + sum(state of the row) + sr,
 * stateN = state / 2 + sum(x of the row).
 */
export function state(): OnnxModel {
  const graph = new GraphBuilder('state', 'y = x + sum(state) + sr, stateN = state / 2 + sum(x)');
  graph.input('x', 'float32', ['batch', 4]);
  graph.input('state', 'float32', [2, 'batch', 3]);
  graph.input('sr', 'int64', []);
  const rate = graph.cast('rate', 'sr', 'float32');
  const sums = graph.node('ReduceSum', 'state_sums', ['state', graph.int64([0, 2])], { keepdims: 0 });
  const column = graph.node('Unsqueeze', 'state_column', [sums, graph.int64([1])]);
  const shifted = graph.node('Add', 'shifted', ['x', column]);
  graph.node('Add', 'y', [shifted, rate]);
  const rowSums = graph.node('ReduceSum', 'x_sums', ['x', graph.int64([1])], { keepdims: 1 });
  const halved = graph.node('Mul', 'halved', ['state', graph.scalar(0.5, 'float32')]);
  graph.node('Add', 'stateN', [halved, rowSums]);
  graph.output('y', 'float32', ['batch', 4]);
  graph.output('stateN', 'float32', [2, 'batch', 3]);
  return graph.build();
}

/** Two ragged axes of different names: a [batch, m], b [batch, n, 3] -> sums [batch, 2]. */
export function twoInputs(): OnnxModel {
  const graph = new GraphBuilder('two-inputs', 'sums = [sum(a), sum(b)]');
  graph.input('a', 'float32', ['batch', 'm']);
  graph.input('b', 'float32', ['batch', 'n', 3]);
  const ofA = graph.node('ReduceSum', 'sum_a', ['a', graph.int64([1])], { keepdims: 1 });
  const flat = graph.node('ReduceSum', 'sum_b_columns', ['b', graph.int64([2])], { keepdims: 0 });
  const ofB = graph.node('ReduceSum', 'sum_b', [flat, graph.int64([1])], { keepdims: 1 });
  graph.node('Concat', 'sums', [ofA, ofB], { axis: 1 });
  graph.output('sums', 'float32', ['batch', 2]);
  return graph.build();
}

export const GATHER_ROWS = 10;
export const GATHER_COLUMNS = 4;

/** ids int64 [batch, sequence] -> y [batch, sequence, 4] = 10 id + column. An id outside [-10, 9] fails the run on CPU. */
export function gather(): OnnxModel {
  const graph = new GraphBuilder('gather', 'y[..., j] = 10 ids + j');
  graph.input('ids', 'int64', ['batch', 'sequence']);
  const table = graph.initializer('table', 'float32', [GATHER_ROWS, GATHER_COLUMNS], () =>
    Float32Array.from(
      { length: GATHER_ROWS * GATHER_COLUMNS },
      (_, i) => 10 * Math.floor(i / GATHER_COLUMNS) + (i % GATHER_COLUMNS),
    ),
  );
  graph.node('Gather', 'y', [table, 'ids'], { axis: 0 });
  graph.output('y', 'float32', ['batch', 'sequence', GATHER_COLUMNS]);
  return graph.build();
}

export interface BusyOptions {
  /** Matrix products in a row. Default 16. */
  readonly matmuls?: number;
  /** Side of the square matrix. Default 256: 0.13 MFLOP for each row and product. */
  readonly width?: number;
  /** Rows of the products: 'batch', so that time grows with the batch (default), or a number for a constant time. */
  readonly rows?: number | 'batch';
}

export const BUSY_DEFAULTS = { matmuls: 16, width: 256, rows: 'batch' } as const;

/**
 * x [batch, sequence] -> y = x, after a known amount of work: 64 products of 64 rows take about 7 ms on one AVX2
 * core, 64 products of 512 columns and 256 rows about 90 ms. The products multiply by a cyclic
 * permutation, so they are exact and can be repeated for ever; the result's difference from its own
 * start, 0, is added to x, so that no optimizer can drop them. With `rows` a number, a NaN or infinity in
 * one row spoils the whole batch.
 */
export function busy(options: BusyOptions = {}): OnnxModel {
  const { matmuls, width, rows } = { ...BUSY_DEFAULTS, ...options };
  const graph = new GraphBuilder(`busy-${matmuls}x${width}-${rows}`, 'y = x, slowly');
  graph.input('x', 'float32', ['batch', 'sequence']);
  const rotation = graph.initializer('rotation', 'float32', [width, width], () => {
    const matrix = new Float32Array(width * width);
    for (let i = 0; i < width; i++) matrix[i * width + ((i + 1) % width)] = 1;
    return matrix;
  });
  const axes = rows === 'batch' ? [1] : [0, 1];
  const mean = graph.node('ReduceMean', 'mean', ['x'], { axes, keepdims: 1 });
  const height = rows === 'batch' ? 1 : rows;
  const ones = graph.initializer('ones', 'float32', [height, width], () => new Float32Array(height * width).fill(1));
  let state = graph.node('Mul', 'state_0', [mean, ones]);
  for (let i = 1; i <= matmuls; i++) {
    state = graph.node('MatMul', `state_${i}`, [state, rotation]);
  }
  const range = [graph.int64([0]), graph.int64([1])];
  let column = graph.node('Slice', 'column', [state, ...range, graph.int64([1])]);
  if (rows !== 'batch') column = graph.node('Slice', 'corner', [column, ...range, graph.int64([0])]);
  const nothing = graph.node('Sub', 'nothing', [column, mean]);
  graph.node('Add', 'y', ['x', nothing]);
  graph.output('y', 'float32', ['batch', 'sequence']);
  return graph.build();
}
