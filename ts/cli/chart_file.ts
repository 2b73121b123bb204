/** A chart on disk: SVG by itself, PNG with @resvg/resvg-js. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type * as ResvgPackage from '@resvg/resvg-js';
import { Advice } from '../advice';

type Resvg = typeof ResvgPackage.Resvg;

const font = { loadSystemFonts: true, defaultFontFamily: 'DejaVu Sans' };

async function renderer(): Promise<Resvg> {
  let Resvg: Resvg;
  try {
    ({ Resvg } = await import('@resvg/resvg-js'));
  } catch (cause) {
    const message = 'a PNG needs the package @resvg/resvg-js: npm install @resvg/resvg-js, or name an .svg file';
    throw new Advice(message, { cause });
  }
  return Resvg;
}

/** Refuses what {@link writeChart} could not write, before the work is done. */
export async function checkChartFile(file: string): Promise<void> {
  if (path.extname(file).toLowerCase() === '.png') await renderer();
}

export async function writeChart(file: string, svg: string): Promise<void> {
  if (path.extname(file).toLowerCase() !== '.png') {
    writeFileSync(file, svg);
    return;
  }
  const Resvg = await renderer();
  const text = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text y="9">a</text></svg>';
  if (new Resvg(text, { font }).getBBox() === undefined) {
    process.stderr.write('batched: no fonts were found, so the PNG has no text (Debian: fonts-dejavu); an .svg has\n');
  }
  writeFileSync(file, new Resvg(svg, { font, fitTo: { mode: 'zoom', value: 2 } }).render().asPng());
}
