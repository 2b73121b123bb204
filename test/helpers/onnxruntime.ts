/**
 * What onnxruntime-node gives, one row at a time: the reference for results that came out of a batch. Test files that
 * use it begin with the comment that names onnxruntime-environment.cjs.
 */
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import type { Tensor } from '../../ts';

export interface Reference {
  run(feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
}

/** A session over the model at `path`; the process keeps it. */
export async function openReference(path: string): Promise<Reference> {
  const session = await InferenceSession.create(path, { logSeverityLevel: 4 });
  const ortTensor = ({ type, data, dims }: Tensor): OrtTensor =>
    new OrtTensor(type as 'float32', data as Float32Array, dims);
  return {
    run: async (feeds) => {
      const entries = Object.entries(feeds).map(([name, tensor]) => [name, ortTensor(tensor)] as const);
      return (await session.run(Object.fromEntries(entries))) as unknown as Record<string, Tensor>;
    },
  };
}

/** The greatest difference between two tensors' elements, which are numbers; Infinity where their dims differ. */
export function difference(a: Tensor, b: Tensor): number {
  if (a.dims.join() !== b.dims.join()) return Infinity;
  // Getters, in onnxruntime-common; and looking up a global such as Math is slow under jest.
  const [x, y] = [a.data as Float32Array, b.data as Float32Array];
  let most = 0;
  for (let i = 0; i < x.length; i++) {
    const own = x[i]! - y[i]!;
    if (!(own <= most && -own <= most)) most = own < 0 ? -own : own; // a NaN is no small difference
  }
  return most;
}
