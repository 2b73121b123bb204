/** The example runs as a program, and says what it should. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';

const root = join(__dirname, '..', '..');

test('examples/voice-activity.ts: all streams end, in batches, and voices are told from the rest', async () => {
  const program = ['examples/voice-activity.ts', '--streams', '14', '--seconds', '1.5', '--live', '0.5'];
  const { stdout } = await promisify(execFile)(process.execPath, ['node_modules/tsx/dist/cli.mjs', ...program], {
    cwd: root,
    env: { ...process.env, NODE_OPTIONS: '' },
    timeout: 50_000,
  });
  expect(stdout).toMatch(/14 streams, live +\d+ x real time/);
  const [, rows] = /14 streams, flat out.*\n +\d+ batches of ([\d.]+) rows/.exec(stdout)!;
  expect(Number(rows)).toBeGreaterThan(1);
  const curves = new Map(stdout.match(/^ {2}.*[▁-█]+$/gm)!.map((line) => [line.slice(2, 16).trim(), line.slice(17)]));
  expect(curves.size).toBe(7);
  for (const [name, curve] of curves) {
    if (name.startsWith('voice')) expect(curve).toMatch(/[▆▇█]{3}/);
    else expect(curve).toMatch(/^▁+$/);
  }
});
