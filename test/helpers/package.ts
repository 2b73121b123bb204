/** The npm package as users get it, for the tests of test/package: packed once a file, installed into empty folders. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

export const root = path.join(__dirname, '..', '..');
export const here = `${process.platform}-${process.arch}`;

/** Of a child process; far beyond what any takes. */
const deadlineMs = 240_000;

/** A folder for what a test file makes; it removes it. */
export const scratch = mkdtempSync(path.join(tmpdir(), 'batched-package-'));

/** Only Node itself and npm: no compiler, no cmake, nobody's settings, an empty npm cache. */
export function bare(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const bin = path.join(scratch, 'bin');
  if (!existsSync(bin)) {
    mkdirSync(bin);
    symlinkSync(process.execPath, path.join(bin, 'node'));
    for (const name of ['sh', 'env', 'uname']) symlinkSync(`/bin/${name}`, path.join(bin, name));
  }
  return { PATH: bin, HOME: path.join(scratch, 'home'), npm_config_cache: path.join(scratch, 'npm'), ...extra };
}

function npmCli(): string {
  const found = spawnSync('npm', ['root', '-g'], { encoding: 'utf8' });
  return path.join(found.stdout.trim(), 'npm', 'bin', 'npm-cli.js');
}

export function run(args: string[], cwd: string, env: NodeJS.ProcessEnv): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, args, { cwd, env, encoding: 'utf8', timeout: deadlineMs });
}

export function npm(args: string[], cwd: string, env: NodeJS.ProcessEnv): SpawnSyncReturns<string> {
  return run([npmCli(), ...args], cwd, env);
}

/** Fills prebuilds/ for this machine and packs: the tarball's path. */
export function pack(): string {
  const prebuilds = run([path.join(root, 'scripts/package/prebuilds.mjs')], root, process.env);
  if (prebuilds.status !== 0) throw new Error(prebuilds.stderr);
  const packed = npm(['pack', '--json', '--pack-destination', scratch], root, process.env);
  return path.join(scratch, (JSON.parse(packed.stdout) as { filename: string }[])[0]!.filename);
}

/** An empty project. */
export function project(name: string): string {
  const made = path.join(scratch, name);
  mkdirSync(made);
  writeFileSync(path.join(made, 'package.json'), '{ "private": true }');
  return made;
}

/** Installs the tarball there, from nothing but itself. */
export function install(tarball: string, folder: string, ...flags: string[]): SpawnSyncReturns<string> {
  return npm(['install', '--offline', '--no-audit', '--no-fund', ...flags, tarball], folder, bare());
}
