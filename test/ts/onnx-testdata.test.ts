/**
 * The ONNX project's own thousand small models, from Debian's libonnx-testdata: every type, operator and odd shape there
 * is. Each loads, and then gives what it should, or is refused with a code; nothing else may happen.
 */
import { expect, test } from '@jest/globals';
import { BatchedError, inference, type LoadOptions, type Tensor } from '../../ts';
import { haveTestModels, listTestModels, readTestModel, type TestModel } from '../helpers/onnx-testdata';

/** Their results are random, or ONNX Runtime is known to differ from what ONNX says. */
const OWN_WAYS =
  /bernoulli|dropout|test_maxunpool_export_with_output_shape|test_resize_downsample_scales_(cubic|linear)_align/;

const quick: LoadOptions = { warmup: false, lanes: 1, intraOpThreads: 1, batchSize: 1024, paddingSide: 'none' };

/** How an attempt ended: 'same', 'unknown' (no tensor to compare with), a code, or what is wrong with it. */
type Ending = string;

/** As it is: few of these models have a batch, so most are refused. */
async function plainly({ path }: TestModel): Promise<Ending> {
  return (await inference.load(path, quick)).close().then(() => 'same');
}

/** All of its data as one call that fills the model's fixed batch: rows are cut apart and put together again. */
async function asOneBatch({ path, inputs, outputs }: TestModel): Promise<Ending> {
  const given = Object.entries(inputs);
  const rows = given[0]?.[1]?.dims[0];
  if (rows === undefined || rows === 0 || given.some(([, tensor]) => tensor === undefined)) return 'unknown';
  const batched = given.filter(([, tensor]) => tensor!.dims[0] === rows).map(([name]) => name);
  const model = await inference.load(path, {
    ...quick,
    batchAxis: Object.fromEntries(batched.map((name) => [name, 0])),
    shared: given.map(([name]) => name).filter((name) => !batched.includes(name)),
  });
  try {
    const output = await model.acall(inputs as Record<string, Tensor>);
    const names = Object.keys(outputs);
    const found = (names.length === 1 ? { [names[0]!]: output } : output) as Record<string, Tensor>;
    if (names.some((name) => outputs[name] === undefined)) return 'unknown';
    return names.map((name) => difference(name, found[name]!, outputs[name]!)).find((text) => text !== '') ?? 'same';
  } finally {
    await model.close();
  }
}

function difference(name: string, found: Tensor, wanted: Tensor): string {
  const form = ({ type, dims }: Tensor): string => `${type} [${dims.join(', ')}]`;
  if (form(found) !== form(wanted)) return `${name} is ${form(found)}, not ${form(wanted)}`;
  const [x, y] = [[...found.data].map(Number), [...wanted.data].map(Number)];
  const at = x.findIndex((own, i) => !Object.is(own, y[i]) && !(Math.abs(own - y[i]!) <= 1e-3 * (1 + Math.abs(y[i]!))));
  return at < 0 ? '' : `${name}[${at}] is ${x[at]}, not ${y[at]}`;
}

async function endingOf(attempt: Promise<Ending>): Promise<Ending> {
  return attempt.catch((error: unknown) => (error instanceof BatchedError ? error.code : `threw ${String(error)}`));
}

// A person may do without the package; a CI that silently does is worth nothing.
const maybe = haveTestModels() || process.env['CI'] ? test : test.skip;

maybe('a thousand models load and give what they should, or are refused (needs libonnx-testdata)', async () => {
  const counts: Record<Ending, number> = {};
  const wrong: string[] = [];
  for (const name of listTestModels()) {
    const model = readTestModel(name);
    if (model === undefined) continue;
    for (const attempt of [plainly, asOneBatch]) {
      const ending = await endingOf(attempt(model));
      const known = /^(same|unknown|BATCHED_INVALID_INPUT|BATCHED_OUTPUT_MISMATCH)$/.test(ending);
      if (known) counts[ending] = (counts[ending] ?? 0) + 1;
      else if (!OWN_WAYS.test(name)) wrong.push(`${name}: ${ending}`);
    }
  }
  expect(wrong).toEqual([]);
  expect(counts['same']).toBeGreaterThan(800); // of 1.12.0: 110 as they are, 742 as one batch
  expect(counts['BATCHED_OUTPUT_MISMATCH'] ?? 0).toBeLessThan(5);
});
