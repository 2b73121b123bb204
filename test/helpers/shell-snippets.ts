/** Commands in documentation: what they name must exist. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(__dirname, '..', '..');

/** What is not ours to check. */
const outside = new Set(
  'apt-get bash cp curl docker env kill mkdir nsys nvidia-smi pip python3 strings sudo'.split(' '),
);
/** npm's own commands that pages use. */
const npmCommands = new Set(['ci', 'install', 'pack', 'rebuild', 'test']);

const read = (file: string): string => readFileSync(join(root, file), 'utf8');

/** `batched`'s help, of one command or of all. */
function help(...command: string[]): string {
  return execFileSync(process.execPath, [join(root, 'dist/cli/main.js'), ...command, '--help'], { encoding: 'utf8' });
}

let commands: ReadonlySet<string> | undefined;
const helpOf = new Map<string, string>();

function batchedProblem([command = '', ...args]: readonly string[]): string | undefined {
  commands ??= new Set([...help().matchAll(/^ {2}([a-z][\w-]*) .*$/gm)].map(([, name]) => name!));
  if (!commands.has(command)) return `batched has no command '${command}'`;
  if (!helpOf.has(command)) helpOf.set(command, help(command));
  const flags = new Set(helpOf.get(command)!.match(/--[a-z][\w-]*/g));
  const unknown = args.find((arg) => arg.startsWith('--') && !flags.has(arg.split('=')[0]!));
  return unknown && `batched ${command} has no option ${unknown}`;
}

function npmProblem([command = '', ...args]: readonly string[]): string | undefined {
  if (npmCommands.has(command)) return undefined;
  if (command !== 'run') return `npm ${command} is not known here`;
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
  const [script = '', dashes, suite] = args;
  if (!Object.hasOwn(scripts, script)) return `package.json has no script '${script}'`;
  if (script !== 'bench' || dashes !== '--' || suite === undefined) return undefined;
  const known = ['all', 'chart'].includes(suite) || existsSync(join(root, 'bench/suites', `${suite}.ts`));
  return known ? undefined : `there is no suite '${suite}'`;
}

function fileProblem(file: string | undefined): string | undefined {
  return file !== undefined && existsSync(join(root, file)) ? undefined : `there is no ${file}`;
}

function commandProblem(command: string): string | undefined {
  const assignments = /^(?:[A-Z_]+=(?:\$\([^)]*\)|\S*)\s+)*/;
  const [program = '', ...args] = command.replace(assignments, '').split(/\s+/);
  if (outside.has(program)) return undefined;
  if (program === 'npm') return npmProblem(args);
  if (program === 'node') return fileProblem(args.find((arg) => !arg.startsWith('-')));
  if (program === 'npx' && args[0] === 'batched') return batchedProblem(args.slice(1));
  if (program === 'npx' && args[0] === 'tsx') return fileProblem(args[1]);
  return `'${[program, ...args].join(' ')}' cannot be checked`;
}

/** What is wrong with the lines of a block. */
export function shellProblems(script: string): string[] {
  const lines = script.replaceAll('\\\n', ' ').split('\n');
  return lines
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .filter((line) => line !== '')
    .flatMap((line) => line.split(/\s+(?:&&|\|\||\||;)\s+/))
    .flatMap((command) => commandProblem(command) ?? []);
}
