/** CPU time of the main thread alone: Node 20 has it for the process only. */
import { readFileSync } from 'node:fs';

/** The main thread's id is the process's. First number: nanoseconds on a core, exact to a scheduler tick (1 to 4 ms). */
const file = `/proc/self/task/${process.pid}/schedstat`;

/** Milliseconds that the main thread has run, its garbage collection included. Linux only. */
export function mainThreadMs(): number {
  return Number(readFileSync(file, 'utf8').split(' ', 1)[0]) / 1e6;
}
