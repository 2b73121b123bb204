/** `batched doctor`: can models run here, and if not, what is to be done. */
import { thisMachine } from '../cuda/machine';
import type { Provider } from '../cuda/plan';
import { type CudaSearch, searchCuda } from '../cuda/search';
import type { Paint } from './paint';

export interface DoctorOptions {
  json?: boolean;
  libraryPath?: string;
  /** Fail where models cannot run on CUDA. */
  cuda?: boolean;
  version: string;
}

/** `failed`: no model can run. `missing`: something that not every machine has or needs. */
export type Verdict = 'ok' | 'missing' | 'failed';

export interface Check {
  group: 'machine' | 'batched' | 'cuda';
  name: string;
  verdict: Verdict;
  detail: string;
  file?: string;
  version?: string;
  /** What to do about it. */
  fix?: string;
}

const oldestNode = [20, 17] as const;
/** What the shipped addon was built against; it builds from source elsewhere. */
const oldestGlibc = [2, 34] as const;

/** x [batch, sequence] -> y = x, as an ONNX file: running it is the proof that models can run. */
const echoModel =
  'CAgSB2JhdGNoZWRCBAoAEBE6cAoVCgF4EgF5GgF5IghJZGVudGl0eToAEgxlY2hvLWZsb2F0MzJSBXkgPSB4WiAKAXgSGwoZCAESFQoHEgViYXRjaAoKEghzZXF1ZW5jZWIgCgF5EhsKGQgBEhUKBxIFYmF0Y2gKChIIc2VxdWVuY2U=';

function atLeast(version: string, least: readonly [number, number]): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > least[0] || (major === least[0] && minor >= least[1]);
}

function glibcVersion(): string | undefined {
  const report: typeof process.report & { excludeNetwork?: boolean } = process.report;
  report.excludeNetwork = true; // else it asks for the name of every open connection
  return (report.getReport() as { header: { glibcVersionRuntime?: string } }).header.glibcVersionRuntime;
}

function machineChecks(): Check[] {
  const node = process.versions.node;
  const nodeFits = atLeast(node, oldestNode);
  const glibc = process.platform === 'linux' ? glibcVersion() : undefined;
  const platform = `${process.platform}-${process.arch}`;
  const prebuilt = platform === 'linux-x64' && glibc !== undefined && atLeast(glibc, oldestGlibc);
  const libc = process.platform === 'linux' ? `, ${glibc === undefined ? 'no glibc' : `glibc ${glibc}`}` : '';
  return [
    {
      group: 'machine',
      name: 'Node',
      verdict: nodeFits ? 'ok' : 'failed',
      detail: `${process.version}, ${process.execPath}`,
      version: node,
      file: process.execPath,
      ...(nodeFits ? {} : { fix: `batched needs Node ${oldestNode.join('.')} or newer: https://nodejs.org/` }),
    },
    {
      group: 'machine',
      name: 'Platform',
      verdict: 'ok',
      detail: `${platform}${libc}${prebuilt ? '' : ': no prebuilt addon, it is built from source'}`,
      ...(glibc === undefined ? {} : { version: glibc }),
    },
  ];
}

/** The message of an error and of what caused it. */
function reasons(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message}\n${cause.message}` : message;
}

async function addonCheck(): Promise<Check> {
  const check = { group: 'batched', name: 'Addon' } as const;
  try {
    const { addonFile } = await import('../native.js');
    return { ...check, verdict: 'ok', detail: addonFile, file: addonFile };
  } catch (error) {
    const fix =
      'reinstall batched with install scripts allowed (npm rebuild batched): that builds the addon where no prebuilt ' +
      'one fits, with cmake and a C++20 compiler';
    return { ...check, verdict: 'failed', detail: reasons(error), fix };
  }
}

async function coreCheck(libraryPath: string | undefined): Promise<Check> {
  const check = { group: 'batched', name: 'ONNX Runtime' } as const;
  try {
    const { loadLibrary } = await import('../library.js');
    const { path, version, api, how } = loadLibrary(libraryPath);
    const why = how.includes(path) ? '' : ` (${how})`;
    return { ...check, verdict: 'ok', detail: `${version}, API ${api}, ${path}${why}`, file: path, version };
  } catch (error) {
    const fix =
      'npm install onnxruntime-node, or name a libonnxruntime.so.1 by the option libraryPath (--library-path)';
    return { ...check, verdict: 'failed', detail: reasons(error), fix };
  }
}

async function runCheck(executionProviders?: Provider[]): Promise<Check> {
  const check = { group: 'batched', name: 'A model' } as const;
  const options = { warmup: false, lanes: 1, ...(executionProviders === undefined ? {} : { executionProviders }) };
  try {
    const { load } = await import('../inference.js');
    const echo = await load(Buffer.from(echoModel, 'base64'), options);
    const { data } = (await echo.acall({ x: new Float32Array([1, 2, 3]) })) as { data: Float32Array };
    const { provider } = echo.stats;
    await echo.close();
    const right = data.join() === '1,2,3';
    const detail = right ? `runs, on ${provider}` : `runs on ${provider}, but y = x gave ${data.join(', ')}`;
    return { ...check, verdict: right ? 'ok' : 'failed', detail };
  } catch (error) {
    return { ...check, verdict: 'failed', detail: reasons(error) };
  }
}

/** What a search for CUDA says, a line each; those of what is missing have the fix. */
function searchChecks({ provider, libraries, driver, missing }: CudaSearch): Check[] {
  return [...provider, ...libraries, driver].map(({ name, file, version }): Check => {
    const lack = missing.find((one) => one.name === name);
    const check = { group: 'cuda', name, ...(version === undefined ? {} : { version }) } as const;
    const found = file === undefined ? {} : { file };
    if (lack === undefined) return { ...check, ...found, verdict: 'ok', detail: file ?? '' };
    return { ...check, ...found, verdict: 'missing', detail: lack.problem, fix: lack.fix };
  });
}

/** Without a core it is that which any would lack. */
async function searchFor(core: string | undefined, named: boolean): Promise<CudaSearch> {
  if (core === undefined) return searchCuda(undefined, thisMachine);
  const { searchHere } = await import('../library.js');
  return searchHere(core, named);
}

function gpuChecks(): Check[] {
  const check = { group: 'cuda', name: 'GPU' } as const;
  const gpus = thisMachine.gpus().split('\n').filter(Boolean);
  if (gpus.length === 0) return [{ ...check, verdict: 'missing', detail: 'nvidia-smi names none' }];
  return gpus.map((name) => ({ ...check, verdict: 'ok', detail: name }));
}

/** The last word is that of a model which was asked to run there. */
async function laneCheck(core: Check, search: CudaSearch): Promise<Check> {
  const check = { group: 'cuda', name: 'A model' } as const;
  if (core.verdict !== 'ok') return { ...check, verdict: 'missing', detail: 'not tried: no model can run here' };
  if (!search.complete) return { ...check, verdict: 'missing', detail: 'runs on the CPU: see what is missing above' };
  const ran = await runCheck(['cuda']);
  return { ...ran, ...check, verdict: ran.verdict === 'ok' ? 'ok' : 'missing' };
}

const titles = {
  machine: 'This machine',
  batched: 'batched',
  cuda: 'CUDA',
} as const;

const marks = { ok: ['green', '✓'], missing: ['yellow', '–'], failed: ['red', '✗'] } as const;

/** A fix that the next check has as well is said once, there. */
function groupLines(checks: readonly Check[], paint: Paint): string[] {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const indent = ' '.repeat(width + 6);
  return checks.flatMap(({ group, name, verdict, detail, version, fix }, i) => {
    const [style, mark] = marks[verdict];
    const text = detail.replaceAll('\n', `\n${indent}`);
    const numbered = group === 'cuda' && version !== undefined ? `${version}, ${text}` : text;
    const line = `  ${paint(style, mark)} ${name.padEnd(width)}  ${numbered}`;
    return fix === undefined || fix === checks[i + 1]?.fix ? [line] : [line, `${indent}${paint('cyan', fix)}`];
  });
}

function lines(checks: readonly Check[], searched: readonly string[], paint: Paint): string[] {
  const looked = paint('dim', `  Looked in: ${[...searched, "ldconfig's cache"].join(', ')}`);
  return Object.entries(titles).flatMap(([group, title]) => {
    const body = groupLines(
      checks.filter((check) => check.group === group),
      paint,
    );
    const head = ['', paint('bold', title)];
    return group === 'cuda' ? [...head, ...body, looked] : [...head, ...body];
  });
}

/** The exit code: 0 when models can run here (with the option `cuda`: on CUDA), else 1. */
export async function doctor(options: DoctorOptions, paint: Paint): Promise<number> {
  const addon = await addonCheck();
  const core: Check =
    addon.verdict === 'ok'
      ? await coreCheck(options.libraryPath)
      : { group: 'batched', name: 'ONNX Runtime', verdict: 'failed', detail: 'not tried: the addon loads it' };
  const run = core.verdict === 'ok' ? [await runCheck()] : [];
  const search = await searchFor(core.file, options.libraryPath !== undefined);
  const lane = await laneCheck(core, search);
  const checks = [...machineChecks(), addon, core, ...run, ...searchChecks(search), ...gpuChecks(), lane];
  const ok = checks.every(({ verdict }) => verdict !== 'failed') && (options.cuda !== true || lane.verdict === 'ok');
  const cudaLane = lane.verdict === 'ok' ? 'ready' : 'not ready';
  if (options.json === true) {
    console.log(JSON.stringify({ ok, batched: options.version, cudaLane, checks, searched: search.searched }, null, 2));
  } else {
    console.log([`batched ${options.version}`, ...lines(checks, search.searched, paint), ''].join('\n'));
    console.log(verdictLine(checks, lane, paint));
  }
  return ok ? 0 : 1;
}

function verdictLine(checks: readonly Check[], lane: Check, paint: Paint): string {
  if (checks.some(({ verdict }) => verdict === 'failed')) return paint('red', 'Models cannot run here: see ✗ above.');
  if (lane.verdict === 'ok') return paint('green', 'Models can run here, on CUDA and on the CPU.');
  return paint('green', 'Models can run here, on the CPU.');
}
