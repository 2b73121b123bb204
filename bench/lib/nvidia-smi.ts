/** What the driver says of the GPU while something runs. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface GpuSample {
  /** Part of the driver's sampling period, 0 to 1, in which a kernel ran. */
  readonly busy: number;
  readonly memoryMiB: number;
  readonly watts: number;
  readonly clockMHz: number;
}

const query = ['utilization.gpu', 'memory.used', 'power.draw', 'clocks.sm'];
const format = '--format=csv,noheader,nounits';
const periodMs = 200;

function parse(line: string): GpuSample {
  const [busy = NaN, memoryMiB = NaN, watts = NaN, clockMHz = NaN] = line.split(',').map(Number);
  return { busy: busy / 100, memoryMiB, watts, clockMHz };
}

/** Of the first GPU: its name, driver and memory. Undefined: there is no nvidia-smi, or it sees no GPU. */
export function gpuName(): string | undefined {
  const args = ['--id=0', '--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'];
  const { status, stdout } = spawnSync('nvidia-smi', args, { encoding: 'utf8', timeout: 20_000 });
  return status === 0 ? stdout.trim() : undefined;
}

/** Watches the first GPU, from {@link start} to {@link stop}. Without nvidia-smi there are no samples. */
export class GpuWatch {
  readonly #samples: GpuSample[] = [];
  readonly #child: ChildProcess;

  private constructor() {
    const args = ['--id=0', `--query-gpu=${query.join()}`, format, `--loop-ms=${periodMs}`];
    this.#child = spawn('nvidia-smi', args, { stdio: ['ignore', 'pipe', 'ignore'] });
    this.#child.on('error', () => undefined);
    createInterface(this.#child.stdout!).on('line', (line) => this.#samples.push(parse(line)));
  }

  static start(): GpuWatch {
    return new GpuWatch();
  }

  /** How many samples there are: a mark for {@link since}. */
  get mark(): number {
    return this.#samples.length;
  }

  since(mark: number): readonly GpuSample[] {
    return this.#samples.slice(mark);
  }

  stop(): void {
    this.#child.kill();
  }
}
