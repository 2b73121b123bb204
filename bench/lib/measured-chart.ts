/** The chart in the README, of the figures in bench/results: `npm run bench -- chart` draws it anew. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { readable } from '../../ts/cli/chart_scale';
import { type Bar, barChart, type Panel } from './bar-chart';
import type { Machine } from './machine';
import type { Result } from './report';

interface Results {
  readonly machine: Machine;
  readonly results: readonly Result[];
}

const root = path.join(__dirname, '..', '..');

export const measuredChartFile = path.join(root, 'docs', 'measured.svg');

const read = (file: string): Results =>
  JSON.parse(readFileSync(path.join(root, 'bench', 'results', file), 'utf8')) as Results;

function finder(file: string, { results }: Results): (name: string) => number {
  return (name) => {
    const found = results.find((result) => result.name === name);
    if (found === undefined) throw new Error(`bench/results/${file} has no '${name}'`);
    return found.value;
  };
}

const others = 'onnxruntime-node, 64 run() in parallel';

function throughputPanel(valueOf: (name: string) => number): Panel {
  const group = (precision: 'fp32' | 'int8') => {
    const bar = (label: string, figure: string, kind: Bar['kind']): Bar => {
      const value = valueOf(`minilm-${precision}/${figure}`);
      return { label, value, text: readable(value), kind };
    };
    return {
      name: precision,
      bars: [
        bar(others, 'onnxruntime-node-texts-per-s', 'other'),
        bar('batched, one text a call', 'texts-per-s', 'ours'),
        bar('the optimum: all texts sorted beforehand', 'optimum-texts-per-s', 'bound'),
      ],
    };
  };
  return {
    title: 'Texts per second',
    caption: 'all-MiniLM-L6-v2 on WordNet glosses, CPU; more is better',
    groups: [group('fp32'), group('int8')],
  };
}

function eventLoopPanel(valueOf: (name: string) => number): Panel {
  const bar = (label: string, name: string, kind: Bar['kind']): Bar => {
    const value = valueOf(name);
    return { label, value, text: `${readable(value)} ms`, kind };
  };
  return {
    title: 'How late the event loop is meanwhile',
    caption: '99th percentile, fp32, at full load; less is better',
    groups: [
      {
        bars: [bar(others, 'eventloop/onnxruntime-node-p99-ms', 'other'), bar('batched', 'eventloop/p99-ms', 'ours')],
      },
    ],
  };
}

function functionPanel(valueOf: (name: string) => number): Panel {
  const bar = (label: string, figure: string, kind: Bar['kind']): Bar => {
    const value = valueOf(`functions/1024-in-flight-${figure}`);
    return { label, value, text: `${readable(value / 1e6)} million`, kind };
  };
  return {
    title: 'Items per second through a trivial function',
    caption: '1,024 in flight, batches of 64; more is better',
    groups: [
      {
        bars: [
          bar('batched for Python, asyncio', 'python-items-per-s', 'other'),
          bar('batched', 'items-per-s', 'ours'),
          bar('dataloader (per tick; no queue, bounds or stats)', 'dataloader-items-per-s', 'other'),
        ],
      },
    ],
  };
}

export function measuredChart(scheme?: 'dark'): string {
  const models = read('cpu-2-cores.json');
  const functions = read('functions-cpu-2-cores.json');
  const ofModels = finder('cpu-2-cores.json', models);
  const ofFunctions = finder('functions-cpu-2-cores.json', functions);
  const { cpu, cores, node, onnxruntimeNode } = models.machine;
  return barChart(
    'What was measured',
    `${cpu}, ${cores} cores · Node ${node.slice(1)} · ONNX Runtime ${onnxruntimeNode} · medians of 5 rounds`,
    [[throughputPanel(ofModels)], [eventLoopPanel(ofModels), functionPanel(ofFunctions)]],
    scheme,
  );
}
