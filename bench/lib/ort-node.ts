/** onnxruntime-node as its users call it. */
import './batched'; // telemetry off, and one core library for both
import * as ort from 'onnxruntime-node';
import type { Encoded } from '../../scripts/data/tokenize';

export type Feeds = Record<string, ort.Tensor>;

export { ort };

/** The tensors of one text for MiniLM. */
export function feedsOf(text: Encoded): Feeds {
  const dims = [1, text.length];
  return {
    input_ids: new ort.Tensor('int64', text.inputIds, dims),
    attention_mask: new ort.Tensor('int64', text.attentionMask, dims),
    token_type_ids: new ort.Tensor('int64', text.tokenTypeIds, dims),
  };
}
