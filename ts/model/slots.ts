/**
 * The calls that native code has still to settle, by slot.
 *
 * A slot is an index into plain arrays: settling costs two array reads, where a Map or one promise object made in C++
 * per row costs several times that. One receiver serves all models of this environment; native code calls it once per
 * finished batch.
 */
import { markAsUntransferable } from 'node:worker_threads';
import { fromNative, NativeCode } from '../errors';
import { native } from '../native';
import { arrayClasses, elementTypes, type Tensor, typeNumber } from '../tensor';

/** How the outputs of a model are given to callers: the number of the element type by output. */
export interface OutputPlan {
  readonly names: readonly string[];
  readonly types: readonly number[];
}

/** What a slot settles. `parts` are the outputs, row by row for a call that is not stacked. */
export interface PendingCall {
  readonly plan: OutputPlan;
  succeed(parts: Tensor[]): void;
  fail(error: unknown): void;
}

const calls: (PendingCall | undefined)[] = [];
const free: number[] = [];

export function takeSlot(call: PendingCall): number {
  const slot = free.pop();
  if (slot === undefined) return calls.push(call) - 1;
  calls[slot] = call;
  return slot;
}

/** Once for each slot that was taken: two calls would share it otherwise. */
export function freeSlot(slot: number): void {
  calls[slot] = undefined;
  free.push(slot);
}

const nothing: readonly Tensor[] = Object.freeze([]);

/** Reads the results one by one; `plan` gives the outputs of a slot's model. */
export function decode(
  numbers: Float64Array,
  memory: ArrayBuffer,
  messages: string[] | undefined,
  plan: (slot: number) => OutputPlan,
  settle: (slot: number, code: number, message: string, parts: Tensor[]) => void,
): void {
  let at = 0;
  let text = 0;
  while (at < numbers.length) {
    const slot = numbers[at++]!;
    const code = numbers[at++]!;
    const count = numbers[at++]!;
    if (code !== NativeCode.ok) {
      settle(slot, code, messages?.[text++] ?? '', nothing as Tensor[]);
      continue;
    }
    const { types } = plan(slot);
    const parts: Tensor[] = [];
    for (let part = 0; part < count; part++) {
      const offset = numbers[at++]!;
      const rank = numbers[at++]!;
      const dims: number[] = [];
      let elements = 1;
      for (let axis = 0; axis < rank; axis++) {
        const dim = numbers[at++]!;
        elements *= dim;
        dims.push(dim);
      }
      const type = part < types.length ? types[part]! : types[part % types.length]!;
      parts.push({ type: elementTypes[type]!, dims, data: new arrayClasses[type]!(memory, offset, elements) });
    }
    settle(slot, code, '', parts);
  }
}

const unexpected = (): never => {
  throw new Error('internal error of batched: a call was settled that is not pending');
};

/** In the place of a call that native code settles a second time. Its results are skipped, as bytes. */
const nobody: PendingCall = {
  plan: { names: [''], types: [typeNumber('uint8')!] },
  succeed: unexpected,
  fail: unexpected,
};

/** Settles the call in a slot. What goes wrong is uncaught, but does not keep the other calls of the batch. */
export function settleSlot(slot: number, code: number, message: string, parts: Tensor[]): void {
  const call = calls[slot] ?? nobody;
  if (call !== nobody) freeSlot(slot);
  try {
    if (code === NativeCode.ok) call.succeed(parts);
    else call.fail(fromNative(code, message));
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

const planOf = (slot: number): OutputPlan => (calls[slot] ?? nobody).plan;

native.setReceiver((numbers, memory, messages) => {
  // The results of a batch share their memory. Were one caller to transfer it to another thread, the others' results
  // would be gone; what is marked is copied there, or refused (from Node 21 on).
  markAsUntransferable(memory);
  decode(numbers, memory, messages, planOf, settleSlot);
});
