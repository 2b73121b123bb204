/** Stats as metrics: what a scrape says is what the callable has counted. */
import { describe, expect, test } from '@jest/globals';
import { Registry, register as defaultRegistry } from 'prom-client';
import { aio, inference, MemoryCache } from '../../ts';
import { register } from '../../ts/prometheus';
import { ensureModel } from '../../scripts/models';

/** By series, such as `batched_rows_total{outcome="failed",name="a"}`, its value. */
async function scrape(registry: Registry): Promise<Map<string, number>> {
  const lines = (await registry.metrics()).split('\n').filter((line) => /^\w/.test(line));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

const twice = (options = {}) => aio.dynamically((items: number[]) => items.map((item) => 2 * item), options);

describe('register', () => {
  test('shows what was counted, anew at every scrape', async () => {
    const registry = new Registry();
    const f = twice({ batchSize: 4 });
    register(f, { name: 'twice', registry });
    expect((await scrape(registry)).get('batched_rows_total{outcome="processed",name="twice"}')).toBe(0);
    await f([1, 2, 3, 4, 5, 6]);
    const metrics = await scrape(registry);
    const series = (name: string, labels = '') => metrics.get(`${name}{${labels}name="twice"}`);
    expect(series('batched_healthy')).toBe(1);
    expect(series('batched_queue_rows')).toBe(0);
    expect(series('batched_rows_total', 'outcome="processed",')).toBe(6);
    expect(series('batched_rows_total', 'outcome="rejected",')).toBe(0);
    expect(series('batched_batches_total')).toBe(2);
    expect(series('batched_batch_rows_bucket', 'le="1",')).toBe(0);
    expect(series('batched_batch_rows_bucket', 'le="2",')).toBe(1);
    expect(series('batched_batch_rows_bucket', 'le="4",')).toBe(2);
    expect(series('batched_batch_rows_bucket', 'le="+Inf",')).toBe(2);
    expect(series('batched_batch_rows_sum')).toBe(6);
    expect(series('batched_batch_rows_count')).toBe(2);
    const seconds = series('batched_total_time_seconds', 'quantile="0.99",')!;
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeCloseTo(f.stats.totalTime.p99 / 1000, 9);
    expect([...metrics.keys()].filter((key) => /held_bytes|cache/.test(key))).toEqual([]);
    await f.close();
    expect((await scrape(registry)).get('batched_healthy{name="twice"}')).toBe(0);
  });

  test('a model has lanes and bytes, a cache its lookups', async () => {
    const registry = new Registry();
    const model = await ensureModel({ kind: 'sum' });
    const sum = await inference.load(model, { lanes: 2, cache: new MemoryCache({ maxEntries: 10 }) });
    register(sum, { name: 'sum', registry });
    for (let i = 0; i < 3; i++) await sum.acall({ x: [[1, 2, 3]] });
    const metrics = await scrape(registry);
    expect(metrics.get('batched_held_bytes{name="sum"}')).toBe(0);
    expect(metrics.get('batched_cache_lookups_total{result="hit",name="sum"}')).toBe(2);
    expect(metrics.get('batched_cache_lookups_total{result="miss",name="sum"}')).toBe(1);
    const lanes = sum.stats.lanes.map(({ name }) => name);
    expect(lanes.length).toBeGreaterThan(1);
    for (const lane of lanes) {
      expect(metrics.get(`batched_lane_healthy{lane="${lane}",name="sum"}`)).toBe(1);
      expect(metrics.get(`batched_lane_busy_ratio{lane="${lane}",name="sum"}`)).toBeGreaterThanOrEqual(0);
    }
    await sum.close();
  });

  test('several callables share the metrics; unregistering the last removes them', async () => {
    const registry = new Registry();
    const [a, b] = [twice(), twice()];
    const removeA = register(a, { name: 'a', registry });
    const removeB = register(b, { name: 'b', registry });
    await a(1);
    const metrics = await scrape(registry);
    expect(metrics.get('batched_batches_total{name="a"}')).toBe(1);
    expect(metrics.get('batched_batches_total{name="b"}')).toBe(0);
    expect(() => register(twice(), { name: 'a', registry })).toThrow(/named 'a' already/);
    removeA();
    removeA();
    expect([...(await scrape(registry)).keys()].filter((key) => key.includes('"a"'))).toEqual([]);
    removeB();
    expect(registry.getMetricsAsArray()).toEqual([]);
    register(twice(), { name: 'a', registry });
    expect((await scrape(registry)).get('batched_healthy{name="a"}')).toBe(1);
  });

  test('a registry that was cleared is filled again', async () => {
    const registry = new Registry();
    const remove = register(twice(), { name: 'a', registry });
    registry.clear();
    register(twice(), { name: 'b', registry });
    expect((await scrape(registry)).get('batched_healthy{name="b"}')).toBe(1);
    remove();
    expect((await scrape(registry)).get('batched_healthy{name="b"}')).toBe(1);
  });

  test('the default registry and name', async () => {
    const remove = register(twice());
    expect((await scrape(defaultRegistry)).get('batched_healthy{name="default"}')).toBe(1);
    remove();
  });

  test('a scrape as OpenMetrics, default labels, JSON and a reset', async () => {
    const registry = new Registry();
    registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never);
    registry.setDefaultLabels({ pod: 'p1' });
    const f = twice();
    register(f, { registry });
    await f(1);
    registry.resetMetrics();
    for (let scrapes = 0; scrapes < 2; scrapes++) {
      const text = await registry.metrics();
      expect(text).toMatch(/^# TYPE batched_batches counter\nbatched_batches_total\{name="default",pod="p1"\} 1$/m);
      expect(text).toMatch(/# EOF\n$/);
    }
    const json = await registry.getMetricsAsJSON();
    expect(json.find(({ name }) => name === 'batched_queue_rows')).toMatchObject({ type: 'gauge' as never });
  });
});
