/**
 * Load for the embedding server, from a process of its own: real sentences over many connections, and then the sizes of
 * the batches that the server made of them.
 *
 *   npx tsx examples/load-test.ts [--url http://127.0.0.1:3000] [--connections 64] [--seconds 10] [--texts 1]
 */
import { parseArgs } from 'node:util';
import { loadGlosses } from '../scripts/data/wordnet';

/** What we use of autocannon, which has no types of its own. */
type Autocannon = (options: {
  url: string;
  connections: number;
  duration: number;
  requests: { method: 'POST'; path: string; headers: Record<string, string>; body: string }[];
}) => Promise<{
  '2xx': number;
  non2xx: number;
  errors: number;
  duration: number;
  latency: { p50: number; p90: number; p99: number };
}>;

const { values } = parseArgs({
  options: {
    url: { type: 'string', default: 'http://127.0.0.1:3000' },
    connections: { type: 'string', default: '64' },
    seconds: { type: 'string', default: '10' },
    texts: { type: 'string', default: '1' },
  },
});

/** Batches by their rows, up to each bound that Prometheus is given. */
async function batchSizes(): Promise<Map<string, number>> {
  const metrics = await (await fetch(`${values.url}/metrics`)).text();
  const buckets = metrics.matchAll(/^batched_batch_rows_bucket\{le="([^"]+)".*\} (\d+)$/gm);
  return new Map([...buckets].map(([, bound, count]) => [bound!, Number(count)]));
}

function histogram(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): string[] {
  const upTo = [...after].map(([bound, count]) => ({ bound, count: count - (before.get(bound) ?? 0) }));
  const own = upTo.map(({ bound, count }, i) => ({
    from: i === 0 ? '1' : String(Number(upTo[i - 1]!.bound) + 1),
    bound,
    count: count - (upTo[i - 1]?.count ?? 0),
  }));
  const most = Math.max(1, ...own.map(({ count }) => count));
  return own
    .filter(({ count }) => count > 0)
    .map(({ from, bound, count }) => {
      const rows = from === bound ? bound : bound === '+Inf' ? `${from}…` : `${from}–${bound}`;
      return `  ${rows.padStart(9)} ${'█'.repeat(Math.ceil((40 * count) / most)).padEnd(40)} ${count}`;
    });
}

async function main(): Promise<void> {
  const name: string = 'autocannon';
  const { default: autocannon } = (await import(name)) as { default: Autocannon };
  const [each, connections] = [Number(values.texts), Number(values.connections)];
  const glosses = loadGlosses(512 * each, { shuffle: true, seed: 2 });
  const requests = Array.from({ length: 512 }, (_, i) => ({
    method: 'POST' as const,
    path: '/embed',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ texts: glosses.slice(i * each, (i + 1) * each) }),
  }));
  const before = await batchSizes();
  const result = await autocannon({ url: values.url, connections, duration: Number(values.seconds), requests });
  const { p50, p90, p99 } = result.latency;
  const perSecond = ((each * result['2xx']) / result.duration).toFixed(0);
  console.log(`${connections} connections: ${perSecond} texts/s, p50 ${p50} ms, p90 ${p90} ms, p99 ${p99} ms`);
  console.log(`${result['2xx']} answered, ${result.non2xx} refused, ${result.errors} failed`);
  console.log('\nRows in a batch:');
  for (const line of histogram(before, await batchSizes())) console.log(line);
}

void main();
