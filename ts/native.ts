/**
 * The addon: every class and function it exports, and the only place that loads it.
 * test/ts/native.test.ts compares these declarations with what the addon really exports.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import nodeGypBuild from 'node-gyp-build';
import { BatchedError } from './errors';
import type { ElementType, TypedArray } from './tensor';

/** Why native code refused: the number of a code and a message for people. */
export interface Refusal {
  code: number;
  message: string;
}

/** One input or output of a model. Dynamic dimensions are -1; `symbols` has their names, or ''. */
export interface NativeTensorSpec {
  name: string;
  type: ElementType;
  dims: number[];
  symbols: string[];
  /** -1: shared by the whole batch. */
  batchAxis: number;
}

export interface NativeSignature {
  inputs: NativeTensorSpec[];
  outputs: NativeTensorSpec[];
  /** Rows of every run where the model fixes them, else 0. */
  fixedBatch: number;
}

/** Percentiles in milliseconds, and the sum and number of the values they are of. */
export interface NativePercentiles {
  p50: number;
  p90: number;
  p99: number;
  max: number;
  sum: number;
  count: number;
}

/** What both kinds of queue count. */
export interface NativeCounters {
  queueRows: number;
  queueTokens: number;
  admitted: number;
  processed: number;
  failed: number;
  cancelled: number;
  timedOut: number;
  closed: number;
  rejected: number;
  isolated: number;
  batches: number;
  retries: number;
  batchRows: number;
  usefulTokens: number;
  paddedTokens: number;
  dispatchReasons: { full: number; idle: number; timeout: number; staged: number };
  batchSizes: Record<string, number>;
  queueTime: NativePercentiles;
  processingTime: NativePercentiles;
  totalTime: NativePercentiles;
}

/** What a lane makes of its GPU. */
export interface DeviceStats {
  /** Part of the time, 0 to 1, in which the GPU computed its batches, by the GPU's own clock. */
  busy: number;
  /** Bytes of GPU memory that it has taken, weights included. */
  bytes: number;
  /** CUDA graphs that it has captured; with `cudaGraphs` only. */
  graphs: number;
}

/** One lane of a model's engine. */
export interface LaneStats {
  /** The name of its thread, such as `batched-cpu-0`. */
  name: string;
  /** Batches that it has run. */
  batches: number;
  /** Part of the time, 0 to 1, in which a batch was running. */
  busy: number;
  /** False when its device is lost; it takes no more batches then. */
  healthy: boolean;
  /** Of a lane on a GPU. */
  device?: DeviceStats;
}

export interface NativeEngineStats extends NativeCounters {
  heldBytes: number;
  elapsed: number;
  lanes: LaneStats[];
  healthy: boolean;
  provider: string;
  /** '': none. */
  providerNote: string;
  laneThreads: number;
  wideThreads: number;
  /** Nanoseconds, as learned. */
  cost: { perToken: number; perRow: number; perBatch: number };
}

/**
 * What settled, in numbers: per result its slot, its code and its number of parts; per part the byte offset in the
 * memory, the rank and the dims. `messages` has one text for every code but ok, in order.
 */
export type Receiver = (numbers: Float64Array, memory: ArrayBuffer, messages: string[] | undefined) => void;

export interface NativeBatchFacts {
  rows: number;
  tokens: number;
  paddedTokens: number;
  reason: 'full' | 'idle' | 'timeout' | 'staged';
  queueMs: number;
}

/** Of an engine's batch that has been run. */
export interface NativeBatchReport {
  /** The engine's. */
  name: string;
  lane: string;
  facts: NativeBatchFacts;
  durationMs: number;
  /** Why it failed. */
  refusal?: Refusal;
}

/** Offsets in {@link NativeEngine.numbers}; the order of `CallNumbers` in native/addon/call_builder.h. */
export const CallNumbers = {
  rows: 0,
  deadline: 1,
  priority: 2,
  flags: 3,
  slot: 4,
  offset: 5,
  header: 6,
  form: 0,
  type: 1,
  rank: 2,
  dims: 3,
  perInput: 11,
  mostRank: 8,
  unstacked: 1,
  cancellable: 2,
  absent: 0,
  dense: 1,
  ragged: 2,
} as const;

export interface NativeEngine {
  readonly signature: NativeSignature;
  /** 0 right, 1 left, 2 none. */
  readonly paddingSide: number;
  /** Where a call is described before submit() or runSync(), and as many as it has room for before submitPacked(). */
  readonly numbers: Float64Array;
  /** Where the elements of packed calls are. */
  readonly arena: ArrayBuffer;
  /** What it goes by in diagnostics: the name of the model's file, or `'model'`. */
  readonly name: string;
  /** Whether the observer of this thread is told of the engine's batches, those of other threads' calls among them. */
  watch(on: boolean): void;
  /** Takes the call into this tick; the rest is one argument per input and, optionally, the rows' lengths. */
  submit(slot: number, ...data: unknown[]): Refusal | undefined;
  /** Takes the first `count` calls described in `numbers`; refused ones go to the receiver, as results do. */
  submitPacked(count: number): void;
  /** Hands the calls of this tick over. Refused ones go to the receiver, as results do. */
  flush(): void;
  /** Blocks this thread until the call has settled; gives what a receiver would get. */
  runSync(slot: 0, ...data: unknown[]): [Float64Array, ArrayBuffer, string[] | undefined];
  cancel(slot: number): boolean;
  /**
   * The slot settles with no parts when the last lane has stopped; for an engine that was attached to, when the calls
   * made through it have settled.
   */
  close(drain: boolean, slot: number): void;
  /** The id to attach by: `fresh`, unless it has one already; undefined: it is closed. */
  share(fresh: string): string | undefined;
  stats(): NativeEngineStats;
  clearStats(): void;
}

export interface NativeOnnxModel {
  readonly signature: NativeSignature;
  start(options: NativeEngineOptions): NativeEngine;
  /** Drops the sessions; engines keep theirs. Of a released model nothing may be asked any more. */
  release(done: () => void): void;
}

/** What both kinds of queue know. */
export interface NativeQueueOptions {
  batchSize: number;
  /** 0: no bound. */
  maxBatchTokens: number;
  /** Negative: what waits runs at once. */
  timeoutMs: number;
  smallBatchThreshold: number;
  priorityStrategy: number;
  maxQueueRows: number;
}

export interface NativeEngineOptions extends NativeQueueOptions {
  maxQueueBytes: number;
  /** 0: no bound. */
  maxItemLength: number;
  /** 0 right, 1 left, 2 none. */
  paddingSide: number;
}

export interface NativeModelOptions {
  path: string | undefined;
  bytes: Uint8Array | undefined;
  /** 0 none, 1 mean, 2 cls: the order of `Pooling::Kind` in native/ort/ort_model.h. */
  pooling: number;
  normalize: boolean;
  /** The output to pool; '': the only one that may be. */
  hiddenStates: string;
  outputs: string[];
  batchAxis: Record<string, number>;
  shared: string[];
  padTokens: Record<string, number>;
  lanes: number;
  intraOpThreads: number;
  /** CUDA's numbers of the GPUs to run on; none: the CPU. With some, a refusal of code 10 says why CUDA does not load. */
  gpus: number[];
  /** Bytes; 0: no bound. */
  gpuMemLimit: number;
  cudaGraphs: boolean;
  warmup: boolean;
  /** Of the largest batch that there will be: its rows. */
  mostRows: number;
  /** Its padded tokens; 0: no bound. */
  mostTokens: number;
  /** Libraries to load first, as preloadLibraries does, but off the JavaScript thread. */
  preload: readonly string[];
  /** For the stats; '': none. */
  providerNote: string;
}

export interface NativeFunctionQueue {
  readonly size: number;
  /**
   * Admits the calls of a tick. `calls` has rows, priority and deadline (ms from now, negative: none) for each; a
   * refused one has its rows made negative. Gives the number of refused calls.
   */
  admit(slots: Uint32Array, lengths: Uint32Array, groups: Uint32Array, calls: Float64Array, count: number): number;
  /** Admits calls of one row each, without priority or deadline: how many found room; the later ones are refused. */
  admitSingles(slots: Uint32Array, lengths: Uint32Array, count: number): number;
  /** > 0: slots written to `batch`; 0: nothing to do; < 0: ask again in that many milliseconds. */
  next(batch: Uint32Array, force: boolean): number;
  /** What {@link next} has just bound; to be asked before anything else is. */
  lastBatch(): NativeBatchFacts;
  /** The batch's rows have been run; `processed` of them were settled with a result. */
  finish(batch: Uint32Array, milliseconds: number, processed: number): void;
  /** Whether the row was still waiting. */
  remove(slot: number): boolean;
  queued(slot: number): boolean;
  count(code: number, rows: number): void;
  stats(): NativeCounters;
  clearStats(): void;
}

/** The ONNX Runtime library that the process has loaded. */
export interface LibraryInfo {
  /** Its file. */
  path: string;
  /** Such as `'1.29.0'`. */
  version: string;
  /** The version of the C API that is used. */
  api: number;
  /** Why this one: `'beside the addon'`, say. */
  how: string;
}

export interface Native {
  Engine: abstract new () => NativeEngine;
  OnnxModel: abstract new () => NativeOnnxModel;
  FunctionQueue: new (options: NativeQueueOptions) => NativeFunctionQueue;
  setReceiver(receiver: Receiver): void;
  /** The observer is told of every batch of the engines that this thread watches. */
  setObserver(observer: (batch: NativeBatchReport) => void): void;
  /** The engine that has this id, for this thread; undefined: it is closed, or nobody has it any more. */
  attach(id: string): NativeEngine | undefined;
  loadLibrary(options: {
    libraryPath: string | undefined;
    preferred: string[];
    candidates: string[];
  }): LibraryInfo | Refusal;
  /**
   * Loads libraries by absolute path, in this order, for the whole process and for good. `error` is the dynamic linker's
   * reason; the others are loaded all the same.
   */
  preloadLibraries(paths: readonly string[]): { path: string; error?: string }[];
  /**
   * Copies rows out of `sources` into `out`, padded. Per row `rows` has: its source, its place on the source's axis 0,
   * the source's dims (`rank`), and the row's own dims (`rank - 1`), to which it is cut.
   */
  pack(
    out: TypedArray,
    outDims: Float64Array,
    type: number,
    side: number,
    padValue: number,
    sources: TypedArray[],
    rank: number,
    rows: Float64Array,
  ): Refusal | undefined;
  loadModel(
    options: NativeModelOptions,
    done: (refusal: Refusal | undefined, model: NativeOnnxModel | undefined) => void,
  ): void;
}

const packageFolder = path.join(__dirname, '..');

function load(): Native {
  try {
    return nodeGypBuild(packageFolder) as Native;
  } catch (error) {
    throw new BatchedError(
      'BATCHED_LIBRARY_NOT_FOUND',
      `batched has no native binary for ${process.platform}-${process.arch} (Node ${process.versions.node}). ` +
        'In a checkout, `npm run setup` builds it; it needs cmake and a C++20 compiler.',
      { cause: error },
    );
  }
}

export const native: Native = load();

/** The file that {@link native} is. */
export const addonFile: string = nodeGypBuild.resolve(packageFolder);

const coreName = process.platform === 'darwin' ? 'libonnxruntime.1.dylib' : 'libonnxruntime.so.1';

/** Where the core that came with the addon is, if one did. */
export const shippedCore: string = path.join(path.dirname(addonFile), coreName);

/** Where onnxruntime-node, if it is installed, keeps the core library for this machine. */
export function installedCore(): string[] {
  for (const from of [path.join(process.cwd(), 'index.js'), __filename]) {
    try {
      const main = createRequire(from).resolve('onnxruntime-node/package.json');
      const file = path.join(path.dirname(main), 'bin', 'napi-v6', process.platform, process.arch, coreName);
      if (existsSync(file)) return [file];
    } catch {
      // Not installed there.
    }
  }
  return [];
}
