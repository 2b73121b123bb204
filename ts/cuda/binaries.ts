/** Which version of ONNX Runtime a binary is of, read off the file. */
import { closeSync, openSync, readSync } from 'node:fs';
import { readElf } from './elf';

/** Of a core: its symbols carry it. Undefined: it is no core. */
export function coreVersion(file: string): string | undefined {
  const names = readElf(file)?.names ?? [];
  return names.map((name) => /^VERS_(\d+\.\d+\.\d+)$/.exec(name)?.[1]).find((version) => version !== undefined);
}

/** A provider's symbols carry none, but it states its version, as text of its own among its constants. */
const stated = /^\0(1\.\d{1,3}\.\d{1,3})\0/;
const longest = 2 + '1.999.999'.length;
const chunkSize = 2 ** 22;

/**
 * What a provider states as its version: one, or none in those that do not state it. Reads the whole file, some
 * hundreds of MB.
 */
export function statedVersions(file: string): string[] {
  const versions = new Set<string>();
  const descriptor = openSync(file, 'r');
  try {
    const chunk = Buffer.alloc(chunkSize + longest);
    for (let at = 0; ; at += chunkSize) {
      const length = readSync(descriptor, chunk, 0, chunk.length, at);
      const bytes = chunk.subarray(0, length);
      for (let i = bytes.indexOf('\x001.'); i >= 0; i = bytes.indexOf('\x001.', i + 1)) {
        const [, version] = stated.exec(bytes.toString('latin1', i, i + longest)) ?? [];
        if (version !== undefined) versions.add(version);
      }
      if (length < chunk.length) return [...versions];
    }
  } finally {
    closeSync(descriptor);
  }
}
