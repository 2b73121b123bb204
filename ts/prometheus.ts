/**
 * `batched/prometheus`: the stats of batched callables as metrics of prom-client, read when they are scraped.
 *
 * @module batched/prometheus
 */
import { type Counter, type Registry, register as defaultRegistry } from 'prom-client';
import type { BatchedControls } from './callable';
import type { BatchStats, ModelStats, Percentiles } from './stats';

/** Any batched callable: its `stats` and `health` are all that is asked for. */
export type Observed = Pick<BatchedControls<BatchStats>, 'stats' | 'health'>;

/** Options of {@link register}. */
export interface RegisterOptions {
  /** The label `name` of every metric: it tells callables of one registry apart. Default `'default'`. */
  name?: string;
  /** Default: prom-client's own. */
  registry?: Registry;
}

interface Value {
  value: number;
  labels?: Record<string, string | number>;
  /** Appended to the metric's name. */
  suffix?: string;
}

interface Family {
  name: string;
  help: string;
  type: 'counter' | 'gauge' | 'histogram' | 'summary';
  values: (stats: BatchStats & Partial<ModelStats>, healthy: boolean) => Value[];
}

/** The same for every callable and for ever, as series have to be. */
const batchRowBounds = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

function batchRows({ batchSizes }: BatchStats): Value[] {
  const sizes = Object.entries(batchSizes).map(([rows, batches]) => ({ rows: Number(rows), batches }));
  const batchesUpTo = (bound: number): number =>
    sizes.reduce((sum, { rows, batches }) => (rows <= bound ? sum + batches : sum), 0);
  const buckets = batchRowBounds.map((le) => ({ suffix: '_bucket', labels: { le }, value: batchesUpTo(le) }));
  const count = batchesUpTo(Infinity);
  const sum = sizes.reduce((total, { rows, batches }) => total + rows * batches, 0);
  return [
    ...buckets,
    { suffix: '_bucket', labels: { le: '+Inf' }, value: count },
    { suffix: '_sum', value: sum },
    { suffix: '_count', value: count },
  ];
}

function inSeconds({ p50, p90, p99, max }: Percentiles): Value[] {
  const quantiles = { 0.5: p50, 0.9: p90, 0.99: p99, 1: max };
  return Object.entries(quantiles).map(([quantile, ms]) => ({ labels: { quantile }, value: ms / 1000 }));
}

function labelled(label: string, values: Readonly<Record<string, number>>): Value[] {
  return Object.entries(values).map(([key, value]) => ({ labels: { [label]: key }, value }));
}

const families: readonly Family[] = [
  {
    name: 'batched_healthy',
    help: 'Whether calls are taken and can be run.',
    type: 'gauge',
    values: (_, healthy) => [{ value: healthy ? 1 : 0 }],
  },
  {
    name: 'batched_queue_rows',
    help: 'Rows that wait.',
    type: 'gauge',
    values: ({ queueSize }) => [{ value: queueSize }],
  },
  {
    name: 'batched_rows_total',
    help: 'Rows by how they ended; rejected ones were refused because the queue was full.',
    type: 'counter',
    values: ({ totalProcessed: processed, failed, cancelled, timedOut: timed_out, closed, rejected }) =>
      labelled('outcome', { processed, failed, cancelled, timed_out, closed, rejected }),
  },
  {
    name: 'batched_batches_total',
    help: 'Batches that have run.',
    type: 'counter',
    values: ({ totalBatches }) => [{ value: totalBatches }],
  },
  {
    name: 'batched_dispatches_total',
    help: 'Batches by why they were dispatched.',
    type: 'counter',
    values: ({ dispatchReasons }) => labelled('reason', { ...dispatchReasons }),
  },
  {
    name: 'batched_retries_total',
    help: 'Extra runs to find rows at fault, or after running out of memory.',
    type: 'counter',
    values: ({ retries }) => [{ value: retries }],
  },
  {
    name: 'batched_isolated_rows_total',
    help: 'Rows that made a batch fail, found and failed alone.',
    type: 'counter',
    values: ({ isolated }) => [{ value: isolated }],
  },
  { name: 'batched_batch_rows', help: 'Rows of a batch.', type: 'histogram', values: batchRows },
  {
    name: 'batched_queue_time_seconds',
    help: 'Of rows: from enqueued to bound to a batch, since the start. Quantile 1 is the longest.',
    type: 'summary',
    values: ({ queueTime }) => inSeconds(queueTime),
  },
  {
    name: 'batched_processing_time_seconds',
    help: 'Of batches: the run. Quantile 1 is the longest.',
    type: 'summary',
    values: ({ processingTime }) => inSeconds(processingTime),
  },
  {
    name: 'batched_total_time_seconds',
    help: 'Of rows: from enqueued to settled. Quantile 1 is the longest.',
    type: 'summary',
    values: ({ totalTime }) => inSeconds(totalTime),
  },
  {
    name: 'batched_padding_efficiency_ratio',
    help: 'Useful length / padded length.',
    type: 'gauge',
    values: ({ paddingEfficiency }) => [{ value: paddingEfficiency }],
  },
  {
    name: 'batched_lane_busy_ratio',
    help: 'Part of the time in which the lane was running a batch.',
    type: 'gauge',
    values: ({ lanes }) => lanes.map(({ name, busy }) => ({ labels: { lane: name }, value: busy })),
  },
  {
    name: 'batched_lane_healthy',
    help: 'Whether the lane can run batches.',
    type: 'gauge',
    values: ({ lanes }) => lanes.map(({ name, healthy }) => ({ labels: { lane: name }, value: healthy ? 1 : 0 })),
  },
  {
    name: 'batched_lane_device_busy_ratio',
    help: 'Part of the time in which the GPU computed the batches of the lane (lanes on GPUs only).',
    type: 'gauge',
    values: ({ lanes }) =>
      lanes.flatMap(({ name, device }) => (device ? [{ labels: { lane: name }, value: device.busy }] : [])),
  },
  {
    name: 'batched_lane_device_bytes',
    help: 'Bytes of GPU memory that the lane has taken, weights included (lanes on GPUs only).',
    type: 'gauge',
    values: ({ lanes }) =>
      lanes.flatMap(({ name, device }) => (device ? [{ labels: { lane: name }, value: device.bytes }] : [])),
  },
  {
    name: 'batched_held_bytes',
    help: 'Bytes of inputs that calls in the engine hold (models only).',
    type: 'gauge',
    values: ({ heldBytes }) => (heldBytes === undefined ? [] : [{ value: heldBytes }]),
  },
  {
    name: 'batched_cache_lookups_total',
    help: 'Items looked up in the cache, by what was found (with the option cache only).',
    type: 'counter',
    values: ({ cacheStats }) =>
      cacheStats === undefined
        ? []
        : labelled('result', { hit: cacheStats.hits, miss: cacheStats.gets - cacheStats.hits }),
  },
  {
    name: 'batched_cache_errors_total',
    help: 'Failures of the cache (with the option cache only).',
    type: 'counter',
    values: ({ cacheStats }) => (cacheStats === undefined ? [] : [{ value: cacheStats.errors }]),
  },
];

/** The callables of one registry, by name. */
class Callables {
  readonly #byName = new Map<string, Observed>();
  #snapshots: { name: string; stats: BatchStats; healthy: boolean }[] | undefined;

  add(name: string, callable: Observed): void {
    if (this.#byName.has(name)) {
      throw new RangeError(`prometheus.register: this registry has a callable named '${name}' already`);
    }
    this.#byName.set(name, callable);
  }

  remove(name: string): void {
    this.#byName.delete(name);
  }

  get empty(): boolean {
    return this.#byName.size === 0;
  }

  /** One look at each for all metrics of a scrape, which are asked in one go. */
  get snapshots() {
    if (this.#snapshots === undefined) {
      this.#snapshots = [...this.#byName].map(([name, { stats, health }]) => ({
        name,
        stats,
        healthy: health.healthy,
      }));
      queueMicrotask(() => (this.#snapshots = undefined));
    }
    return this.#snapshots;
  }
}

/**
 * A metric as a registry uses it. prom-client's own classes count what is observed; here the engine has counted, and a
 * histogram cannot be set to what was.
 */
class LiveMetric {
  readonly aggregator = 'sum';
  readonly help: string;
  readonly type: Family['type'];
  /** A registry of OpenMetrics renames counters. */
  name: string;

  constructor(
    private readonly family: Family,
    private readonly callables: Callables,
  ) {
    this.name = family.name;
    this.help = family.help;
    this.type = family.type;
  }

  // async: a registry awaits it, and what `stats` might throw is the scrape's to report.
  // eslint-disable-next-line @typescript-eslint/require-await
  async get(): Promise<object> {
    const { name, help, type, aggregator } = this;
    const values = this.callables.snapshots.flatMap(({ name: callable, stats, healthy }) =>
      this.family.values(stats, healthy).map(({ value, labels, suffix }) => ({
        value,
        labels: { ...labels, name: callable },
        ...(suffix === undefined ? {} : { metricName: `${name}${suffix}` }),
      })),
    );
    return { name, help, type, aggregator, values };
  }

  /** The counts are the callables': `clearStats` resets them. */
  reset(): void {}
}

const registered = new WeakMap<Registry, Callables>();

/**
 * Shows a batched callable's stats as metrics, all named `batched_*` with the label `name`. They are read when the
 * registry is scraped; nothing is done at other times. The registry keeps the callable alive until it is unregistered.
 *
 * @returns a function that unregisters it
 * @throws RangeError if the registry has a callable of that name
 * @example
 * import { register } from 'batched/prometheus';
 * import { register as registry } from 'prom-client';
 *
 * register(embed, { name: 'embed' });
 * app.get('/metrics', async (_, reply) => reply.type(registry.contentType).send(await registry.metrics()));
 */
export function register(callable: Observed, options: RegisterOptions = {}): () => void {
  const { name = 'default', registry = defaultRegistry } = options;
  let callables = registered.get(registry);
  const cleared = registry.getSingleMetric(families[0]!.name) === undefined;
  if (callables === undefined || cleared) {
    callables = new Callables();
    for (const family of families) {
      registry.registerMetric(new LiveMetric(family, callables) as unknown as Counter);
    }
    registered.set(registry, callables);
  }
  const own = callables;
  own.add(name, callable);
  let here = true;
  return () => {
    if (!here) return;
    here = false;
    own.remove(name);
    if (!own.empty || registered.get(registry) !== own) return;
    for (const family of families) registry.removeSingleMetric(family.name);
    registered.delete(registry);
  };
}
