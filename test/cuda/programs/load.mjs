// Sends requests to a model on CUDA, compares each result with the CPU's, and prints what came of it as JSON:
//   load.mjs '{ "model": path, "options": {}, "inputs": "tokens" | "pair" | "bytes", "clients": 16, "requests": 500 }'
// With "rounds" the model is loaded and closed so many times, with "beside" others as often while each is at work.
import { inference } from '../../../dist/index.mjs';

const spec = JSON.parse(process.argv[2]);
const {
  model: path,
  options = {},
  inputs = 'tokens',
  clients = 16,
  requests = 500,
  rounds = 1,
  beside = 0,
  tolerance = 1e-5,
} = spec;
const { pooling, normalize, outputs } = options;

/** Of the i-th request; every one differs from its neighbours. */
const featuresOf = {
  tokens: (i) => ({
    input_ids: BigInt64Array.from({ length: 1 + ((i * 7) % 40) }, (_, j) => BigInt((i + 3 * j) % 50)),
  }),
  pair: (i) => ({
    a: Float32Array.from({ length: 5 }, (_, j) => i + j / 8),
    b: Float32Array.from({ length: 3 }, (_, j) => -i - j / 8),
  }),
  bytes: (i) => ({ ...featuresOf.pair(i), b: Uint8Array.from({ length: 3 }, (_, j) => (i + j) % 100) }),
};

const differs = (a, b) =>
  a.length !== b.length || a.some((value, i) => !(Math.abs(Number(value) - Number(b[i])) <= tolerance));

const count = (counts, key) => (counts[key] = (counts[key] ?? 0) + 1);

async function round() {
  let model;
  try {
    model = await inference.load(path, { executionProviders: ['cuda'], ...options });
  } catch ({ code, message }) {
    return { refusal: { code, message } };
  }
  const loaded = process.hrtime.bigint();
  const endings = {};
  const messages = new Set();
  const results = [];
  let next = 0;
  const client = async () => {
    while (next < requests) {
      const i = next++;
      try {
        results.push([i, (await model.acall(featuresOf[inputs](i))).data]);
        count(endings, 'ok');
      } catch (error) {
        count(endings, error.code ?? error.message);
        messages.add(error.message);
      }
    }
  };
  const passing = async () => {
    for (let i = 0; i < beside; i++) {
      const other = await inference.load(path, { executionProviders: ['cuda'], ...options });
      await other.acall(featuresOf[inputs](i));
      await other.close();
    }
  };
  await Promise.all([...Array.from({ length: clients }, client), passing()]);
  const { stats } = model;
  const { totalProcessed, failed, cancelled, timedOut, closed, admitted, queueSize } = stats;
  const accounted = queueSize === 0 && totalProcessed + failed + cancelled + timedOut + closed === admitted;
  const ended = process.hrtime.bigint();
  await model.close();
  const { provider, providerNote, lanes, retries, totalBatches } = stats;
  const during = [Number(loaded), Number(ended)];
  return {
    endings,
    results,
    messages: [...messages],
    accounted,
    provider,
    providerNote,
    lanes,
    retries,
    totalBatches,
    during,
  };
}

const done = [];
for (let i = 0; i < rounds; i++) done.push(await round());
// Last: whichever model comes first decides on the process's core, and one for the CPU does not look for CUDA.
const cpu = await inference.load(path, { executionProviders: ['cpu'], pooling, normalize, outputs });
const wanted = await Promise.all(Array.from({ length: requests }, (_, i) => cpu.acall(featuresOf[inputs](i))));
await cpu.close();
const judged = done.map(({ results, ...rest }) =>
  results === undefined
    ? rest
    : { ...rest, wrong: results.filter(([i, data]) => differs(data, wanted[i].data)).length },
);
process.stdout.write(JSON.stringify(judged));
