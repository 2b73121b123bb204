/**
 * Batching behind a service class, as NestJS and its like have them: the class says what it needs, callers ask for one
 * thing at a time, and the decorator gathers them. Its lifecycle hooks have the names that NestJS calls.
 *
 *   npx tsx examples/decorated-service.ts
 */
import { type Encoded, loadTokenizer } from '../scripts/data/tokenize';
import { loadGlosses } from '../scripts/data/wordnet';
import { ensureModel } from '../scripts/models';
import { aio, type AsyncBatched, type BatchedModel, batchedOf, inference, MemoryCache, type Tensor } from '../ts';

/** In NestJS: `@Injectable()`. */
class EmbeddingService {
  #model: BatchedModel | undefined;
  #tokenize: ((text: string) => Encoded) | undefined;

  async onModuleInit(): Promise<void> {
    this.#tokenize = await loadTokenizer();
    this.#model = await inference.load(await ensureModel({ kind: 'minilm' }), { outputs: ['sentence_embedding'] });
  }

  /** Texts that were seen before, or are being embedded for somebody else, are not embedded again. */
  @aio.dynamically({ batchSize: 64, concurrency: 2, cache: new MemoryCache({ maxEntries: 10_000 }) })
  async embed(texts: string[]): Promise<Float32Array[]> {
    const rows = texts.map((text) => this.#tokenize!(text).inputIds);
    const { dims, data } = (await this.#model!.acall({ input_ids: rows })) as Tensor<Float32Array>;
    const width = dims[1]!;
    return texts.map((_, row) => data.subarray(row * width, (row + 1) * width));
  }

  /** The same for one text; a decorator cannot change the type of a method. */
  get batched(): AsyncBatched<string, Float32Array> {
    // eslint-disable-next-line @typescript-eslint/unbound-method -- decorated methods are bound to their instance
    return batchedOf(this.embed);
  }

  async onModuleDestroy(): Promise<void> {
    await this.batched.close();
    await this.#model?.close();
  }
}

/** In NestJS: `@Controller()`. It knows nothing of batches. */
class SimilarityController {
  constructor(private readonly embeddings: EmbeddingService) {}

  async similarity(one: string, other: string): Promise<number> {
    const embed = this.embeddings.batched;
    const [a, b] = await Promise.all([embed(one), embed(other)]);
    return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
  }
}

async function main(): Promise<void> {
  const service = new EmbeddingService();
  await service.onModuleInit();
  const controller = new SimilarityController(service);
  const query = 'a large musical instrument';
  const texts = [...loadGlosses(300, { shuffle: true, seed: 1 }), 'a stringed instrument bigger than a violin'];

  // As many requests at a time, each of its own.
  const found = await Promise.all(
    texts.map(async (text) => ({ text, score: await controller.similarity(query, text) })),
  );
  found.sort((a, b) => b.score - a.score);
  console.log(`Nearest to '${query}':`);
  for (const { text, score } of found.slice(0, 3)) console.log(`  ${score.toFixed(3)}  ${text}`);

  const { totalProcessed, totalBatches, cacheStats } = service.batched.stats;
  console.log(`${2 * texts.length} embeddings asked for, ${totalProcessed} made, in ${totalBatches} batches;`);
  console.log(`${cacheStats!.joined + cacheStats!.hits} times the query was there or on its way already`);
  await service.onModuleDestroy();
}

void main();
