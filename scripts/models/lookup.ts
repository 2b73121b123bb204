/** The cheapest embedding model there is: what it costs is what everything around a model costs. */
import { GraphBuilder, type OnnxModel } from './onnx-builder';
import { Random } from './random';

export interface LookupOptions {
  /** Rows of the table. Default 30522, BERT's vocabulary (47 MB at 384 columns). */
  readonly vocabulary?: number;
  /** Columns of the table. Default 384. */
  readonly dim?: number;
  readonly seed?: number;
}

export const LOOKUP_DEFAULTS = { vocabulary: 30522, dim: 384, seed: 1 } as const;

/** The table behind `lookup`, row-major, uniform in [-1, 1). */
export function lookupTable(options: LookupOptions = {}): Float32Array {
  const { vocabulary, dim, seed } = { ...LOOKUP_DEFAULTS, ...options };
  const random = new Random(seed, 'lookup');
  return Float32Array.from({ length: vocabulary * dim }, () => 2 * random.uniform() - 1);
}

/** ids int64 [batch, sequence] -> embedding float32 [batch, dim]: the table's row of the first id. */
export function lookup(options: LookupOptions = {}): OnnxModel {
  const { vocabulary, dim } = { ...LOOKUP_DEFAULTS, ...options };
  const graph = new GraphBuilder('lookup', 'embedding = table[ids[:, 0]]');
  graph.input('ids', 'int64', ['batch', 'sequence']);
  const table = graph.initializer('table', 'float32', [vocabulary, dim], () => lookupTable(options));
  const first = graph.node('Gather', 'first', ['ids', graph.int64(0)], { axis: 1 });
  graph.node('Gather', 'embedding', [table, first], { axis: 0 });
  graph.output('embedding', 'float32', ['batch', dim]);
  return graph.build();
}
