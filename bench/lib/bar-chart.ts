/** Panels of horizontal bars as SVG, in light and dark: who did how much. */

export interface Bar {
  readonly label: string;
  readonly value: number;
  /** The value with its unit, as it stands behind the bar. */
  readonly text: string;
  /** Ours stands out; a bound is what nobody can pass. */
  readonly kind: 'ours' | 'other' | 'bound';
}

export interface Panel {
  readonly title: string;
  readonly caption: string;
  /** Bars of one scale; each group may have a name of its own. */
  readonly groups: readonly { readonly name?: string; readonly bars: readonly Bar[] }[];
}

const width = 940;
const margin = 36;
const gutter = 64;
const headHeight = 92;
const panelHead = 62;
const groupHead = 24;
const groupGap = 14;
const barStep = 40;
const panelGap = 24;
/** Behind the longest bar, for its value. */
const valueRoom = 96;

const escape = (text: string): string => text.replace(/[<>&"]/g, (character) => `&#${character.charCodeAt(0)};`);

function text(x: number, y: number, name: string, content: string): string {
  return `<text x="${x}" y="${y}" class="${name}">${escape(content)}</text>`;
}

const bars = (panel: Panel): Bar[] => panel.groups.flatMap((group) => [...group.bars]);

function heightOf(panel: Panel): number {
  const heads = panel.groups.filter(({ name }) => name !== undefined).length;
  return panelHead + heads * groupHead + (panel.groups.length - 1) * groupGap + bars(panel).length * barStep;
}

function drawBar({ label, value, text: shown, kind }: Bar, x: number, y: number, perUnit: number): string[] {
  const length = Math.max(2, value * perUnit);
  return [
    text(x, y, 'label', label),
    `<rect x="${x}" y="${y + 6}" width="${length.toFixed(1)}" height="14" rx="2" class="${kind}"/>`,
    text(Number((x + length + 8).toFixed(1)), y + 18, kind === 'ours' ? 'value strong' : 'value', shown),
  ];
}

function drawPanel(panel: Panel, x: number, top: number, columnWidth: number): string[] {
  const perUnit = (columnWidth - valueRoom) / Math.max(...bars(panel).map(({ value }) => value));
  const lines = [text(x, top + 16, 'heading', panel.title), text(x, top + 36, 'quiet', panel.caption)];
  let y = top + panelHead;
  for (const group of panel.groups) {
    if (group.name !== undefined) {
      lines.push(text(x, y, 'group', group.name));
      y += groupHead;
    }
    for (const bar of group.bars) {
      lines.push(...drawBar(bar, x, y, perUnit));
      y += barStep;
    }
    y += groupGap;
  }
  return lines;
}

const dark = `
    text { fill: #e6e9ef; } .paper { fill: #14181f; stroke: #2a303a; } .quiet, .label { fill: #a3acba; }
    .other { fill: #596373; } .bound { fill: #3a4250; stroke: #7b8595; } .ours { fill: #4ea5ea; } .strong { fill: #7dc0f5; }`;

const style = (scheme: 'by reader' | 'dark'): string => `
  text { font-family: Inter, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif; fill: #1c2430; }
  .title { font-size: 21px; font-weight: 700; } .heading { font-size: 15.5px; font-weight: 600; }
  .group { font-size: 13px; font-weight: 600; } .quiet, .label { font-size: 12.5px; fill: #5c6675; }
  .value { font-size: 13px; } .strong { font-weight: 700; fill: #1566b0; }
  .paper { fill: #ffffff; stroke: #e4e7ec; } .ours { fill: #2b84d4; } .other { fill: #a9b2bf; }
  .bound { fill: #eef1f5; stroke: #8b95a4; stroke-dasharray: 4 3; }
  ${scheme === 'dark' ? dark : `@media (prefers-color-scheme: dark) {${dark}\n  }`}`;

/** `columns`: panels side by side, each column from the top. `scheme`: dark for those who cannot be asked. */
export function barChart(
  title: string,
  subtitle: string,
  columns: readonly (readonly Panel[])[],
  scheme: 'by reader' | 'dark' = 'by reader',
): string {
  const columnWidth = (width - 2 * margin - gutter * (columns.length - 1)) / columns.length;
  const lines: string[] = [];
  let height = 0;
  columns.forEach((panels, i) => {
    let top = headHeight;
    for (const panel of panels) {
      lines.push(...drawPanel(panel, margin + i * (columnWidth + gutter), top, columnWidth));
      top += heightOf(panel) + panelGap;
    }
    height = Math.max(height, top - panelGap + margin - 12);
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    `<title>${escape(title)}</title>`,
    `<style>${style(scheme)}\n</style>`,
    `<rect class="paper" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8"/>`,
    text(margin, 42, 'title', title),
    text(margin, 64, 'quiet', subtitle),
    ...lines,
    '</svg>',
    '',
  ].join('\n');
}
