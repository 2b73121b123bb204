/** `batched doctor`: can models run here, and if not, what is to be done. */
import { lookForCuda } from './cuda';
import type { Paint } from './paint';

export interface DoctorOptions {
  json?: boolean;
  libraryPath?: string;
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
    const { loadLibrary } = await import('../model/onnx_model.js');
    const { path, version, api, how } = loadLibrary(libraryPath);
    const why = how.includes(path) ? '' : ` (${how})`;
    return { ...check, verdict: 'ok', detail: `${version}, API ${api}, ${path}${why}`, file: path, version };
  } catch (error) {
    const fix =
      'npm install onnxruntime-node, or name a libonnxruntime.so.1 by the option libraryPath (--library-path)';
    return { ...check, verdict: 'failed', detail: reasons(error), fix };
  }
}

async function runCheck(): Promise<Check> {
  const check = { group: 'batched', name: 'A model' } as const;
  try {
    const { load } = await import('../inference.js');
    const echo = await load(Buffer.from(echoModel, 'base64'), { warmup: false, lanes: 1 });
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

function cudaChecks(core: Check): { checks: Check[]; searched: string[] } {
  const { provider, libraries, driver, driverVersion, gpus, searched } = lookForCuda(core.file);
  const found = (name: string, file: string | undefined, fix: string): Check => {
    if (file !== undefined) return { group: 'cuda', name, verdict: 'ok', detail: file, file };
    return { group: 'cuda', name, verdict: 'missing', detail: 'not found', fix };
  };
  const exact = core.version === undefined ? 'exactly the version of the core' : `exactly version ${core.version}`;
  const place = core.file === undefined ? 'beside the core' : `beside ${core.file}`;
  const providerFix =
    `both belong ${place}, in ${exact}: from onnxruntime-linux-x64-gpu of ONNX Runtime's releases, or from the package ` +
    'onnxruntime-node installed with ONNXRUNTIME_NODE_INSTALL=cuda12';
  const checks = provider.map(({ name, file }) => found(name, file, providerFix));
  for (const { name, file } of libraries) {
    checks.push(found(name, file, `install ${packageOf(name)}, or set CUDA_HOME to the toolkit that has it`));
  }
  checks.push(found(driver.name, driver.file, "install NVIDIA's driver; in a container, run it with --gpus all"));
  if (driverVersion !== undefined) Object.assign(checks.at(-1)!, { version: driverVersion });
  const gpu: Pick<Check, 'group' | 'name'> = { group: 'cuda', name: 'GPU' };
  if (gpus.length === 0) checks.push({ ...gpu, verdict: 'missing', detail: 'nvidia-smi names none' });
  for (const name of gpus) checks.push({ ...gpu, verdict: 'ok', detail: name });
  return { checks, searched };
}

/** What to install for a library; the packages of PyPI are the quickest way without root. */
function packageOf(library: string): string {
  const [, name = '', major = ''] = /^lib([A-Za-z]+).*\.so\.(\d+)/.exec(library) ?? [];
  if (name === 'cudnn') return 'cuDNN 9 (pip: nvidia-cudnn-cu13, or -cu12)';
  const wheel = `nvidia-${name.replace('cublasLt', 'cublas').replace('cudart', 'cuda-runtime')}`;
  if (major === '12') return `CUDA 12 (pip: ${wheel}-cu12)`;
  return `CUDA${major === '13' ? ' 13' : ''} (pip: ${wheel})`; // the number of curand and others is not CUDA's
}

const titles = {
  machine: 'This machine',
  batched: 'batched',
  cuda: 'CUDA',
} as const;

const cudaNote = 'The CUDA lane is not built yet: this version runs models on the CPU. What is here for it:';

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
    return group === 'cuda' ? [...head, `  ${cudaNote}`, ...body, looked] : [...head, ...body];
  });
}

/** The exit code: 0 when models can run here, else 1. */
export async function doctor(options: DoctorOptions, paint: Paint): Promise<number> {
  const addon = await addonCheck();
  const core: Check =
    addon.verdict === 'ok'
      ? await coreCheck(options.libraryPath)
      : { group: 'batched', name: 'ONNX Runtime', verdict: 'failed', detail: 'not tried: the addon loads it' };
  const { checks: cuda, searched } = cudaChecks(core);
  const run = core.verdict === 'ok' ? [await runCheck()] : [];
  const checks = [...machineChecks(), addon, core, ...run, ...cuda];
  const ok = checks.every(({ verdict }) => verdict !== 'failed');
  if (options.json === true) {
    const report = { ok, batched: options.version, cudaLane: 'not built', checks, searched };
    console.log(JSON.stringify(report, null, 2));
  } else {
    console.log([`batched ${options.version}`, ...lines(checks, searched, paint), ''].join('\n'));
    console.log(ok ? paint('green', 'Models can run here.') : paint('red', 'Models cannot run here: see ✗ above.'));
  }
  return ok ? 0 : 1;
}
