/** The CUDA provider as an npm package: what is known of it, and fetching it. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, mkdirSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Advice } from '../advice';
import type { Machine } from './machine';

export interface ProviderPackage {
  name: string;
  version: string;
  /** Subresource integrity of the tarball. */
  integrity: string;
  bytes: number;
  /** The version of ONNX Runtime and of CUDA that its provider is of. */
  onnxruntime: string;
  cuda: number;
}

/** Third-party, built from Microsoft's sources: the one provider that the npm registry has. */
export const providerPackage: ProviderPackage = {
  name: 'com.github.asus4.onnxruntime.linux-x64-gpu',
  version: '0.4.9',
  integrity: 'sha512-FopIhNE/Ng+v2X65wVc9clPCBCvhvA53Hxo2U0Kf5fGdVsC7iCA+mZ0KLWggcQAj7TIZ6pNidR4AC10g74Xo6w==',
  bytes: 179_145_956,
  onnxruntime: '1.29.0',
  cuda: 13,
};

export const integrityOf = async (file: string): Promise<string> => {
  const hash = createHash('sha512');
  await pipeline(createReadStream(file), hash);
  return `sha512-${hash.digest('base64')}`;
};

/** The package that an archive is, by its integrity. */
export async function knownPackage(file: string): Promise<ProviderPackage | undefined> {
  return (await integrityOf(file)) === providerPackage.integrity ? providerPackage : undefined;
}

/**
 * `npm pack` into `folder`: npm knows the registry, the proxy and the credentials. The tarball is checked against what
 * is known of it here, whatever the registry says.
 *
 * @param progress gets the bytes that have arrived, twice a second
 * @returns the tarball
 */
export async function fetchPackage(
  { name, version, integrity }: ProviderPackage,
  folder: string,
  env: Machine['env'],
  progress: (bytes: number) => void,
): Promise<string> {
  // A cache of its own: it shows how far npm is, and its 180 MB do not stay behind in the user's.
  const cache = path.join(folder, 'npm-cache');
  mkdirSync(cache);
  const args = ['pack', `${name}@${version}`, '--pack-destination', folder, '--cache', cache, '--ignore-scripts'];
  const timer = setInterval(() => progress(bytesUnder(cache)), 500);
  try {
    await run('npm', args, folder, env);
  } finally {
    clearInterval(timer);
  }
  const tarball = path.join(folder, `${name}-${version}.tgz`);
  const actual = await integrityOf(tarball);
  if (actual === integrity) return tarball;
  throw new Advice(`${name}@${version} is not the package we know.\n  expected ${integrity}\n  got      ${actual}`);
}

function run(command: string, args: readonly string[], cwd: string, env: Machine['env']): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4000)));
    child.on('error', () => reject(new Advice(`${command} was not found; ${byHand}`)));
    child.on('close', (code) => {
      if (code === 0) resolve();
      else reject(new Advice(`${command} ${args.slice(0, 2).join(' ')} failed; ${byHand}\n${said.trim()}`));
    });
  });
}

const byHand = 'without the registry, give a package or release at hand by --from';

function bytesUnder(folder: string): number {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    // npm moves files about meanwhile.
    if (entry.isFile())
      bytes += statSync(path.join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}
