/**
 * Makes a model and prints its path:
 *
 *   npm run models -- minilm --precision int8
 *   npm run models -- random --size base --precision fp16 --seed 1
 *   npm run models -- clean
 */
import { parseArgs } from 'node:util';
import {
  cleanCache, ELEMENT_TYPES, ensureModel, PLAIN_KINDS, PRECISIONS, RANDOM_BERT_SIZES,
  type EncoderOptions, type ModelSpec, type PlainKind,
} from './index'; // prettier-ignore

const USAGE = `usage: npm run models -- KIND [options]

  minilm     all-MiniLM-L6-v2
  random     BERT with random weights: --size ${Object.keys(RANDOM_BERT_SIZES).join('|')}, --seed N
    both:    --precision ${PRECISIONS.join('|')} (fp16 is made for GPUs; a CPU runs it slowly),
             --standard (no ONNX Runtime operators), --right-padded (masks are lengths),
             --hidden (also last_hidden_state), --states (only last_hidden_state), --half (float16 outputs)
  lookup     a table row for the first id: --vocabulary N, --dim N, --seed N
  busy       echo that takes time: --matmuls N, --width N, --rows N (default: those of the batch)
  echo       --type ${ELEMENT_TYPES.join('|')}
  ${PLAIN_KINDS.join(', ')}

  clean      delete cached models that another version of this maker made
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    help: { type: 'boolean', short: 'h' },
    precision: { type: 'string' },
    size: { type: 'string' },
    type: { type: 'string', default: 'float32' },
    standard: { type: 'boolean' },
    'right-padded': { type: 'boolean' },
    hidden: { type: 'boolean' },
    states: { type: 'boolean' },
    half: { type: 'boolean' },
    seed: { type: 'string' },
    vocabulary: { type: 'string' },
    dim: { type: 'string' },
    matmuls: { type: 'string' },
    width: { type: 'string' },
    rows: { type: 'string' },
  },
});

function oneOf<T extends string>(option: string, value: string, allowed: readonly T[]): T {
  if (!allowed.includes(value as T)) {
    throw new RangeError(`${option} is one of ${allowed.join(', ')}, not "${value}"`);
  }
  return value as T;
}

/** { [key]: number } if the option was given, so that defaults stay where they are defined. */
function count<K extends 'seed' | 'vocabulary' | 'dim' | 'matmuls' | 'width' | 'rows'>(
  key: K,
): Partial<Record<K, number>> {
  const text = values[key];
  if (text === undefined) return {};
  if (!/^\d+$/.test(text)) throw new RangeError(`--${key} is a whole number, not "${text}"`);
  return { [key]: Number(text) } as Partial<Record<K, number>>;
}

function encoderOptions(): EncoderOptions {
  return {
    precision: oneOf('--precision', values.precision ?? 'fp32', PRECISIONS),
    operators: values.standard ? 'onnx' : 'onnxruntime',
    padding: values['right-padded'] ? 'right' : 'any',
    lastHiddenState: values.states ? 'only' : (values.hidden ?? false),
    outputType: values.half ? 'float16' : 'float32',
  };
}

function specOf(kind: string): ModelSpec {
  const sizes = Object.keys(RANDOM_BERT_SIZES) as (keyof typeof RANDOM_BERT_SIZES)[];
  switch (kind) {
    case 'minilm':
      return { kind, ...encoderOptions() };
    case 'random': {
      const size = oneOf('--size', values.size ?? 'micro', sizes);
      return { kind, size, ...count('seed'), ...encoderOptions() };
    }
    case 'lookup':
      return { kind, ...count('vocabulary'), ...count('dim'), ...count('seed') };
    case 'busy':
      return { kind, ...count('matmuls'), ...count('width'), ...count('rows') };
    case 'echo':
      return { kind, type: oneOf('--type', values.type, ELEMENT_TYPES) };
    default:
      return { kind: oneOf<PlainKind>('the kind of model', kind, PLAIN_KINDS) };
  }
}

async function main(): Promise<void> {
  const [kind] = positionals;
  if (values.help || kind === undefined) {
    process.stdout.write(USAGE);
    process.exitCode = values.help ? 0 : 2;
  } else if (kind === 'clean') {
    for (const path of await cleanCache()) console.log(`deleted ${path}`);
  } else {
    console.log(await ensureModel(specOf(kind)));
  }
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
