/**
 * Programs of documentation, checked and run as those of somebody who has installed the package: in a folder with
 * `batched` in its node_modules, by import, against the built package.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';
import { ensureNpmModel } from '../../scripts/data/npm-models';
import { ensureModel } from '../../scripts/models';
import type { Page, Program } from './markdown-snippets';

const root = join(__dirname, '..', '..');
const checksFile = join(__dirname, 'snippet-checks.mjs');

/** Far beyond what any program takes, so that only a hang meets it. */
const hangMs = 40_000;

/** As `tsc --init` has it, for Node. */
const compilerOptions: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  module: ts.ModuleKind.Node16,
  moduleResolution: ts.ModuleResolutionKind.Node16,
  moduleDetection: ts.ModuleDetectionKind.Force,
  strict: true,
  skipLibCheck: true,
  esModuleInterop: true,
  types: ['node'],
  noEmit: true,
};

/** A program on disk. */
export interface Written {
  readonly program: Program;
  /** As it is on the page. */
  readonly source: string;
  /** What runs. */
  readonly script: string;
  /** The places of its `// -> value` comments. */
  readonly checks: readonly string[];
}

export interface Ended {
  /** Null if a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The checks that were made. */
  readonly reached: readonly string[];
}

const textOf = (program: Program): string => program.lines.map(({ text }) => text).join('\n');

/** The page and line of line `at` (from 0) of a program. */
function place({ name, lines }: Program, at: number): string {
  const page = name.slice(0, name.lastIndexOf(':'));
  return `${page}:${lines[Math.min(at, lines.length - 1)]!.line}`;
}

const marker = '// -> ';

/** The program as it runs: each `expression; // -> value` compares, and each place where one does. */
export function withChecks(program: Program): { code: string; checks: string[] } {
  const text = textOf(program);
  const source = ts.createSourceFile('snippet.ts', text, ts.ScriptTarget.ES2022, true);
  const edits: { from: number; to: number; text: string }[] = [];
  const checks: string[] = [];
  const lineOf = (position: number): string => place(program, source.getLineAndCharacterOfPosition(position).line);

  const visit = (node: ts.Node): void => {
    if (ts.isExpressionStatement(node)) {
      const comments = ts.getTrailingCommentRanges(text, node.end) ?? [];
      const comment = comments.find(({ pos }) => text.startsWith(marker, pos));
      if (comment !== undefined) {
        const wanted = text.slice(comment.pos + marker.length, comment.end).trim();
        const shown = printed(node.expression);
        const at = lineOf(comment.pos);
        checks.push(at);
        edits.push({
          from: shown.getStart(source),
          to: shown.getStart(source),
          text: `__show(${JSON.stringify(at)}, (`,
        });
        edits.push({ from: shown.end, to: shown.end, text: `), (${wanted}))` });
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(source);

  text.split('\n').forEach((line, i) => {
    const at = place(program, i);
    if (line.includes('// ->') && !checks.includes(at)) throw new Error(`${at}: '// ->' must follow an expression`);
  });
  let code = text;
  for (const { from, to, text: put } of edits.sort((a, b) => b.from - a.from)) {
    code = code.slice(0, from) + put + code.slice(to);
  }
  return { code, checks };
}

/** Of `console.log(x)`, x: what it prints is what the comment tells. */
function printed(expression: ts.Expression): ts.Expression {
  if (!ts.isCallExpression(expression) || expression.expression.getText() !== 'console.log') return expression;
  return expression.arguments.length === 1 ? expression.arguments[0]! : expression;
}

function scriptOf(program: Program): { script: string; checks: string[] } {
  const { code, checks } = withChecks(program);
  const { outputText, diagnostics = [] } = ts.transpileModule(code, {
    fileName: 'snippet.ts',
    reportDiagnostics: true,
    compilerOptions: {
      ...compilerOptions,
      module: ts.ModuleKind.ESNext,
      moduleResolution: ts.ModuleResolutionKind.Bundler,
      noEmit: false,
    },
  });
  if (diagnostics.length > 0) throw new Error(`${program.name}: ${problem(diagnostics[0]!)}`);
  const checking = `import { show as __show } from ${JSON.stringify(checksFile)};\n`;
  return { script: checking + outputText, checks };
}

const problem = ({ messageText }: ts.Diagnostic): string => ts.flattenDiagnosticMessageText(messageText, '\n  ');

/** A folder of somebody's own, with the package installed. */
export function makeProject(folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'node_modules'), { recursive: true });
  symlinkSync(relative(join(folder, 'node_modules'), root), join(folder, 'node_modules', 'batched'), 'dir');
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n');
}

/** Writes the page's programs, and the models they load, to a folder of its own in the project. */
export async function writePage(project: string, page: Page): Promise<Written[]> {
  const folder = join(project, page.name.replace(/\W+/g, '-'));
  mkdirSync(folder);
  for (const [name, model] of Object.entries(page.models)) {
    symlinkSync(await ('npm' in model ? ensureNpmModel(model.npm) : ensureModel(model)), join(folder, name));
  }
  const written: Written[] = [];
  for (const program of [...page.programs.ts, ...page.files]) {
    const stem = program.file?.replace(/\.ts$/, '') ?? `line-${/\d+$/.exec(program.name)![0]}`;
    const { script, checks } = scriptOf(program);
    const file = { program, checks, source: join(folder, `${stem}.ts`), script: join(folder, `${stem}.js`) };
    writeFileSync(file.source, textOf(program));
    writeFileSync(file.script, script);
    written.push(file);
  }
  return written;
}

/** What tsc says about the programs, all in one go, by page and line. */
export function typeErrors(written: readonly Written[]): string[] {
  const programOf = new Map(written.map(({ source, program }) => [source, program]));
  const checked = ts.createProgram([...programOf.keys()], compilerOptions);
  return ts.getPreEmitDiagnostics(checked).map((diagnostic) => {
    const { file, start = 0 } = diagnostic;
    const program = file && programOf.get(file.fileName);
    if (program === undefined) return `${file?.fileName ?? 'tsc'}: ${problem(diagnostic)}`;
    return `${place(program, file!.getLineAndCharacterOfPosition(start).line)}: ${problem(diagnostic)}`;
  });
}

/** Rejects if the program hangs; how else it ended is for the test to judge. */
export function run(command: string, args: readonly string[], cwd: string): Promise<Ended> {
  const report = join(cwd, 'reached');
  rmSync(report, { force: true });
  return new Promise((resolve, reject) => {
    const env = { ...process.env, NODE_OPTIONS: '', SNIPPET_REPORT: report };
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (text: string) => (output[stream] += text));
    }
    const hang = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`${args.join(' ')} hangs\nstdout:\n${output.stdout}\nstderr:\n${output.stderr}`));
    }, hangMs);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(hang);
      const reached = existsSync(report) ? readFileSync(report, 'utf8').trim().split('\n') : [];
      resolve({ code, signal, ...output, reached });
    });
  });
}

/** Why a run is not what the page promises; undefined: it is. */
export function problemWith({ program, checks }: Written, ended: Ended): string | undefined {
  const { code, signal, stderr, reached } = ended;
  // Without a GPU that is what a user is told.
  if (program.cuda && code === 1 && stderr.includes('BATCHED_PROVIDER_UNAVAILABLE')) return undefined;
  if (code !== 0) return `it ended with ${signal ?? `code ${code}`}:\n${stderr}`;
  if (stderr !== '') return `it wrote to stderr:\n${stderr}`;
  const missed = checks.filter((check) => !reached.includes(check));
  return missed.length === 0 ? undefined : `it never came to ${missed.join(', ')}`;
}

export const runScript = ({ script }: Written): Promise<Ended> => run(process.execPath, [script], dirname(script));
