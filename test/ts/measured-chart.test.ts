/** The README's chart is that of the committed results, and a person can read all of it. */
import { readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { Resvg } from '@resvg/resvg-js';
import { measuredChart, measuredChartFile } from '../../bench/lib/measured-chart';

const font = { loadSystemFonts: true, defaultFontFamily: 'DejaVu Sans' };

test('docs/measured.svg is what `npm run bench -- chart` draws of bench/results', () => {
  expect(readFileSync(measuredChartFile, 'utf8')).toBe(measuredChart());
});

test('every text lies within the picture, and none on another', () => {
  const svg = measuredChart();
  const [, width, height] = /viewBox="0 0 (\d+) (\d+)"/.exec(svg)!.map(Number);
  const [head] = /^[\s\S]*?<\/style>/.exec(svg)!;
  const boxes = [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].flatMap(([element, content]) => {
    const box = new Resvg(`${head}${element}</svg>`, { font }).getBBox();
    return box === undefined
      ? []
      : [{ content, left: box.x, top: box.y, right: box.x + box.width, bottom: box.y + box.height }];
  });
  // Without fonts nothing has a size.
  if (process.env['CI'] === undefined && boxes.length === 0) return;
  expect(boxes.length).toBeGreaterThan(20);
  for (const [i, a] of boxes.entries()) {
    expect(a).toMatchObject({
      content: a.left >= 0 && a.right <= width! && a.bottom <= height! ? a.content : 'within',
    });
    for (const b of boxes.slice(i + 1)) {
      const apart = a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
      expect([a.content, b.content, apart]).toEqual([a.content, b.content, true]);
    }
  }
});
