// Brings a checkout to the point where its programs and tests run: npm packages, ONNX Runtime headers, the native
// addon, the TypeScript build. Each step is skipped when it is up to date, so every npm script begins with this.
import fs from 'node:fs';
import { buildNative } from './build-native.mjs';
import { ensureHeaders } from './fetch-headers.mjs';
import {
  Advice,
  filesUnder,
  fingerprint,
  inRoot,
  installAdvice,
  isStamped,
  main,
  stamp,
  step,
  which,
} from './util.mjs';

const readJson = (file) => JSON.parse(fs.readFileSync(inRoot(file), 'utf8'));

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 17)) return;
  throw new Advice(
    `Node 20.17 or newer is needed; this is ${process.version}. See https://nodejs.org/ for a current one.`,
  );
}

/** Whether node_modules holds what package-lock.json asks for; npm leaves its own account of what it put there. */
function packagesAreCurrent() {
  if (!fs.existsSync(inRoot('node_modules/.package-lock.json'))) return false;
  const installed = readJson('node_modules/.package-lock.json').packages;
  return Object.entries(readJson('package-lock.json').packages).every(
    // Optional packages are those of other platforms; peers that are optional may be absent too.
    ([folder, wanted]) => folder === '' || wanted.optional || installed[folder]?.integrity === wanted.integrity,
  );
}

function installPackages() {
  if (packagesAreCurrent()) return;
  if (!which('npm')) throw new Advice(`npm is not on the PATH.\n${installAdvice('npm', 'npm', 'brew install node')}`);
  // .npmrc says ignore-scripts; the variable is for people whose own settings override it.
  step('npm', 'setup: npm packages', ['npm', ['ci', '--no-audit', '--no-fund'], { ONNXRUNTIME_NODE_INSTALL: 'skip' }]);
}

function buildTypeScript() {
  const configs = ['tsconfig.json', 'tsconfig.build.json', 'scripts/esm-entry.mjs'];
  const print = fingerprint(
    [...configs, ...filesUnder('ts')],
    readJson('node_modules/typescript/package.json').version,
  );
  if (isStamped('typescript', print) && fs.existsSync(inRoot('dist/index.mjs'))) return;
  fs.rmSync(inRoot('dist'), { recursive: true, force: true }); // a removed module must not linger
  step(
    'typescript',
    'setup: TypeScript',
    [process.execPath, [inRoot('node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json']],
    [process.execPath, [inRoot('scripts/esm-entry.mjs')]],
  );
  stamp('typescript', print);
}

main(() => {
  checkNode();
  installPackages();
  buildNative('setup: native addon', ensureHeaders);
  buildTypeScript();
});
