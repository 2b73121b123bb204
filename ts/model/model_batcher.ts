/** Calls into a model: from features to slots and back to tensors. */
import type { CacheOptions } from '../cache/cache';
import { deferred, takeReject, takeResolve } from '../deferred';
import { batches } from '../diagnostics';
import { BatchedError, fromNative, NativeCode } from '../errors';
import { FeatureEncoder, type Features } from './features';
import { CallNumbers, type NativeEngine, type Refusal } from '../native';
import {
  batchKinds,
  type BatchOptions,
  type CallOptions,
  checkCallOptions,
  checkOptions,
  onAbort,
  type PaddingSide,
  queueOptions,
} from '../options';
import type { OnnxModel } from './onnx_model';
import { PackedCalls } from './packed_calls';
import { type ModelToken, share, unshare } from '../sharing';
import { decode, freeSlot, type OutputPlan, type PendingCall, takeSlot } from './slots';
import { modelStats, type ModelStats } from '../stats';
import { describe, type Feature, invalidInput, type Tensor, typeNumber } from '../tensor';

/** Options of `inference.dynamically` over a model. */
export interface ModelBatchOptions extends BatchOptions, CacheOptions<Features> {
  /** Bytes of inputs that may be held by calls in the engine. Default 1 GiB. */
  maxQueueBytes?: number;
  /** Where short rows are padded. Default `'right'`; `'none'`: nothing is padded, only rows of equal shapes share a batch. */
  paddingSide?: PaddingSide;
  /**
   * The length of a row, from the first input's feature in the row's call. Default: the size of the model's dynamic
   * dimensions.
   */
  lengthOf?: (feature: Feature, row: number) => number;
}

/** What a call over tensors takes beside its features. */
export interface ModelCallOptions extends CallOptions {
  /** False: a call of several rows gets a list with the outputs of each row, at its own length. Default true. */
  stack?: boolean;
}

/** One tensor where the model has one (selected) output, else a tensor by name. */
export type Output = Tensor | Record<string, Tensor>;

export const modelBatchKinds = {
  ...batchKinds,
  maxQueueBytes: 'count',
  paddingSide: ['right', 'left', 'none'],
  lengthOf: 'function',
} as const;

/** By number, as native code has them. */
export const paddingSides: readonly PaddingSide[] = ['right', 'left', 'none'];

/** An engine of the model's own, with its lanes. */
export function startEngine(model: OnnxModel, options: ModelBatchOptions): NativeEngine {
  checkOptions('inference.dynamically', options, modelBatchKinds);
  if (model.released) throw new BatchedError('BATCHED_CLOSED', 'inference.dynamically: the model was released');
  if (model.firstTokenOnly && options.paddingSide === 'left') {
    throw invalidInput(
      "pooling: 'cls' of a model without attention_mask takes the first token, which paddingSide: 'left' would move",
    );
  }
  return model.native.start({
    ...queueOptions(options),
    maxQueueBytes: options.maxQueueBytes ?? 2 ** 30,
    maxItemLength: Math.min(options.maxItemLength ?? 0, 2 ** 32 - 1),
    paddingSide: paddingSides.indexOf(options.paddingSide ?? 'right'),
  });
}

export class ModelBatcher {
  readonly plan: OutputPlan;
  readonly #engine: NativeEngine;
  readonly #encoder: FeatureEncoder;
  readonly #packed: PackedCalls;
  readonly #numbers: Float64Array;
  readonly #lengthOf: ModelBatchOptions['lengthOf'];
  readonly #firstInput: string;
  readonly #fixedBatch: number;
  readonly #release: (() => Promise<void>) | undefined;
  #scheduled = false;
  #reading = false;
  #watching = false;

  /** `release` is called when this is closed. */
  constructor(engine: NativeEngine, lengthOf: ModelBatchOptions['lengthOf'], release?: () => Promise<void>) {
    this.#engine = engine;
    this.#release = release;
    const { signature } = engine;
    this.#numbers = engine.numbers;
    this.#encoder = new FeatureEncoder(signature, this.#numbers);
    this.#packed = new PackedCalls(this.#engine, this.#encoder);
    this.#lengthOf = lengthOf;
    this.#fixedBatch = signature.fixedBatch;
    this.#firstInput = signature.inputs[0]?.name ?? '';
    this.plan = {
      names: signature.outputs.map(({ name }) => name),
      types: signature.outputs.map(({ type }) => typeNumber(type)!),
    };
  }

  acall(features: Features, options?: ModelCallOptions): Promise<Output | Output[]> {
    const promise = deferred<Output | Output[]>();
    const call = new ModelCall(this, takeResolve(), takeReject(), options?.stack === false);
    try {
      if (options !== undefined) checkCallOptions(options);
      this.#enter(call, features, options);
    } catch (error) {
      call.fail(error);
    }
    return promise;
  }

  #enter(call: ModelCall, features: Features, options: ModelCallOptions | undefined): void {
    const signal = options?.signal;
    let flags = call.unstacked ? CallNumbers.unstacked : 0;
    if (signal !== undefined) flags |= CallNumbers.cancellable;
    const slot = takeSlot(call);
    let refusal: Refusal | undefined;
    try {
      refusal = this.#submit(slot, features, options, flags);
    } catch (error) {
      freeSlot(slot);
      throw error;
    }
    if (refusal !== undefined) {
      freeSlot(slot);
      throw fromNative(refusal.code, refusal.message);
    }
    this.#schedule(); // before anything else can fail: what was taken will be handed over
    if (signal !== undefined) call.abortWith(signal, () => this.#cancel(slot));
  }

  /** Blocks this thread, and only this thread. */
  call(features: Features, options?: ModelCallOptions): Output | Output[] {
    if (options !== undefined) checkCallOptions(options);
    if (batches.hasSubscribers !== this.#watching) this.#watch();
    const unstacked = options?.stack === false;
    const result = this.#runSync(features, options, unstacked ? CallNumbers.unstacked : 0);
    let output: Output | Output[] | undefined;
    decode(
      ...result,
      () => this.plan,
      (_slot, code, message, parts) => {
        if (code !== NativeCode.ok) throw fromNative(code, message);
        output = outputOf(this.plan, parts, unstacked);
      },
    );
    return output!;
  }

  #submit(slot: number, features: Features, options: ModelCallOptions | undefined, flags: number): Refusal | undefined {
    this.#beginReading();
    try {
      if (this.#packed.full) this.#packed.handOver(false);
      const lengths = this.#lengths(features, this.#describe(features, options, flags));
      if (lengths === undefined && this.#packed.take(slot)) return undefined;
      this.#packed.handOver(true);
      return this.#engine.submit(slot, ...this.#encoder.data, ...(lengths === undefined ? [] : [lengths]));
    } finally {
      this.#reading = false;
    }
  }

  #runSync(
    features: Features,
    options: ModelCallOptions | undefined,
    flags: number,
  ): ReturnType<NativeEngine['runSync']> {
    this.#beginReading();
    try {
      if (this.#packed.full) this.#packed.handOver(false);
      const lengths = this.#lengths(features, this.#describe(features, options, flags));
      this.#packed.handOver(true);
      return this.#engine.runSync(0, ...this.#encoder.data, ...(lengths === undefined ? [] : [lengths]));
    } finally {
      this.#reading = false;
    }
  }

  /** There is one place to describe a call in. A getter among the features, or lengthOf, may not make another call. */
  #beginReading(): void {
    if (this.#reading) throw invalidInput('a call was made while the features of another call were being read');
    this.#reading = true;
  }

  #describe(features: Features, options: ModelCallOptions | undefined, flags: number): number {
    const { deadlineMs = -1, priority = 0 } = options ?? {};
    const { base } = this.#encoder;
    this.#numbers[base + CallNumbers.deadline] = deadlineMs;
    this.#numbers[base + CallNumbers.priority] = priority;
    this.#numbers[base + CallNumbers.flags] = flags;
    return this.#encoder.encode(features);
  }

  #lengths(features: Features, rows: number): Float64Array | undefined {
    if (this.#lengthOf === undefined) return undefined;
    const first = features[this.#firstInput]!;
    const lengths = new Float64Array(rows);
    for (let row = 0; row < rows; row++) {
      const length = this.#lengthOf(first, row);
      if (typeof length !== 'number' || !(length >= 0 && length < 2 ** 32)) {
        throw invalidInput(`lengthOf must give a length, but gave ${describe(length)} for row ${row}`);
      }
      lengths[row] = length;
    }
    return lengths;
  }

  /** All calls of a tick are handed over together, once its promises have run. */
  #schedule(): void {
    if (this.#scheduled) return;
    queueMicrotask(this.#afterMicrotasks); // throws where the stack ends
    this.#scheduled = true;
  }

  readonly #afterMicrotasks = (): void => process.nextTick(this.#flush);

  readonly #flush = (): void => {
    this.#scheduled = false;
    if (batches.hasSubscribers !== this.#watching) this.#watch();
    this.#packed.handOver(false);
    this.#engine.flush();
  };

  /** This thread has got its first subscriber to batches, or lost its last one. */
  #watch(): void {
    this.#watching = !this.#watching;
    this.#engine.watch(this.#watching);
  }

  /** May be asked for while a call is being described: by a getter among its features, or by lengthOf. */
  #handOver(): void {
    this.#packed.handOver(this.#reading);
  }

  #cancel(slot: number): void {
    this.#handOver();
    this.#engine.cancel(slot);
  }

  get stats(): ModelStats {
    this.#handOver();
    return modelStats(this.#engine.stats(), this.#fixedBatch);
  }

  clearStats(): void {
    this.#engine.clearStats();
  }

  get healthy(): boolean {
    return this.#engine.stats().healthy;
  }

  share(): ModelToken {
    return share(this.#engine);
  }

  // async: a wrong option rejects, as everything else that can go wrong here does.
  async close(options: { drain?: boolean } = {}): Promise<void> {
    checkOptions('close', options, { drain: 'boolean' });
    const { drain = true } = options;
    this.#handOver();
    unshare(this.#engine);
    const released = this.#release?.();
    // A second close that does not drain cuts the first one's draining short.
    await new Promise<void>((resolve, reject) => {
      this.#engine.close(drain, takeSlot({ plan: this.plan, succeed: () => resolve(), fail: reject }));
    });
    await released;
  }
}

class ModelCall implements PendingCall {
  #aborted = false;
  #release: (() => void) | undefined = undefined;

  constructor(
    readonly owner: ModelBatcher, // keeps the engine alive while calls are pending
    readonly resolve: (output: never) => void,
    readonly reject: (error: unknown) => void,
    readonly unstacked: boolean,
  ) {}

  get plan(): OutputPlan {
    return this.owner.plan;
  }

  succeed(parts: Tensor[]): void {
    if (this.#aborted) return;
    this.resolve(outputOf(this.owner.plan, parts, this.unstacked) as never);
    this.#release?.();
  }

  fail(error: unknown): void {
    if (this.#aborted) return;
    this.reject(error);
    this.#release?.();
  }

  /** The slot stays taken until native code has let go of the call; its result is then ignored. */
  abortWith(signal: AbortSignal, cancel: () => void): void {
    const aborted = (): void => {
      this.fail(signal.reason);
      this.#aborted = true;
      cancel();
    };
    try {
      this.#release = onAbort(signal, aborted);
    } catch (error) {
      this.fail(error); // a signal of somebody's own making
      this.#aborted = true;
      cancel();
      return;
    }
    // A getter among the features may have aborted it.
    if (signal.aborted) aborted();
  }
}

function outputOf(plan: OutputPlan, parts: Tensor[], unstacked: boolean): Output | Output[] {
  const { names } = plan;
  if (!unstacked) return names.length === 1 ? parts[0]! : byName(names, parts, 0);
  const rows: Output[] = [];
  for (let at = 0; at < parts.length; at += names.length) {
    rows.push(names.length === 1 ? parts[at]! : byName(names, parts, at));
  }
  return rows;
}

function byName(names: readonly string[], parts: Tensor[], from: number): Record<string, Tensor> {
  const output: Record<string, Tensor> = {};
  for (let i = 0; i < names.length; i++) output[names[i]!] = parts[from + i]!;
  return output;
}
