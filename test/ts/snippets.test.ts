/** Every piece of code in README.md, docs/models.md and docs/guides compiles, runs, and shows what it says it does. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { type Page, readPage } from '../helpers/markdown-snippets';
import { shellProblems } from '../helpers/shell-snippets';
import {
  makeProject,
  problemWith,
  run,
  runScript,
  typeErrors,
  type Written,
  writePage,
} from '../helpers/snippet-programs';

const root = join(__dirname, '..', '..');
const project = join(root, 'build', 'snippets');
const guides = readdirSync(join(root, 'docs/guides')).filter((file) => file.endsWith('.md'));
const pages: Page[] = ['README.md', 'docs/models.md', ...guides.map((file) => `docs/guides/${file}`)].map((name) =>
  readPage(name, readFileSync(join(root, name), 'utf8')),
);

describe('TypeScript', () => {
  const programs = pages.flatMap((page) => page.programs.ts);
  let written: Written[];

  beforeAll(async () => {
    makeProject(project);
    written = [];
    for (const page of pages) written.push(...(await writePage(project, page)));
  });

  test('every program compiles as a user of the package would have it compiled', () => {
    expect(typeErrors(written)).toEqual([]);
  });

  test.each(programs)('$name runs', async ({ name }) => {
    const file = written.find(({ program }) => program.name === name)!;
    expect(problemWith(file, await runScript(file))).toBeUndefined();
  });
});

describe('Python', () => {
  const helper = join(root, 'test/helpers/snippet.py');
  const programs = pages.flatMap((page) => page.programs.python);
  const environment = join(
    process.env['BATCHED_CACHE_DIR'] || join(root, '.cache'),
    'peers',
    'python',
    'bin',
    'python',
  );
  const python = [environment, 'python3'].find((name) => spawnSync(name, ['--version']).status === 0);

  /** Writes a program; gives its file, and what it imports and this Python lacks. */
  function prepare({ name, lines }: (typeof programs)[number]): { file: string; missing: string } {
    const file = join(root, 'build', 'snippets-python', `${name.replace(/\W+/g, '-')}.py`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, lines.map(({ text }) => text).join('\n'));
    return { file, missing: execFileSync(python!, [helper, 'imports', file], { encoding: 'utf8' }).trim() };
  }

  if (python === undefined) {
    // A person may do without it; a CI that silently does is worth nothing.
    test('python3 is not here: its programs are not compiled', () => expect(process.env['CI']).toBeUndefined());
  } else {
    test.each(
      programs.map((program) => {
        const { file, missing } = prepare(program);
        const does = missing === '' ? 'runs' : `compiles (it does not run: no ${missing.replaceAll('\n', ', ')} here)`;
        return { name: program.name, file, does };
      }),
    )('$name $does', async ({ file, does }) => {
      const verb = does === 'runs' ? 'run' : 'compile';
      expect(await run(python, [helper, verb, file], dirname(file))).toMatchObject({ code: 0, stderr: '' });
    });
  }
});

describe('shell', () => {
  const programs = pages.flatMap((page) => page.programs.sh);

  test.each(programs)('$name names what exists', ({ lines }) => {
    expect(shellProblems(lines.map(({ text }) => text).join('\n'))).toEqual([]);
  });
});

/** Links to files of this repository, and to headings in them. */
describe('links', () => {
  const anchorOf = (heading: string): string =>
    heading
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-');

  test.each(pages.map(({ name }) => name))('%s leads to what is there', (name) => {
    const text = readFileSync(join(root, name), 'utf8');
    const targets = [...text.matchAll(/\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"/g)].map(
      ([, link, source]) => link ?? source!,
    );
    const broken = targets.filter((target) => {
      if (/^https?:/.test(target)) return false;
      const [path, anchor] = target.split('#');
      const file = path === '' ? join(root, name) : join(root, dirname(name), path!);
      if (!existsSync(file)) return true;
      if (anchor === undefined) return false;
      const headings = [...readFileSync(file, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, heading]) => anchorOf(heading!));
      return !headings.includes(anchor);
    });
    expect(broken).toEqual([]);
  });
});
