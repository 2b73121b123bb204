/** Small models of operators whose kernels the emulated GPU knows: Gather, MatMul, Concat, and what pooling adds. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeModel } from '../../scripts/models';
import { floatsToHalves } from '../../scripts/models/float16';
import { GraphBuilder, type OnnxModel } from '../../scripts/models/onnx-builder';
import { Random } from '../../scripts/models/random';

const VOCABULARY = 50;

const folder = mkdtempSync(join(tmpdir(), 'batched-cuda-'));

function save(model: OnnxModel): string {
  const file = join(folder, `${model.name}.onnx`);
  writeFileSync(file, encodeModel(model));
  return file;
}

const uniform = (count: number, name: string): Float32Array => {
  const random = new Random(1, name);
  return Float32Array.from({ length: count }, () => 2 * random.uniform() - 1);
};

/**
 * input_ids, attention_mask [batch, sequence] -> last_hidden_state [batch, sequence, hidden]: an embedding, in which padding is
 * as token 0, then a product. `narrow` values lie between the two.
 */
export function hiddenStates(type: 'float32' | 'float16', narrow = 8, hidden = 6): string {
  const graph = new GraphBuilder(`states-${type}-${narrow}-${hidden}`);
  const tensor = (name: string, dims: [number, number]): string =>
    graph.initializer(name, type, dims, () => {
      const values = uniform(dims[0] * dims[1], name);
      return type === 'float16' ? floatsToHalves(values) : values;
    });
  graph.input('input_ids', 'int64', ['batch', 'sequence']);
  graph.input('attention_mask', 'int64', ['batch', 'sequence']);
  const tokens = graph.node('Mul', 'tokens', ['input_ids', 'attention_mask']);
  const embedded = graph.node('Gather', 'embedded', [tensor('table', [VOCABULARY, narrow]), tokens], { axis: 0 });
  graph.node('MatMul', 'last_hidden_state', [embedded, tensor('weights', [narrow, hidden])]);
  graph.output('last_hidden_state', type, ['batch', 'sequence', hidden]);
  return save(graph.build());
}

/** a [batch, 5], b [batch, 3] -> y [batch, 8], one behind the other: on CUDA a copy from pinned memory in every run. */
export function joined(): string {
  const graph = new GraphBuilder('joined');
  graph.input('a', 'float32', ['batch', 5]);
  graph.input('b', 'float32', ['batch', 3]);
  graph.node('Concat', 'y', ['a', 'b'], { axis: 1 });
  graph.output('y', 'float32', ['batch', 8]);
  return save(graph.build());
}

/** a [batch, 5], b uint8 [batch, 3] -> y [batch, 8]: a, then 2 b, which CUDA has no kernel for. */
export function partlyOnCpu(): string {
  const graph = new GraphBuilder('partly');
  graph.input('a', 'float32', ['batch', 5]);
  graph.input('b', 'uint8', ['batch', 3]);
  const one = graph.initializer('one', 'uint8', [1], () => new Uint8Array([1]));
  const shifted = graph.node('BitShift', 'shifted', ['b', one], { direction: 'LEFT' });
  graph.node('Concat', 'y', ['a', graph.cast('twice', shifted, 'float32')], { axis: 1 });
  graph.output('y', 'float32', ['batch', 8]);
  return save(graph.build());
}
