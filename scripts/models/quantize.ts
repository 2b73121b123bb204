/** Weight matrices as ONNX MatMul wants them: [inputs, outputs], in float or in int8. */

/** PyTorch keeps a linear layer as [outputs, inputs]; MatMul multiplies by its transpose. */
export function transpose(weights: Float32Array, outputs: number, inputs: number): Float32Array {
  const result = new Float32Array(weights.length);
  for (let o = 0; o < outputs; o++) {
    for (let i = 0; i < inputs; i++) result[i * outputs + o] = weights[o * inputs + i]!;
  }
  return result;
}

// Taken out of the global object: in Jest's realms each use of a global costs more than the arithmetic around it.
const { abs, max, min, round } = Math;

/**
 * The largest int8 weight: seven bits. CPUs without VNNI add two uint8 x int8 products in int16, which
 * 2 x 255 x 127 overflows and 2 x 255 x 63 does not. Measured on MiniLM with AVX2: the same mean cosine to
 * fp32 as with 127 (0.993, the activations' rounding decides), and a better worst case (0.987 for 0.983).
 */
const LIMIT = 63;

/** The symmetric int8 scale of each output channel of `weights` [outputs, inputs]. */
export function channelScales(weights: Float32Array, outputs: number, inputs: number): Float32Array {
  const scales = new Float32Array(outputs);
  for (let o = 0; o < outputs; o++) {
    let largest = 0;
    for (let i = o * inputs; i < (o + 1) * inputs; i++) {
      largest = max(largest, abs(weights[i]!));
    }
    scales[o] = largest > 0 ? largest / LIMIT : 1;
  }
  return scales;
}

/** Weights [outputs, inputs] as int8 [inputs, outputs], each output channel divided by its scale. */
export function quantizeTransposed(
  weights: Float32Array,
  outputs: number,
  inputs: number,
  scales: Float32Array,
): Int8Array {
  const result = new Int8Array(weights.length);
  for (let o = 0; o < outputs; o++) {
    const perUnit = 1 / scales[o]!;
    for (let i = 0; i < inputs; i++) {
      const rounded = round(weights[o * inputs + i]! * perUnit);
      result[i * outputs + o] = max(-LIMIT, min(LIMIT, rounded));
    }
  }
  return result;
}

/** Matrices of `rows` rows side by side: each row of the result is the matrices' rows end to end. */
export function joinColumns<T extends Float32Array | Int8Array>(rows: number, matrices: readonly T[]): T {
  const first = matrices[0]!;
  if (matrices.length === 1) return first;
  const total = matrices.reduce((sum, matrix) => sum + matrix.length, 0);
  const result = (first instanceof Int8Array ? new Int8Array(total) : new Float32Array(total)) as T;
  let offset = 0;
  for (let row = 0; row < rows; row++) {
    for (const matrix of matrices) {
      const width = matrix.length / rows;
      result.set(matrix.subarray(row * width, (row + 1) * width), offset);
      offset += width;
    }
  }
  return result;
}
