/**
 * MiniLM over WordNet glosses in random order: 256 clients with one text each in flight, against the offline optimum
 * of the same texts and against onnxruntime-node with 64 run() in flight.
 *
 * Ours is measured in its steady state, from when every client has had its first answer until the last text has been
 * sent, so that all 256 clients are there all the time; the optimum then runs exactly the texts that were answered in
 * that time. It does so with each of the plans that were fastest beforehand, and the one with the best median counts.
 * The same from the first text to the last answer, filling and draining included, is `of-optimum-whole-run`.
 */
import type { Encoded } from '../../scripts/data/tokenize';
import { ensureModel } from '../../scripts/models';
import { inference } from '../lib/batched';
import { closedLoop, type Timeline, timedLoop } from '../lib/clients';
import { corpus, tokensOf } from '../lib/corpus';
import { type Measured, OfflineOptimum, type Plan } from '../lib/offline-optimum';
import { feedsOf, ort } from '../lib/ort-node';
import type { Report } from '../lib/report';
import { median, quantile, sorted } from '../lib/statistics';
import type { Settings, Suite } from '../lib/suite';

const clients = 256;
const parallelRuns = 64;
const cores = 2;

interface Quantities {
  /** Texts a round sends through ours, and through onnxruntime-node. */
  readonly texts: number;
  readonly bareTexts: number;
  /** Texts in each try of a plan, and tries. */
  readonly sample: number;
  readonly passes: number;
}

const quantities = {
  fp32: { texts: 3072, bareTexts: 640, sample: 384, passes: 4 },
  int8: { texts: 6144, bareTexts: 1280, sample: 1024, passes: 4 },
} as const;

const quickQuantities = {
  fp32: { texts: 1536, bareTexts: 256, sample: 128, passes: 2 },
  int8: { texts: 3072, bareTexts: 512, sample: 256, passes: 2 },
} as const;

export const throughput: Suite = {
  about: 'MiniLM fp32 and int8, 256 clients, against the offline optimum and onnxruntime-node',
  async run(settings, report) {
    for (const precision of ['fp32', 'int8'] as const) {
      await runPrecision(precision, (settings.quick ? quickQuantities : quantities)[precision], settings, report);
    }
  },
};

async function runPrecision(
  precision: 'fp32' | 'int8',
  amounts: Quantities,
  { rounds, log }: Settings,
  report: Report,
): Promise<void> {
  const name = `minilm-${precision}`;
  const path = await ensureModel({ kind: 'minilm', precision });
  const texts = await corpus(amounts.texts * rounds);
  const ours = await inference.load(path);
  const bare = await ort.InferenceSession.create(path);
  const optimum = await OfflineOptimum.start(path, cores);

  const embed = (text: Encoded) =>
    ours.acall({ input_ids: text.inputIds, attention_mask: text.attentionMask, token_type_ids: text.tokenTypeIds });
  const runBare = (text: Encoded) => bare.run(feedsOf(text));

  await closedLoop(clients, 2 * clients, (i) => embed(texts[i]!));
  await closedLoop(parallelRuns, parallelRuns, (i) => runBare(texts[i]!));
  const plans = await choosePlans(name, optimum, texts.slice(0, amounts.texts), amounts, log);

  const measured: Round[] = [];
  for (let round = 0; round < rounds; round++) {
    const sample = texts.slice(round * amounts.texts, (round + 1) * amounts.texts);
    ours.clearStats();
    const oursCpu = cpuClock();
    const line = await timedLoop(clients, sample.length, (i) => embed(sample[i]!));
    const cpuMs = oursCpu();
    const stats = ours.stats;
    const steady = steadyState(line, sample);

    const optima: Optimum[] = [];
    for (const plan of round % 2 === 0 ? plans : [...plans].reverse()) {
      const clock = cpuClock();
      const run = await optimum.run(steady.texts, plan);
      optima.push({ plan, ...run, cpuMs: clock() });
    }
    optima.sort((a, b) => plans.indexOf(a.plan) - plans.indexOf(b.plan));

    const few = sample.slice(0, amounts.bareTexts);
    const start = performance.now();
    await closedLoop(parallelRuns, few.length, (i) => runBare(few[i]!));
    // Per token, since it ran other texts than ours did.
    const bareTokensPerMs = tokensOf(few) / (performance.now() - start);

    measured.push({
      line,
      cpuMs,
      stats,
      steady,
      optima,
      bareTokensPerMs,
      texts: sample.length,
      tokens: tokensOf(sample),
    });
    const textsPerToken = sample.length / tokensOf(sample);
    log(
      `${name} round ${round + 1}/${rounds}, texts/s: ours ${perSecond((steady.tokens / steady.ms) * textsPerToken)}, ` +
        optima.map((run) => `${planName(run.plan)} ${perSecond((run.tokens / run.ms) * textsPerToken)}, `).join('') +
        `onnxruntime-node ${perSecond(bareTokensPerMs * textsPerToken)}`,
    );
  }
  const speeds = plans.map((_, i) => median(measured.map(({ optima }) => optima[i]!.tokens / optima[i]!.ms)));
  const fastest = speeds.indexOf(Math.max(...speeds));
  for (const round of measured) addRound(report, name, round, round.optima[fastest]!);
  log(`${name}: fastest of them: ${planName(plans[fastest]!)}`);

  await ours.close();
  await bare.release();
  await optimum.close();
}

interface Optimum extends Measured {
  readonly plan: Plan;
  readonly cpuMs: number;
}

interface Round {
  readonly line: Timeline;
  readonly cpuMs: number;
  readonly stats: { readonly avgBatchSize: number; readonly paddingEfficiency: number };
  readonly steady: { readonly ms: number; readonly tokens: number };
  /** In the order of the plans. */
  readonly optima: readonly Optimum[];
  readonly bareTokensPerMs: number;
  /** Of the whole run. */
  readonly texts: number;
  readonly tokens: number;
}

function addRound(report: Report, name: string, round: Round, best: Optimum): void {
  const { line, steady, stats, bareTokensPerMs, texts, tokens } = round;
  const tokensPerMs = steady.tokens / steady.ms;
  const bestTokensPerMs = best.tokens / best.ms;
  const wholeTokensPerMs = tokens / (Math.max(...line.answered) - line.sent[0]!);
  const latency = sorted(line.answered.map((end, i) => end - line.sent[i]!));
  const textsPerS = (perMs: number): number => (1e3 * perMs * texts) / tokens;

  report.add(`${name}/of-optimum`, '', tokensPerMs / bestTokensPerMs, { atLeast: 0.9, aim: 0.97 });
  report.add(`${name}/vs-onnxruntime-node`, 'x', tokensPerMs / bareTokensPerMs, { atLeast: 1.8 });
  report.add(`${name}/of-optimum-whole-run`, '', wholeTokensPerMs / bestTokensPerMs);
  // The work per token alone, idle cores left out: a busy machine blurs it less.
  report.add(`${name}/of-optimum-cpu`, '', best.cpuMs / best.tokens / (round.cpuMs / tokens));
  report.add(`${name}/texts-per-s`, 'texts/s', textsPerS(tokensPerMs));
  report.add(`${name}/optimum-texts-per-s`, 'texts/s', textsPerS(bestTokensPerMs));
  report.add(`${name}/onnxruntime-node-texts-per-s`, 'texts/s', textsPerS(bareTokensPerMs));
  report.add(`${name}/p50-ms`, 'ms', quantile(latency, 0.5));
  report.add(`${name}/p99-ms`, 'ms', quantile(latency, 0.99));
  report.add(`${name}/mean-batch`, 'rows', stats.avgBatchSize);
  report.add(`${name}/padding-efficiency`, '', stats.paddingEfficiency);
  report.add(`${name}/optimum-batch`, 'rows', best.plan.batchSize);
  report.add(`${name}/optimum-padding-efficiency`, '', best.efficiency);
}

/** The plans worth a place in every round: the two fastest, and the fastest of the other way. */
async function choosePlans(
  name: string,
  optimum: OfflineOptimum,
  texts: readonly Encoded[],
  { sample, passes }: Quantities,
  log: (line: string) => void,
): Promise<Plan[]> {
  const tried = await optimum.tune(texts, sample, passes);
  const textsPerToken = texts.length / tokensOf(texts);
  for (const way of ['wide', 'lanes'] as const) {
    const figures = tried
      .filter(({ plan }) => plan.way === way)
      .sort((a, b) => a.plan.batchSize - b.plan.batchSize)
      .map(({ plan, tokensPerMs }) => `${plan.batchSize}: ${perSecond(tokensPerMs * textsPerToken)}`);
    const what = way === 'wide' ? `one session, ${cores} threads` : `${cores} sessions, 1 thread each`;
    log(`${name} optimum, ${what}, texts/s by batch size: ${figures.join('  ')}`);
  }
  const plans = tried.slice(0, 2).map(({ plan }) => plan);
  const other = tried.find(({ plan }) => plans.every(({ way }) => way !== plan.way));
  return other === undefined ? plans : [...plans, other.plan];
}

function planName({ way, batchSize }: Plan): string {
  return `optimum (${way} x ${batchSize})`;
}

/** A clock of this process's CPU time, in ms since now. */
function cpuClock(): () => number {
  const start = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1e3;
  };
}

function perSecond(perMs: number): string {
  return (1e3 * perMs).toFixed(0);
}

/** What was answered while all clients were at work, and how long that took. */
function steadyState({ sent, answered }: Timeline, texts: readonly Encoded[]) {
  const from = Math.max(...answered.subarray(0, clients));
  const to = sent[sent.length - 1]!;
  const done = texts.filter((_, i) => answered[i]! > from && answered[i]! <= to);
  return { ms: to - from, texts: done, tokens: tokensOf(done) };
}
