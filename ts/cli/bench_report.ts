/** What `batched bench` measures. */
import type { Figures } from './measure';

/** What is measured at a time. */
export interface Setting {
  /** Null: the model's inputs have one shape. */
  length: number | null;
  batchSize: number;
  clients: number;
}

export type Result = Setting & Figures;

/** What `--json` writes, and a chart shows. */
export interface BenchReport {
  model: string;
  fixedBatch: number;
  provider: string;
  onnxruntime: string;
  machine: { cpu: string; cores: number; platform: string; node: string };
  date: string;
  seconds: number;
  results: Result[];
}
