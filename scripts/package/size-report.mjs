// What the npm package weighs, room by room: unpacked, and as the tarball that `npm pack` would make.
import { spawnSync } from 'node:child_process';
import { Advice, inRoot, isProgram, main, root } from '../util.mjs';

/** The most that the tarball may have, in bytes. */
export const MOST_BYTES = 25e6;

/** Prebuilt binaries are a room for each platform; other files go by their folder, or count together. */
function roomOf(file) {
  const parts = file.split('/');
  if (parts[0] === 'prebuilds' && parts.length > 2) return `prebuilds/${parts[1]}`;
  return parts.length === 1 ? '(top level)' : `${parts[0]}/`;
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(2).padStart(7);

/** One line for each room, the largest first, and one for the tarball. */
export function reportSize({ size, unpackedSize, files }) {
  const rooms = new Map();
  for (const file of files) {
    const room = rooms.get(roomOf(file.path)) ?? { bytes: 0, files: 0 };
    room.bytes += file.size;
    room.files++;
    rooms.set(roomOf(file.path), room);
  }
  const lines = [...rooms]
    .sort(([, a], [, b]) => b.bytes - a.bytes)
    .map(([room, { bytes, files: count }]) => `${megabytes(bytes)} MB  ${room} (${count} files)`);
  lines.push(`${megabytes(unpackedSize)} MB  in all, ${megabytes(size).trim()} MB as a tarball`);
  if (size > MOST_BYTES) {
    throw new Advice(
      `${lines.join('\n')}\nThe tarball may have ${MOST_BYTES / 1e6} MB at most. It has room for one platform: ` +
        'remove the others from prebuilds/.',
    );
  }
  return lines;
}

/** What `npm pack` says it would make. */
export function packedFiles() {
  const packed = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  if (packed.status !== 0) throw new Advice(`npm pack failed in ${inRoot()}:\n${packed.stderr}`);
  return JSON.parse(packed.stdout)[0];
}

if (isProgram(import.meta.url)) {
  main(() => {
    for (const line of reportSize(packedFiles())) console.log(line);
  });
}
