#!/usr/bin/env node
/**
 * The command line: `npx batched doctor`, `setup-cuda`, `inspect`, `bench`. A command's module, and with it the addon, is loaded when
 * that command runs, so that help and the doctor work where the addon does not.
 *
 * Exit codes: 0 all is well, 1 it is not (the output says what), 2 the command line was wrong.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { chartFile, counts, namedNumber, names, positiveCount, seconds } from './arguments';
import type { BenchOptions } from './bench';
import type { InspectOptions } from './inspect';
import { paintFor } from './paint';
import type { SetupCudaOptions } from './setup_cuda';

const { version } = JSON.parse(readFileSync(path.join(__dirname, '../../package.json'), 'utf8')) as { version: string };

const program = new Command('batched')
  .description('Dynamic batching for inference: what is installed, what a model is, how fast it runs.')
  .version(version)
  .option('--no-color', 'plain text on a terminal too (or set NO_COLOR)')
  .showHelpAfterError('(batched --help tells more)')
  .exitOverride();

/** Sets the exit code rather than exiting: what is written to a pipe is to arrive. */
async function finish(code: Promise<number>): Promise<void> {
  process.exitCode = await code;
}

const paint = () => paintFor(process.stdout, program.opts<{ color: boolean }>().color);

program
  .command('doctor')
  .description('what was found and what is missing, with the file, the version and what to do about it')
  .option('--json', 'for programs')
  .option('--library-path <file>', 'the ONNX Runtime library to try')
  .option('--cuda', 'exit code 1 unless models can run on CUDA, too')
  .action(async (options: { json?: boolean; libraryPath?: string; cuda?: boolean }) => {
    const { doctor } = await import('./doctor.js');
    await finish(doctor({ ...options, version }, paint()));
  });

program
  .command('setup-cuda')
  .description("ONNX Runtime's core and the CUDA provider of exactly its version, in a folder where models find them")
  .option('--from <source>', 'an archive (.tgz, .whl, .nupkg), a folder, or onnxruntime-node; default: npm')
  .addOption(new Option('--cuda <major>', 'default: what suits this machine').choices(['12', '13']))
  .option('--folder <folder>', 'to make; default: ~/.cache/batched/onnxruntime-<version>-cuda<major>')
  .option('--force', 'make it anew')
  .option('--json', 'for programs')
  .action(async (options: SetupCudaOptions) => {
    const { setupCuda } = await import('./setup_cuda.js');
    await finish(setupCuda(options, paint()));
  });

function list(flags: string, about: string, values: number[]): Option {
  return new Option(flags, about).argParser(counts).default(values, values.join());
}

/** What `inspect` and `bench` have in common: how a model is described, as in OnnxModel.load. */
function describingModel(command: Command): Command {
  return command
    .argument('<model>', 'an .onnx file')
    .option('--batch-axis <name=axis>', 'the batch axis of an input or output where it is not 0', namedNumber)
    .option('--shared <name>', 'an input with one value for the whole batch', names)
    .option('--outputs <name>', 'give only this one', names)
    .option('--library-path <file>', 'the ONNX Runtime library to use')
    .addHelpText('after', '\n--batch-axis, --shared and --outputs may be given several times.');
}

describingModel(program.command('inspect'))
  .description("a model's inputs, outputs and axes, and what batched does with them, or why it refuses")
  .option('--json', 'for programs')
  .action(async (model: string, options: InspectOptions) => {
    const { inspect } = await import('./inspect.js');
    await finish(inspect(model, options, paint()));
  });

describingModel(program.command('bench'))
  .description('throughput and latency by batch size and length, with inputs made up from the signature')
  .addOption(list('--lengths <list>', 'lengths of the dynamic axes', [16, 64, 256]))
  .addOption(list('--batch-sizes <list>', 'values of the option batchSize', [1, 8, 32]))
  .option('--clients <count>', 'clients that each wait for their result before they call again', positiveCount, 64)
  .option('--seconds <seconds>', 'for each figure', seconds, 2)
  .option('--max-id <id>', 'integers in the inputs are below this', positiveCount, 1000)
  .option('--value <name=number>', 'fill an input with one number (a sampling rate, say)', namedNumber)
  .addOption(new Option('--padding-side <side>', 'as the option').choices(['right', 'left', 'none']))
  .option('--lanes <count>', 'as the option', positiveCount)
  .option('--intra-op-threads <count>', 'as the option', positiveCount)
  .option('--json <file>', 'write the figures (- for standard output)')
  .option('--chart <file>', 'write a chart: .svg or .png', chartFile)
  .action(async (model: string, options: BenchOptions) => {
    const { bench } = await import('./bench.js');
    await finish(bench(model, options, paint()));
  });

function explain(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // it has printed its message
  const { code, message } = error as { code?: unknown; message: string };
  process.stderr.write(`batched: ${message}\n`);
  if (/^[\w.]+: option '/.test(message)) return 2; // a value that OnnxModel.load knows to be wrong
  if (code === 'BATCHED_LIBRARY_NOT_FOUND') process.stderr.write('`npx batched doctor` says what is missing.\n');
  else if (typeof code !== 'string') process.stderr.write(`${(error as Error).stack}\n`); // a mistake of ours
  return 1;
}

// `batched doctor | head -1` is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

program.parseAsync().catch((error: unknown) => (process.exitCode = explain(error)));
