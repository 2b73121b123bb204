/** The raw loop: a lane's own runs back to back, without an engine, in a process of its own (bench/native/raw_loop.cc). */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface, type Interface } from 'node:readline';

/** A batch of so many rows, padded to so many tokens. */
export interface BatchSize {
  readonly rows: number;
  readonly length: number;
}

export interface RawPlan {
  readonly seconds: number;
  /** Batches that are run in turn, in whole rounds. */
  readonly batches: readonly BatchSize[];
  /** Runs in flight. Default: as many as the lane takes. */
  readonly inFlight?: number;
}

export interface RawResult {
  readonly runs: number;
  readonly rows: number;
  readonly paddedTokens: number;
  readonly seconds: number;
  /** From the start of a run to its results, in microseconds. */
  readonly p50Us: number;
  readonly p90Us: number;
}

/** A line of the program: what it loaded, what a plan gave, or what went wrong. */
type Answer = Partial<RawResult> & { readonly error?: string };

/** Where the program is: `$BATCHED_RAW_LOOP`, or built now. */
function findProgram(): string {
  const named = process.env['BATCHED_RAW_LOOP'];
  if (named !== undefined && named !== '') return named;
  const script = path.join(__dirname, '../../scripts/gpu/raw-loop.mjs');
  const { status, stdout } = spawnSync(process.execPath, [script], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) throw new Error('the raw loop could not be built');
  return stdout.trim();
}

export class RawLoop {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;
  #stderr = '';

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text));
    child.stdin.on('error', () => undefined); // it has ended: the next answer says so
    this.#lines = createInterface(child.stdout);
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  /** Loads `model` with the core `library`. */
  static async start(model: string, library: string, provider: string): Promise<RawLoop> {
    const args = ['--library', library, '--model', model, '--provider', provider];
    // It leaves finding CUDA's libraries to the linker.
    const folders = [process.env['BATCHED_RAW_LOOP_LIBRARY_PATH'], process.env['LD_LIBRARY_PATH']];
    const env = { ORT_DISABLE_TELEMETRY: '1', LD_LIBRARY_PATH: folders.filter(Boolean).join(':') };
    const child = spawn(findProgram(), args, { env: { ...process.env, ...env } });
    const loop = new RawLoop(child);
    await Promise.race([
      loop.#answer(),
      once(child, 'error').then(([error]: unknown[]) => {
        throw new Error(`the raw loop could not be started: ${String(error)}`);
      }),
    ]);
    return loop;
  }

  /** Rejects with what went wrong, such as a batch that the device has no memory for; the next plan may still run. */
  async run({ seconds, batches, inFlight = 0 }: RawPlan): Promise<RawResult> {
    const shapes = batches.map(({ rows, length }) => `${rows}x${length}`).join();
    this.#child.stdin.write(`plan ${seconds} ${inFlight} ${shapes}\n`);
    return (await this.#answer()) as RawResult;
  }

  async close(): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    const ended = exitCode === null && signalCode === null ? once(this.#child, 'exit') : undefined;
    this.#child.stdin.end();
    await ended;
    this.#lines.close();
  }

  async #answer(): Promise<Answer> {
    const { done, value } = (await this.#answers.next()) as IteratorResult<string, undefined>;
    if (done === true) {
      const { exitCode, signalCode } = this.#child;
      throw new Error(`the raw loop ended (${signalCode ?? `exit code ${exitCode}`}): ${this.#stderr.trim()}`);
    }
    const answer = JSON.parse(value) as Answer;
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }
}
