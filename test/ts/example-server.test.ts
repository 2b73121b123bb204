/** The server examples as programs: what a client, a scraper and an init system see of them. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ensureModel } from '../../scripts/models';

const root = join(__dirname, '..', '..');
const env = { ...process.env, NODE_OPTIONS: '' };
const example = (name: string, ...args: string[]): string[] => ['--import', 'tsx', `examples/${name}.ts`, ...args];

interface Server {
  child: ChildProcess;
  url: string;
  output: () => string;
}

async function start(...args: string[]): Promise<Server> {
  const child = spawn(process.execPath, example('embedding-server', '--port', '0', ...args), {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      const [, address] = /listening on (\S+)/.exec(output) ?? [];
      if (address !== undefined) resolve(address);
    });
    child.on('exit', (code) => reject(new Error(`the server ended with ${code}`)));
  });
  return { child, url, output: () => output };
}

function post(url: string, texts: unknown, signal?: AbortSignal): Promise<Response> {
  return fetch(`${url}/embed`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ texts }),
    ...(signal === undefined ? {} : { signal }),
  });
}

async function until(true_: () => Promise<boolean>): Promise<void> {
  while (!(await true_())) await new Promise((resolve) => setTimeout(resolve, 10));
}

async function metric(url: string, series: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${series} `));
  return Number(line?.slice(series.length));
}

const cosine = (a: number[], b: number[]): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
/** Some sixty tokens: long enough that hundreds of them keep any machine busy for a while. */
const long = 'the quick brown fox jumps over the lazy dog while nobody looks '.repeat(5);
const rows = (outcome: string): string => `batched_rows_total{outcome="${outcome}",name="embed"}`;

let server: Server;
beforeAll(async () => {
  await ensureModel({ kind: 'minilm' });
  server = await start('--max-queue-rows', '256', '--deadline-ms', '60000');
});
afterAll(() => void server.child.kill('SIGKILL'));

describe('examples/embedding-server.ts', () => {
  test('texts in, vectors out', async () => {
    const response = await post(server.url, ['a big musical instrument', 'a large organ', 'tax law']);
    expect(response.status).toBe(200);
    const { embeddings, tokens } = (await response.json()) as { embeddings: number[][]; tokens: number };
    expect(embeddings.map(({ length }) => length)).toEqual([384, 384, 384]);
    expect(tokens).toBe(15);
    expect(cosine(embeddings[0]!, embeddings[0]!)).toBeCloseTo(1, 4);
    expect(cosine(embeddings[0]!, embeddings[1]!)).toBeGreaterThan(cosine(embeddings[0]!, embeddings[2]!) + 0.2);
  });

  test.each([[[]], ['text'], [[1, {}]], [undefined]])('%j is 400', async (texts) => {
    expect((await post(server.url, texts)).status).toBe(400);
  });

  test('health and metrics', async () => {
    const health = await fetch(`${server.url}/health`);
    expect({ status: health.status, body: await health.json() }).toEqual({
      status: 200,
      body: { healthy: true, queueRows: 0 },
    });
    expect(await metric(server.url, rows('processed'))).toBeGreaterThanOrEqual(3);
    expect(await metric(server.url, 'batched_healthy{name="embed"}')).toBe(1);
  });

  test('a load from another process, and its batches', async () => {
    const args = example('load-test', '--url', server.url, '--connections', '16', '--seconds', '1');
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root, env, timeout: 40_000 });
    expect(stdout).toMatch(/^16 connections: [1-9]\d* texts\/s/);
    expect(stdout).toMatch(/[1-9]\d* answered, 0 refused, 0 failed/);
    expect(stdout).toMatch(/Rows in a batch:\n( +[\d–…]+ █+ +\d+\n)+$/);
    expect(stdout).toMatch(/ 5–8 | 9–16 /); // requests of one text each, together
  });

  test('full is 429, a client that goes takes its rows along, and SIGTERM lets what is here end', async () => {
    const { url, child } = server;
    const big = post(url, new Array<string>(250).fill(long));
    const queued = async () => ((await (await fetch(`${url}/health`)).json()) as { queueRows: number }).queueRows;
    await until(async () => (await queued()) > 100);

    const refused = await post(url, new Array<string>(250).fill(long));
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(await refused.json()).toMatchObject({ code: 'BATCHED_QUEUE_FULL' });
    expect(await metric(url, rows('rejected'))).toBe(250);

    await until(async () => (await queued()) <= 230); // there is room for these, and much before them
    const controller = new AbortController();
    const gone = post(url, new Array<string>(20).fill(long), controller.signal);
    setTimeout(() => controller.abort(), 100); // it has had the time to come in, and not to be answered
    await expect(gone).rejects.toThrow();
    await until(async () => (await metric(url, rows('cancelled'))) > 0);

    child.kill('SIGTERM');
    const answer = await big;
    expect(answer.status).toBe(200);
    expect(((await answer.json()) as { embeddings: unknown[] }).embeddings).toHaveLength(250);
    if (child.exitCode === null) await once(child, 'exit');
    expect({ code: child.exitCode, signal: child.signalCode }).toEqual({ code: 0, signal: null });
    expect(server.output()).toMatch(/served \d+ texts in \d+ batches\n$/);
    await expect(post(url, ['x'])).rejects.toThrow();
  });
});

test('examples/decorated-service.ts: requests one by one, embedded in batches, each text once', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, example('decorated-service'), {
    cwd: root,
    env,
    timeout: 50_000,
  });
  expect(stdout).toMatch(/^Nearest to .*\n {2}0\.\d+ {2}a stringed instrument bigger than a violin\n/);
  const [, asked, made, batches] = /(\d+) embeddings asked for, (\d+) made, in (\d+) batches/.exec(stdout)!.map(Number);
  expect(asked).toBe(602);
  expect(made).toBeLessThanOrEqual(302);
  expect(batches).toBeLessThanOrEqual(10);
});
