// What the set-up, test and lint scripts share. Node built-ins only: node_modules may be absent.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
export const inRoot = (...parts) => path.join(root, ...parts);

/** A failure that the reader can do something about: its message is printed, its stack is not. */
export class Advice extends Error {}

/** How to install something that is missing. */
export const installAdvice = (debian, fedora, macos) =>
  `  Debian, Ubuntu: apt-get install ${debian}\n  Fedora: dnf install ${fedora}\n  macOS: ${macos}`;

/** Runs a script's body; its number becomes the exit code, an Advice its last words. */
export function main(body) {
  try {
    process.exitCode = body() ?? 0;
  } catch (error) {
    if (!(error instanceof Advice) && !error?.code?.startsWith?.('ERR_PARSE_ARGS')) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}

/** True when the module at `url` is the program itself, not an import of it. */
export const isProgram = (url) =>
  process.argv[1] !== undefined && fs.realpathSync(process.argv[1]) === fileURLToPath(url);

/** The first of the named programs that is on the PATH (or is a path itself). */
export function which(...names) {
  const folders = (process.env.PATH ?? '').split(path.delimiter);
  for (const name of names.filter(Boolean)) {
    for (const file of name.includes('/') ? [name] : folders.map((folder) => path.join(folder, name))) {
      try {
        fs.accessSync(file, fs.constants.X_OK);
        if (fs.statSync(file).isFile()) return file;
      } catch {
        // not here: look further
      }
    }
  }
  return undefined;
}

/** All files under a folder of the checkout, as sorted paths relative to the root. */
export function filesUnder(folder, pattern = /./) {
  if (!fs.existsSync(inRoot(folder))) return [];
  return fs
    .readdirSync(inRoot(folder), { withFileTypes: true })
    .flatMap((entry) => {
      const name = path.posix.join(folder, entry.name);
      if (entry.isDirectory()) return filesUnder(name, pattern);
      return pattern.test(name) ? [name] : [];
    })
    .sort();
}

/** One hash over the names and contents of files and over further words. */
export function fingerprint(files, ...words) {
  const hash = createHash('sha256');
  for (const file of files)
    hash
      .update(`${file}\0`)
      .update(fs.readFileSync(inRoot(file)))
      .update('\0');
  return hash.update(JSON.stringify(words)).digest('hex');
}

/** Copies a folder beside what it is to be, and renames it then: an interrupted run leaves no half of it. */
export function copyWhole(from, to) {
  const fresh = `${to}.${process.pid}`;
  fs.cpSync(from, fresh, { recursive: true });
  fs.rmSync(to, { recursive: true, force: true });
  fs.renameSync(fresh, to);
}

const stampFile = (name) => inRoot('build/stamps', name);

/** Whether the step `name` last succeeded with exactly these inputs. */
export function isStamped(name, print) {
  return fs.existsSync(stampFile(name)) && fs.readFileSync(stampFile(name), 'utf8') === print;
}

export function stamp(name, print) {
  fs.mkdirSync(path.dirname(stampFile(name)), { recursive: true });
  fs.writeFileSync(stampFile(name), print);
}

/**
 * Runs the commands of one step in turn, quietly: one line says what runs and how long it took. Their
 * output goes to build/logs/<name>.log, and its tail to the screen if one of them fails.
 */
export function step(name, title, ...commands) {
  const began = performance.now();
  const log = inRoot('build/logs', `${name}.log`);
  fs.mkdirSync(path.dirname(log), { recursive: true });
  process.stderr.write(`${title} ... `);
  const out = fs.openSync(log, 'w');
  try {
    for (const [command, args, env, cwd = root] of commands) {
      fs.writeSync(out, `$ ${command} ${args.join(' ')}\n`);
      const options = { cwd, stdio: ['ignore', out, out], env: { ...process.env, ...env } };
      const { status, signal, error } = spawnSync(command, args, options);
      if (status !== 0) {
        process.stderr.write('failed\n');
        const tail = fs.readFileSync(log, 'utf8').trimEnd().split('\n').slice(-40).join('\n');
        const how = error?.message ?? (signal ? `signal ${signal}` : `exit code ${status}`);
        throw new Advice(`${tail}\n\n${path.basename(command)} failed (${how}). Full log: ${path.relative(root, log)}`);
      }
    }
  } finally {
    fs.closeSync(out);
  }
  process.stderr.write(`${((performance.now() - began) / 1000).toFixed(1)} s\n`);
}

/** The value of an entry of a CMake build folder's cache. */
export function cacheEntry(folder, name) {
  const file = inRoot(folder, 'CMakeCache.txt');
  if (!fs.existsSync(file)) return undefined;
  return new RegExp(`^${name}:[A-Z]+=(.*)$`, 'm').exec(fs.readFileSync(file, 'utf8'))?.[1];
}

/** The cmake command that configures a build folder of ours. */
export function configure(folder, ...args) {
  return configureProject(root, folder, `-DBATCHED_WERROR=${process.env.CI ? 'ON' : 'OFF'}`, ...args);
}

/** The same for the project in the folder `source`, with Ninja where there is one. */
export function configureProject(source, folder, ...args) {
  const generator = which('ninja') ? 'Ninja' : 'Unix Makefiles';
  // cmake refuses a folder made by another generator or for a tree that has moved: start afresh.
  const stale = (name, now) => ![undefined, now].includes(cacheEntry(folder, name));
  if (stale('CMAKE_GENERATOR', generator) || stale('CMAKE_HOME_DIRECTORY', source)) {
    fs.rmSync(inRoot(folder), { recursive: true });
  }
  return ['cmake', ['-S', source, '-B', inRoot(folder), '-G', generator, ...args]];
}

/** The cmake command that builds one target of a configured folder on all cores. */
export const build = (folder, target) => ['cmake', ['--build', inRoot(folder), '--target', target, '--parallel']];
