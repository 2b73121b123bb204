/** The example runs as a program, and says what it should. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';

const root = join(__dirname, '..', '..');

test('examples/worker-threads.ts: two workers share batches, with async and with sync calls', async () => {
  const program = ['examples/worker-threads.ts', '--texts', '80', '--workers', '2', '--clients', '4'];
  const { stdout } = await promisify(execFile)(process.execPath, ['node_modules/tsx/dist/cli.mjs', ...program], {
    cwd: root,
    env: { ...process.env, NODE_OPTIONS: '' },
    timeout: 50_000,
  });
  expect(stdout).toMatch(/2 workers share it/);
  const [asynchronous, sync] = stdout.match(/\d+ texts\/s in batches of .*\n( +\d+ rows .*\n)+/g)!;
  for (const histogram of [asynchronous, sync]) {
    const rows = [...histogram!.matchAll(/(\d+) rows █* ?(\d+)/g)].map(
      ([, size, batches]) => Number(size) * Number(batches),
    );
    expect(rows.reduce((sum, some) => sum + some, 0)).toBe(80);
  }
});
