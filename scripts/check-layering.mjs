// The rooms' walls. Dependencies point one way: ts -> addon -> ort -> gpu -> engine. See ARCHITECTURE.md.
import fs from 'node:fs';
import path from 'node:path';
import { filesUnder, inRoot, isProgram, main } from './util.mjs';

// The outside world of the engine: the C++ standard library, what it takes to name and nice a thread, entropy, NVTX.
const ENGINE_HEADERS = /^([a-z_]+|pthread\.h|sched\.h|unistd\.h|sys\/(random|resource|syscall|types)\.h|nvtx3\/.*)$/;

const isNapi = (header) => /(^|\/)(napi.*|node_api.*|js_native_api.*|node|v8|uv)\.h$/.test(header);
const isOnnxRuntime = (header) => /onnxruntime/.test(header);
const entersRoom = (room) => (header, file) => header.includes(`${room}/`) && !file.startsWith(`native/${room}/`);

/** Each: the files it holds for, and what an #include in them must not be. */
const INCLUDE_RULES = [
  {
    files: /^native\/engine\//,
    forbids: (header, _file, quoted) =>
      quoted ? !fs.existsSync(inRoot('native/engine', header.replace(/^engine\//, ''))) : !ENGINE_HEADERS.test(header),
    because: 'the engine includes its own headers and the standard library only',
  },
  {
    files: /^native\/gpu\//,
    forbids: (header, file) => entersRoom('ort')(header, file) || entersRoom('addon')(header, file),
    because: "native/gpu knows the driver and the engine's lane, nothing of ONNX Runtime or the addon",
  },
  {
    files: /^native\//,
    forbids: (header) => /(^|\/)(cuda|cuda_runtime.*|cudnn.*)\.h$/.test(header),
    because: 'the driver is looked up at run time: its header would tie a build to a version',
  },
  { files: /^native\/(?!ort\/)/, forbids: isOnnxRuntime, because: "only native/ort includes ONNX Runtime's headers" },
  { files: /^native\/(?!addon\/)/, forbids: isNapi, because: 'only native/addon includes napi.h' },
  { files: /^native\/ort\//, forbids: entersRoom('addon'), because: 'native/ort knows nothing of the addon' },
  {
    files: /^test\/native\//,
    forbids: (header) => isNapi(header) || isOnnxRuntime(header),
    because: "the engine's tests need neither Node nor ONNX Runtime",
  },
];

/** Each: the files it holds for, and what their text must not name (comments do not count). */
const TEXT_RULES = [
  {
    files: /^(native\/(?!engine\/clock\.cc$)|test\/native\/)/,
    forbids: /\bchrono::(steady|system|high_resolution)_clock\b/,
    because: 'the clock is injected: only native/engine/clock.cc names a clock of std::chrono',
  },
  {
    files: /^ts\/(?!native\.ts$)(?!.*\.d\.ts$)/,
    forbids: /node-gyp-build|process\.dlopen|\.node['"`]/,
    because: 'only ts/native.ts loads the addon',
  },
];

const withoutComments = (text) => text.replace(/\/\*[\s\S]*?\*\/|\/\/.*/g, (comment) => comment.replace(/[^\n]/g, ' '));

function checkFile(file) {
  const lines = withoutComments(fs.readFileSync(inRoot(file), 'utf8')).split('\n');
  return lines.flatMap((line, index) => {
    const [, opening, header] = /^\s*#\s*include\s*(["<])([^">]+)[">]/.exec(line) ?? [];
    const broken = [
      ...INCLUDE_RULES.filter((rule) => header && rule.files.test(file) && rule.forbids(header, file, opening === '"')),
      ...TEXT_RULES.filter((rule) => rule.files.test(file) && rule.forbids.test(line)),
    ];
    return broken.map((rule) => `${file}:${index + 1}: ${line.trim()}\n    ${rule.because}`);
  });
}

/** The files of `files` that `file` imports, types alone included. */
function importsOf(file, files) {
  const text = withoutComments(fs.readFileSync(inRoot(file), 'utf8'));
  return [...text.matchAll(/\b(?:from|import)[\s(]*'(\.[^']*)'/g)]
    .map(([, name]) => path.posix.join(path.posix.dirname(file), `${name}.ts`))
    .filter((imported) => files.includes(imported));
}

/** One entry for each circle in which `files` import each other. */
function checkCircles(files) {
  const problems = [];
  const done = new Set();
  const visit = (file, way) => {
    if (way.includes(file)) {
      const circle = [...way.slice(way.indexOf(file)), file];
      problems.push(`${circle.join(' -> ')}\n    files that import each other are one room, or want a third to share`);
    } else if (!done.has(file)) {
      for (const imported of importsOf(file, files)) visit(imported, [...way, file]);
      done.add(file);
    }
  };
  for (const file of files) visit(file, []);
  return problems;
}

/** One entry for each line that breaks a rule, and for each circle. */
export const checkLayering = () => {
  const native = ['native', 'test/native'].flatMap((folder) => filesUnder(folder, /\.(h|cc)$/));
  const ts = filesUnder('ts', /\.ts$/);
  return [...[...native, ...ts].flatMap(checkFile), ...checkCircles(ts)];
};

if (isProgram(import.meta.url)) {
  main(() => {
    const problems = checkLayering();
    for (const problem of problems) console.error(problem);
    return problems.length > 0 ? 1 : 0;
  });
}
