/** Runs test/cuda/programs/load.mjs on an emulated GPU. */
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import type { LaneStats } from '../../ts/native';
import { runProgram } from '../helpers/child-program';

/** What the emulated machine is like, and what fails: the variables of emulator/device.h. */
export interface Gpu {
  readonly devices?: number;
  readonly memory?: number;
  readonly jitter?: number;
  readonly fail?: string;
}

export interface Load {
  readonly model: string;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly inputs?: 'tokens' | 'pair' | 'bytes';
  readonly clients?: number;
  readonly requests?: number;
  readonly rounds?: number;
  readonly beside?: number;
  readonly tolerance?: number;
}

/** A call of one of CUDA's functions, by the thread that made it. */
export interface CudaCall {
  readonly at: number;
  readonly thread: string;
  readonly name: string;
}

export interface Round {
  /** Why the model was not loaded; then nothing else is there. */
  readonly refusal?: { readonly code: string; readonly message: string };
  /** How many calls ended in each way. */
  readonly endings: Readonly<Record<string, number>>;
  /** Results that are not the CPU's. */
  readonly wrong: number;
  readonly messages: readonly string[];
  readonly accounted: boolean;
  readonly provider: string;
  readonly providerNote?: string;
  readonly lanes: readonly LaneStats[];
  readonly retries: number;
  readonly totalBatches: number;
  /** When the load began and ended. */
  readonly during: readonly [number, number];
}

export interface Outcome {
  readonly rounds: readonly Round[];
  readonly stderr: string;
  readonly calls: readonly CudaCall[];
  /** Bytes of device memory that were held at the process's end. */
  readonly held: number;
}

const folder = mkdtempSync(join(tmpdir(), 'batched-cuda-log-'));
let logs = 0;

export function environment({ devices, memory, jitter, fail }: Gpu, log: string): Record<string, string> {
  const found = process.env['BATCHED_CUDA_PATH'];
  if (found === undefined)
    throw new Error('npm test -- --only cuda sets BATCHED_CUDA_PATH; see scripts/gpu/emulator.mjs');
  return {
    CUDA_EMULATOR_LOG: log,
    ...(devices === undefined ? {} : { CUDA_EMULATOR_DEVICES: String(devices) }),
    ...(memory === undefined ? {} : { CUDA_EMULATOR_MEMORY: String(memory) }),
    ...(jitter === undefined ? {} : { CUDA_EMULATOR_JITTER: String(jitter) }),
    ...(fail === undefined ? {} : { CUDA_EMULATOR_FAIL: fail }),
  };
}

export async function runLoad(load: Load, gpu: Gpu = {}): Promise<Outcome> {
  const log = join(folder, `${logs++}.log`);
  const options = { env: environment(gpu, log), hangMs: 90_000 };
  const ended = await runProgram('../../cuda/programs/load.mjs', [JSON.stringify(load)], options);
  if (ended.code !== 0) throw new Error(`it ended with ${ended.code ?? ended.signal}:\n${ended.stderr}`);
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
  const held = Number(/^held (\d+)$/.exec(lines.pop()!)![1]);
  const calls = lines.map((line) => {
    const [, at, thread, name] = /^(\d+) (\S+) (.+)$/.exec(line)!;
    return { at: Number(at), thread: thread!, name: name! };
  });
  return { rounds: JSON.parse(ended.stdout) as Round[], stderr: ended.stderr, calls, held };
}

/** The only round's, whose calls have all succeeded with the right results. */
export async function runWell(load: Load, gpu: Gpu = {}): Promise<Outcome & Round> {
  const outcome = await runLoad(load, gpu);
  const [round] = outcome.rounds;
  expect(round).toMatchObject({
    endings: { ok: load.requests ?? 500 },
    wrong: 0,
    messages: [],
    accounted: true,
    provider: 'cuda',
  });
  // Whoever gets by without a kernel has not been tested.
  expect(outcome.calls.map(({ name }) => name).filter((name) => name.startsWith('unknown kernel'))).toEqual([]);
  return { ...outcome, ...round! };
}

/** How often each function was called by the lanes' own threads while requests came in. */
export function callsOfLanes({ calls, during }: Pick<Outcome & Round, 'calls' | 'during'>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { at, thread, name } of calls) {
    if (at < during[0] || at > during[1] || !/^batched-g\d+-\d+$/.test(thread)) continue;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}
