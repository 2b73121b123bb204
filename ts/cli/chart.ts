/** The chart of a benchmark, as SVG: throughput and latency over the batch size, a line for each length. */
import type { BenchReport, Result } from './bench_report';
import { readable, type Scale, scaleFor, spreadLabels } from './chart_scale';

const width = 1080;
const height = 550;
const top = 158;
const bottom = 478;
const panels = [
  { left: 76, right: 426 },
  { left: 612, right: 962 },
] as const;

interface Panel {
  title: string;
  caption: string;
  left: number;
  right: number;
  /** What a result's dot shows, and where a thin line from it ends. */
  value: (result: Result) => number;
  reach?: (result: Result) => number;
  best: (a: number, b: number) => boolean;
}

/** The results of one length. */
interface Series {
  length: number | null;
  colour: string;
  alone: Result | undefined;
  loaded: Result[];
}

const escape = (text: string): string =>
  text.replace(/[<>&"']/g, (character) => `&#${character.charCodeAt(0)};`).replace(/\p{Cc}/gu, ' ');

/** From sky to plum, as lengths grow; as visible on white as on black. */
const ramp = [
  [56, 160, 222],
  [111, 105, 214],
  [201, 68, 138],
] as const;

function rampColour(part: number): string {
  const place = part * (ramp.length - 1);
  const from = Math.min(Math.floor(place), ramp.length - 2);
  const mixed = ramp[from]!.map((low, i) => Math.round(low + (place - from) * (ramp[from + 1]![i]! - low)));
  return `rgb(${mixed.join(',')})`;
}

function seriesOf(results: readonly Result[]): Series[] {
  const lengths = [...new Set(results.map(({ length }) => length))];
  const clients = Math.max(...results.map((result) => result.clients));
  return lengths.map((length, i) => {
    const own = results.filter((result) => result.length === length);
    const isLoaded = (result: Result): boolean => result.clients === clients;
    const colour = rampColour(lengths.length === 1 ? 0.4 : i / (lengths.length - 1));
    return { length, colour, alone: own.find((result) => !isLoaded(result)), loaded: own.filter(isLoaded) };
  });
}

type Place = (result: Result) => { x: number; y: number };

function text(x: number, y: number, attributes: string, content: string): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escape(content)}</text>`;
}

function axes(panel: Panel, scale: Scale, columns: readonly { x: number; name: string }[]): string[] {
  const { left, right, title, caption } = panel;
  const grid = scale.ticks.map((tick) => {
    const y = scale.at(tick);
    const line = `<line class="grid" x1="${left}" x2="${right}" y1="${y.toFixed(1)}" y2="${y.toFixed(1)}"/>`;
    return line + text(left - 10, y + 4, 'class="quiet" text-anchor="end"', readable(tick));
  });
  const names = columns.map(({ x, name }) => text(x, bottom + 28, 'class="quiet" text-anchor="middle"', name));
  const sizes = columns.filter(({ name }) => name !== 'alone').map(({ x }) => x);
  const middle = (sizes[0]! + sizes.at(-1)!) / 2;
  return [
    text(left - 44, top - 50, 'class="heading"', title),
    text(left - 44, top - 30, 'class="quiet"', caption),
    ...grid,
    ...names,
    text(middle, bottom + 48, 'class="quiet" text-anchor="middle"', 'batchSize'),
  ];
}

function dot({ x, y }: { x: number; y: number }, colour: string, hollow: boolean): string {
  const place = `cx="${x.toFixed(1)}" cy="${y.toFixed(1)}"`;
  if (hollow) return `<circle ${place} r="4.5" class="hollow" stroke="${colour}" stroke-width="2"/>`;
  return `<circle ${place} r="4.5" fill="${colour}"/>`;
}

function curve(series: Series, panel: Panel, scale: Scale, place: Place): string[] {
  const { colour, alone, loaded } = series;
  const points = loaded.map(place);
  const all = alone === undefined ? loaded : [alone, ...loaded];
  const path = points.map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ');
  const reaches = all.flatMap((result) => {
    if (panel.reach === undefined) return [];
    const { x, y } = place(result);
    const end = scale.at(panel.reach(result));
    const ends = `x1="${x.toFixed(1)}" x2="${x.toFixed(1)}" y1="${y.toFixed(1)}" y2="${end.toFixed(1)}"`;
    return [`<line ${ends} stroke="${colour}" stroke-width="2" stroke-opacity="0.35" stroke-linecap="round"/>`];
  });
  return [
    ...reaches,
    `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2.5" stroke-linejoin="round"/>`,
    ...points.map((point) => dot(point, colour, false)),
    ...(alone === undefined ? [] : [dot(place(alone), colour, true)]),
  ];
}

/** Beside the end of every line what it is, and the best it reaches. */
function labels(all: readonly Series[], panel: Panel, place: Place): string[] {
  const ends = spreadLabels(
    all.map(({ loaded }) => place(loaded.at(-1)!).y),
    36,
  );
  return all.flatMap(({ length, colour, loaded }, i) => {
    const best = loaded.map(panel.value).reduce((a, b) => (panel.best(a, b) ? a : b));
    const at = loaded.find((result) => panel.value(result) === best)!;
    const [x, y] = [panel.right + 14, ends[i]!];
    const value = `${readable(best)}${loaded.length > 1 ? ` at ${at.batchSize}` : ''}`;
    const name = length === null ? 'all rows' : `length ${length}`;
    return [text(x, y - 1, `class="name" style="fill: ${colour}"`, name), text(x, y + 15, 'class="quiet"', value)];
  });
}

function drawPanel(panel: Panel, all: readonly Series[]): string[] {
  const results = all.flatMap(({ alone, loaded }) => (alone === undefined ? loaded : [alone, ...loaded]));
  const values = results.flatMap((result) => [panel.value(result), panel.reach?.(result) ?? panel.value(result)]);
  const scale = scaleFor(values, bottom, top);
  const sizes = [...new Set(all.flatMap(({ loaded }) => loaded.map(({ batchSize }) => batchSize)))];
  const names = [...(all.some(({ alone }) => alone) ? ['alone'] : []), ...sizes.map(String)];
  const step = (panel.right - panel.left) / names.length;
  const columns = names.map((name, i) => ({ name, x: panel.left + (i + 0.5) * step }));
  const nudge = panel.reach === undefined ? 0 : 7; // so that thin lines do not cover each other
  const parts = all.map((series, i) => {
    const place: Place = (result) => {
      const name = result === series.alone ? 'alone' : String(result.batchSize);
      const x = columns.find((column) => column.name === name)!.x + nudge * (i - (all.length - 1) / 2);
      return { x, y: scale.at(panel.value(result)) };
    };
    return { series, place };
  });
  return [
    ...axes(panel, scale, columns),
    ...parts.flatMap(({ series, place }) => curve(series, panel, scale, place)),
    ...labels(all, panel, parts[0]!.place),
  ];
}

const style = `
  text { font-family: Inter, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif; fill: #1c2430; }
  .paper { fill: #ffffff; } .hollow { fill: #ffffff; }
  .title { font-size: 22px; font-weight: 700; } .heading { font-size: 15px; font-weight: 600; }
  .quiet { font-size: 12.5px; fill: #667080; } .name { font-size: 13.5px; font-weight: 600; }
  .grid { stroke: #e4e7ec; stroke-width: 1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6e9ef; } .paper, .hollow { fill: #14181f; } .quiet { fill: #98a1b0; } .grid { stroke: #2a303a; }
  }`;

export function chartOf(report: BenchReport): string {
  const all = seriesOf(report.results);
  const { cpu, cores } = report.machine;
  const clients = Math.max(...report.results.map((result) => result.clients));
  const drawn: Panel[] = [
    {
      ...panels[0],
      title: 'Rows per second',
      caption: 'beside each line the most, and at which batchSize',
      value: (result) => result.rowsPerSecond,
      best: (a, b) => a >= b,
    },
    {
      ...panels[1],
      title: 'Milliseconds from call to result',
      caption: 'median; thin lines reach to the 99th percentile',
      value: ({ latency }) => latency.p50,
      reach: ({ latency }) => latency.p99,
      best: (a, b) => a <= b,
    },
  ];
  const machine = `${cpu}, ${cores} cores · ONNX Runtime ${report.onnxruntime}, ${report.provider}`;
  const load = clients === 1 ? 'one client, alone' : `${clients} clients that call again at once ● or one, alone ○`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    `<title>${escape(report.model)}: throughput and latency by batch size and length</title>`,
    `<style>${style}\n</style>`,
    `<rect class="paper" width="${width}" height="${height}"/>`,
    text(32, 44, 'class="title"', report.model),
    text(32, 68, 'class="quiet"', `${machine} · ${load}`),
    ...drawn.flatMap((panel) => drawPanel(panel, all)),
    '</svg>',
    '',
  ].join('\n');
}
