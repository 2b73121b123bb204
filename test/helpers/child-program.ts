/** Runs a program of test/teardown/programs in a process of its own, which must end in time. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const programs = join(__dirname, '..', 'teardown', 'programs');

/** Far beyond what any program takes, so that only a hang meets it. */
const HANG_MS = 20_000;

export interface Ended {
  /** Null if a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly node?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** For programs that load what takes longer. */
  readonly hangMs?: number;
}

/** Relative to test/teardown/programs. Rejects with a diagnostic if the program hangs; how else it ended is for the test to judge. */
export function runProgram(name: string, args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...(options.node ?? []), join(programs, name), ...args], {
      env: { ...process.env, NODE_OPTIONS: '', ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (text: string) => (output[stream] += text));
    }
    const hang = setTimeout(() => {
      const threads = threadsOf(child.pid!);
      child.kill('SIGKILL');
      const { stdout, stderr } = output;
      reject(
        new Error(`${name} ${args.join(' ')} hangs\nthreads:\n${threads}\nstdout:\n${stdout}\nstderr:\n${stderr}`),
      );
    }, options.hangMs ?? HANG_MS);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(hang);
      resolve({ code, signal, ...output });
    });
  });
}

/** Name, state and place in the kernel of each thread, where the system tells. */
function threadsOf(pid: number): string {
  try {
    return readdirSync(`/proc/${pid}/task`)
      .map((task) => {
        const read = (file: string): string => readFileSync(`/proc/${pid}/task/${task}/${file}`, 'utf8').trim();
        const state = /^State:\s*(.*)$/m.exec(read('status'))?.[1] ?? '?';
        return `  ${task} ${read('comm')}: ${state}, ${read('wchan')}`;
      })
      .join('\n');
  } catch {
    return '  (unknown)';
  }
}
