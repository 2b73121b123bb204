/** What a figure was measured on. */
import { createRequire } from 'node:module';
import os from 'node:os';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly os: string;
  readonly node: string;
  readonly onnxruntimeNode: string;
  readonly date: string;
  /** Runnable processes of the last minute when the suite began: much above 0 means that others were at work. */
  readonly load: number;
}

export function describeMachine(): Machine {
  const { version } = createRequire(__filename)('onnxruntime-node/package.json') as { version: string };
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    os: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
    onnxruntimeNode: version,
    date: new Date().toISOString(),
    load: Math.round(100 * os.loadavg()[0]!) / 100,
  };
}

export function machineLine(machine: Machine): string {
  const { cpu, cores, memoryGiB, node, onnxruntimeNode, load } = machine;
  return `${cpu}, ${cores} cores, ${memoryGiB} GiB; Node ${node}, onnxruntime-node ${onnxruntimeNode}; load ${load}`;
}
