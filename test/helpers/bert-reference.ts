/**
 * A BERT forward pass in plain float64 loops, written from the definition and sharing nothing with the graph
 * maker but the weights: what the ONNX models are checked against.
 */
import type { BertConfig, BertWeights } from '../../scripts/models/bert-parts';

type Matrix = number[][]; // [row][column]

/** The sentence embedding of one text. All ids count; there is no padding. */
export function bertReference(config: BertConfig, weights: BertWeights, ids: readonly number[]): number[] {
  const { hiddenSize } = config;
  const vector = (name: string, size: number): number[] => [...weights.floats(name, [size])];
  const matrix = (name: string, rows: number, columns: number): Matrix => {
    const flat = weights.floats(name, [rows, columns]);
    return Array.from({ length: rows }, (_, row) => [...flat.subarray(row * columns, (row + 1) * columns)]);
  };
  const linear = (x: Matrix, name: string, inputs: number, outputs: number): Matrix => {
    const w = matrix(`${name}.weight`, outputs, inputs);
    const b = vector(`${name}.bias`, outputs);
    return x.map((row) => w.map((column, o) => dot(row, column) + b[o]!));
  };
  const norm = (x: Matrix, name: string): Matrix => {
    const gain = vector(`${name}.weight`, hiddenSize);
    const shift = vector(`${name}.bias`, hiddenSize);
    return x.map((row) => {
      const mean = total(row) / hiddenSize;
      const variance = total(row.map((v) => (v - mean) ** 2)) / hiddenSize;
      return row.map((v, i) => ((v - mean) / Math.sqrt(variance + config.layerNormEpsilon)) * gain[i]! + shift[i]!);
    });
  };

  const words = matrix('embeddings.word_embeddings.weight', config.vocabularySize, hiddenSize);
  const positions = matrix('embeddings.position_embeddings.weight', config.maxPositions, hiddenSize);
  const types = matrix('embeddings.token_type_embeddings.weight', config.tokenTypes, hiddenSize);
  let x = ids.map((id, position) => add(add(words[id]!, positions[position]!), types[0]!));
  x = norm(x, 'embeddings.LayerNorm');
  for (let layer = 0; layer < config.layers; layer++) {
    const name = `encoder.layer.${layer}`;
    const [q, k, v] = ['query', 'key', 'value'].map((part) =>
      linear(x, `${name}.attention.self.${part}`, hiddenSize, hiddenSize),
    ) as [Matrix, Matrix, Matrix];
    const context = attention(q, k, v, config.heads);
    const projected = linear(context, `${name}.attention.output.dense`, hiddenSize, hiddenSize);
    const attended = norm(sumOf(projected, x), `${name}.attention.output.LayerNorm`);
    const wide = linear(attended, `${name}.intermediate.dense`, hiddenSize, config.intermediateSize);
    const active = wide.map((row) => row.map((value) => 0.5 * value * (1 + erf(value / Math.SQRT2))));
    const narrow = linear(active, `${name}.output.dense`, config.intermediateSize, hiddenSize);
    x = norm(sumOf(narrow, attended), `${name}.output.LayerNorm`);
  }
  const mean = x[0]!.map((_, i) => total(x.map((row) => row[i]!)) / x.length);
  const length = Math.sqrt(dot(mean, mean));
  return mean.map((value) => value / length);
}

function attention(q: Matrix, k: Matrix, v: Matrix, heads: number): Matrix {
  const size = q[0]!.length / heads;
  const result = q.map((row) => row.map(() => 0));
  for (let head = 0; head < heads; head++) {
    const part = (row: readonly number[]): number[] => row.slice(head * size, (head + 1) * size);
    for (let i = 0; i < q.length; i++) {
      const scores = k.map((key) => dot(part(q[i]!), part(key)) / Math.sqrt(size));
      const highest = Math.max(...scores);
      const exponentials = scores.map((score) => Math.exp(score - highest));
      const sum = total(exponentials);
      for (let d = 0; d < size; d++) {
        result[i]![head * size + d] = total(v.map((value, j) => (exponentials[j]! / sum) * value[head * size + d]!));
      }
    }
  }
  return result;
}

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
const dot = (a: readonly number[], b: readonly number[]): number => total(a.map((value, i) => value * b[i]!));
const add = (a: readonly number[], b: readonly number[]): number[] => a.map((value, i) => value + b[i]!);
const sumOf = (a: Matrix, b: Matrix): Matrix => a.map((row, i) => add(row, b[i]!));

/** 2 / sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!: all terms of one sign, so nothing cancels. */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}
