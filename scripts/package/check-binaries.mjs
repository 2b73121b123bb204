// Which systems a folder of prebuilt binaries runs on: the newest glibc that each asks for, and what else it links.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { Advice, isProgram, main } from '../util.mjs';

/** The oldest glibc that the package supports: Debian 12, Ubuntu 22.04, RHEL 9, Amazon Linux 2023. */
export const OLDEST_GLIBC = '2.34';

/** What every Linux with that glibc has; the C++ runtime is not among it. */
const SYSTEM = /^(lib(c|m|dl|rt|pthread|gcc_s)\.so\.\d+|ld-linux-.*\.so\.\d+)$/;

const parts = (version) => version.split('.').map(Number);
const newer = (a, b) => {
  const [x, y] = [parts(a), parts(b)];
  return x[0] - y[0] || x[1] - y[1];
};

function readelf(file, ...flags) {
  const { status, stdout, error } = spawnSync('readelf', [...flags, file], { encoding: 'utf8' });
  if (status !== 0) throw new Advice(`readelf ${file}: ${error?.message ?? 'not an ELF file'} (Debian: binutils)`);
  return stdout;
}

/** One line per binary; throws when one asks for more than the package promises. */
export function checkBinaries(folder) {
  if (process.platform !== 'linux') return [];
  return fs
    .readdirSync(folder)
    .filter((name) => /\.(node|so(\.\d+)*)$/.test(name))
    .map((name) => {
      const file = path.join(folder, name);
      const glibc = [...readelf(file, '--version-info', '--wide').matchAll(/GLIBC_(\d+\.\d+)/g)].map(([, v]) => v);
      const needs = glibc.sort(newer).at(-1) ?? 'none';
      const libraries = [...readelf(file, '--dynamic', '--wide').matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, v]) => v);
      const strange = libraries.filter((library) => !SYSTEM.test(library));
      const size = (fs.statSync(file).size / 1e6).toFixed(1);
      const line = `${name}: ${size} MB, glibc ${needs}, ${libraries.join(' ')}`;
      if (newer(needs, OLDEST_GLIBC) > 0) throw new Advice(`${line}\n  the package promises glibc ${OLDEST_GLIBC}`);
      // The core links the C++ runtime of the system, which Node does too.
      if (name.endsWith('.node') && strange.length > 0) throw new Advice(`${line}\n  links ${strange.join(', ')}`);
      return line;
    });
}

if (isProgram(import.meta.url)) {
  main(() => {
    for (const line of checkBinaries(process.argv[2])) console.log(line);
  });
}
