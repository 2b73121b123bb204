/** CPU time of every thread of this process, by name. Linux; elsewhere there is none. */
import { readdirSync, readFileSync } from 'node:fs';

export interface ThreadTime {
  readonly name: string;
  readonly ms: number;
}

const folder = '/proc/self/task';
/** Of /proc/<pid>/stat: the kernel's own unit for people, a hundredth of a second. */
const tickMs = 10;

/** By thread id. */
export function threadTimes(): Map<string, ThreadTime> {
  const times = new Map<string, ThreadTime>();
  for (const id of ids()) {
    try {
      const name = readFileSync(`${folder}/${id}/comm`, 'utf8').trim();
      times.set(id, { name, ms: cpuMs(`${folder}/${id}`) });
    } catch {
      // it has ended
    }
  }
  return times;
}

/** The thread that worked most since `before`, with the part of the time (0 to 1) that it was on a core. */
export function busiestThread(before: Map<string, ThreadTime>, elapsedMs: number): { name: string; share: number } {
  let busiest = { name: 'none', share: NaN };
  for (const [id, { name, ms }] of threadTimes()) {
    const share = (ms - (before.get(id)?.ms ?? 0)) / elapsedMs;
    if (!(share <= busiest.share)) busiest = { name, share };
  }
  return busiest;
}

function ids(): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** schedstat is exact; some sandboxes (gVisor) have only stat. */
function cpuMs(task: string): number {
  try {
    return Number(readFileSync(`${task}/schedstat`, 'utf8').split(' ', 1)[0]) / 1e6;
  } catch {
    const stat = readFileSync(`${task}/stat`, 'utf8');
    // After the name, which is in parentheses and may hold anything: state, ..., utime (12th), stime (13th).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return tickMs * (Number(fields[11]) + Number(fields[12]));
  }
}
