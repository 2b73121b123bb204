/**
 * A server for text embeddings: texts in, vectors out. Requests that overlap share batches; what the engine knows about
 * its own state is what the outside sees.
 *
 *   npm run example:server [-- --port 3000 --host 127.0.0.1 --max-queue-rows 4096 --deadline-ms 10000]
 *
 *   POST /embed    {"texts": ["…", …]} -> {"embeddings": [[…], …], "tokens": n}
 *   GET  /health   200 while requests are taken and can be run, else 503
 *   GET  /metrics  for Prometheus
 */
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { Registry } from 'prom-client';
import { loadTokenizer } from '../scripts/data/tokenize';
import { ensureModel } from '../scripts/models';
import { type BatchedErrorCode, BatchedError, type BatchedModel, inference, type Tensor } from '../ts';
import { register } from '../ts/prometheus';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '3000' },
    host: { type: 'string', default: '127.0.0.1' },
    'max-queue-rows': { type: 'string', default: '4096' },
    'deadline-ms': { type: 'string', default: '10000' },
  },
});

const deadlineMs = Number(values['deadline-ms']);

/** What is not here is a mistake of the server's own: 500. */
const statusOf: Partial<Record<BatchedErrorCode, number>> = {
  BATCHED_INVALID_INPUT: 400,
  BATCHED_QUEUE_FULL: 429,
  BATCHED_CLOSED: 503,
  BATCHED_DEVICE_LOST: 503,
  BATCHED_DEADLINE: 504,
};

const schema = {
  body: {
    type: 'object',
    required: ['texts'],
    properties: {
      texts: { type: 'array', minItems: 1, maxItems: 256, items: { type: 'string', maxLength: 100_000 } },
    },
  },
};

/** Aborts when the client goes away before it has its answer. */
function whileConnected(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort(new Error('the client has gone'));
  });
  return controller.signal;
}

/** When it is worth asking again, in whole seconds: about when what waits now has been worked off. */
function retryAfter({ stats }: BatchedModel): number {
  return Math.max(1, Math.ceil(stats.totalTime.p50 / 1000));
}

async function makeServer(embed: BatchedModel): Promise<FastifyInstance> {
  const app = Fastify({
    bodyLimit: 4 << 20,
    forceCloseConnections: 'idle',
    ajv: { customOptions: { coerceTypes: false } },
  });
  const tokenize = await loadTokenizer();
  const registry = new Registry();
  register(embed, { name: 'embed', registry });

  app.post<{ Body: { texts: string[] } }>('/embed', { schema }, async ({ body }, reply) => {
    const rows = body.texts.map((text) => tokenize(text).inputIds);
    // One call: its rows are admitted together or not at all, and still batched with whatever fits each in length.
    const signal = whileConnected(reply);
    const { dims, data } = (await embed.acall({ input_ids: rows }, { signal, deadlineMs })) as Tensor<Float32Array>;
    const width = dims[1]!;
    const embeddings = rows.map((_, row) => Array.from(data.subarray(row * width, (row + 1) * width)));
    return { embeddings, tokens: rows.reduce((sum, { length }) => sum + length, 0) };
  });

  app.get('/health', (_, reply) => {
    const { healthy } = embed.health;
    return reply.code(healthy ? 200 : 503).send({ healthy, queueRows: embed.stats.queueSize });
  });

  app.get('/metrics', async (_, reply) => reply.type(registry.contentType).send(await registry.metrics()));

  app.setErrorHandler((error: Error & { statusCode?: number }, _, reply) => {
    if (reply.raw.destroyed) return reply.hijack(); // nobody is there to be told
    if (!(error instanceof BatchedError)) {
      return reply.code(error.statusCode ?? 500).send({ error: error.message });
    }
    const status = statusOf[error.code] ?? 500;
    if (status === 429) void reply.header('retry-after', retryAfter(embed));
    return reply.code(status).send({ error: error.message, code: error.code });
  });
  return app;
}

/** New connections are refused, requests that are here are answered, then the engine is closed. */
async function shutDown(app: FastifyInstance, embed: BatchedModel): Promise<void> {
  const closed = app.close();
  await embed.close({ drain: true });
  // What was asked is computed; once it is written, a connection that a client keeps open has nothing to wait for.
  setTimeout(() => app.server.closeAllConnections(), 500);
  await closed;
}

async function main(): Promise<void> {
  const embed = await inference.load(await ensureModel({ kind: 'minilm' }), {
    outputs: ['sentence_embedding'],
    maxQueueRows: Number(values['max-queue-rows']),
  });
  const app = await makeServer(embed);
  console.log(`listening on ${await app.listen({ port: Number(values.port), host: values.host })}`);
  await Promise.race(['SIGTERM', 'SIGINT'].map((signal) => once(process, signal)));
  await shutDown(app, embed);
  console.log(`served ${embed.stats.totalProcessed} texts in ${embed.stats.totalBatches} batches`);
}

void main();
