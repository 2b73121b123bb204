/** What a figure was measured on. */
import { createRequire } from 'node:module';
import os from 'node:os';
import { gpuName } from './nvidia-smi';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly os: string;
  readonly node: string;
  /** Undefined where it is not installed, as on a machine that a bundle was brought to. */
  readonly onnxruntimeNode: string | undefined;
  /** Name, driver and memory, where there is one that its driver knows. */
  readonly gpu?: string;
  readonly date: string;
  /** Runnable processes of the last minute when the suite began: much above 0 means that others were at work. */
  readonly load: number;
}

export function describeMachine(): Machine {
  const gpu = gpuName();
  return {
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    os: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
    onnxruntimeNode: installedVersion('onnxruntime-node'),
    ...(gpu === undefined ? {} : { gpu }),
    date: new Date().toISOString(),
    load: Math.round(100 * os.loadavg()[0]!) / 100,
  };
}

function installedVersion(name: string): string | undefined {
  try {
    return (createRequire(__filename)(`${name}/package.json`) as { version: string }).version;
  } catch {
    return undefined;
  }
}

export function machineLine(machine: Machine): string {
  const { cpu, cores, memoryGiB, node, onnxruntimeNode, gpu, load } = machine;
  const beside = [onnxruntimeNode && `onnxruntime-node ${onnxruntimeNode}`, gpu]
    .filter(Boolean)
    .map((part) => `, ${part}`);
  return `${cpu}, ${cores} cores, ${memoryGiB} GiB; Node ${node}${beside.join('')}; load ${load}`;
}
