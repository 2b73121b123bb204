// The packages that the tests of living with others put beside batched: those of test/package/neighbours, in the versions
// and with the hashes of its package-lock.json, installed into .cache ($BATCHED_CACHE_DIR), never into this checkout.
import fs from 'node:fs';
import path from 'node:path';
import { cacheDir } from '../npm-package.mjs';
import { fingerprint, inRoot, isProgram, main, step } from '../util.mjs';

const SOURCE = 'test/package/neighbours';
const FILES = ['package.json', 'package-lock.json'];

/** onnxruntime-node holds the binaries of every platform: 200 MB that no test here can load. */
function removeOtherPlatforms(modules) {
  for (const name of fs.readdirSync(modules).filter((entry) => entry.startsWith('onnxruntime-node'))) {
    const bin = path.join(modules, name, 'bin');
    for (const api of fs.readdirSync(bin)) {
      for (const platform of fs.readdirSync(path.join(bin, api))) {
        if (platform === process.platform) continue;
        fs.rmSync(path.join(bin, api, platform), { recursive: true });
      }
    }
  }
}

/** The folder node_modules that holds them. */
export function ensureNeighbours() {
  const cache = path.join(cacheDir(), 'neighbours');
  const print = fingerprint(
    FILES.map((name) => `${SOURCE}/${name}`),
    process.platform,
    process.arch,
  ).slice(0, 12);
  const target = path.join(cache, print);
  const modules = path.join(target, 'node_modules');
  if (fs.existsSync(modules)) return modules;
  // Made beside the target, then renamed: an interrupted run leaves no half-filled cache.
  const fresh = `${target}.${process.pid}`;
  fs.mkdirSync(fresh, { recursive: true });
  try {
    for (const name of FILES) fs.copyFileSync(inRoot(SOURCE, name), path.join(fresh, name));
    // No install scripts: one of them would fetch CUDA from where nothing can be reached.
    const flags = ['ci', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'];
    step('neighbours', 'test: packages to live with (npm ci)', ['npm', flags, {}, fresh]);
    removeOtherPlatforms(path.join(fresh, 'node_modules'));
    fs.renameSync(fresh, target);
  } finally {
    fs.rmSync(fresh, { recursive: true, force: true });
  }
  return modules;
}

if (isProgram(import.meta.url)) main(() => console.log(ensureNeighbours()));
