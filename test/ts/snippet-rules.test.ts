/** The tests of the documents can fail: each rule of their snippets, broken. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { readPage } from '../helpers/markdown-snippets';
import { shellProblems } from '../helpers/shell-snippets';
import {
  makeProject,
  problemWith,
  runScript,
  typeErrors,
  withChecks,
  type Written,
  writePage,
} from '../helpers/snippet-programs';

const fence = (info: string, code = 'x;'): string => `\`\`\`${info}\n${code}\n\`\`\`\n`;
const page = (...parts: string[]) => readPage('page.md', parts.join('\n'));
const root = join(__dirname, '..', '..');

describe('reading a page', () => {
  test('blocks that continue are one program, with what readers do not see', () => {
    const { programs, blocks } = page(
      '# Title\n',
      '<!-- ts before\nconst a = 1;\n-->\n',
      fence('ts', 'const b = a;'),
      'text\n',
      fence('ts continue', 'const c = b;\nc;'),
      '<!-- ts after\nd();\n-->\n',
      fence('ts', 'e();'),
    );
    expect(blocks).toBe(3);
    expect(programs.ts.map(({ lines }) => lines)).toEqual([
      [
        { text: 'const a = 1;', line: 4 },
        { text: 'const b = a;', line: 8 },
        { text: 'const c = b;', line: 14 },
        { text: 'c;', line: 15 },
        { text: 'd();', line: 19 },
      ],
      [{ text: 'e();', line: 23 }],
    ]);
  });

  test.each<[string, string, RegExp]>([
    ['no language', fence(''), /page\.md:1: code in '' cannot be checked/],
    ['an unknown language', `text\n\n${fence('yaml')}`, /page\.md:3: code in 'yaml' cannot be checked \(known: ts, /],
    ['an unknown marker', fence('ts no-run'), /'no-run' says nothing/],
    ['a marker of another language', fence('sh continue'), /'continue' says nothing/],
    ['nothing to continue', fence('ts continue'), /nothing to continue/],
    ['indented code', 'text\n\n    x;\n', /page\.md:3: an indented block/],
    ['a fence of tildes', '~~~ts\nx;\n~~~\n', /in a fence/],
    ['code in a list', `- item\n\n  ${fence('ts').replaceAll('\n', '\n  ')}`, /inside of something else/],
    ['code in a quote', '> ```ts\n> x;\n> ```\n', /inside of something else/],
    ['a fence that HTML hides', `<td>\n${fence('ts')}</td>\n`, /inside of HTML/],
    ['hidden code before nothing', '<!-- ts before\nx;\n-->\n', /page\.md:2: no ts block comes after/],
    ['hidden code after nothing', '<!-- ts after\nx;\n-->\n', /no ts block comes before/],
    ['hidden code of an unknown kind', '<!-- ts skip\nx;\n-->\n', /must be 'ts before'/],
    ['a file that nothing starts', fence('ts file=worker.ts'), /no program of the page starts \.\/worker\.js/],
  ])('%s is an error', (_, markdown, says) => {
    expect(() => page(markdown)).toThrow(says);
  });
});

describe('running it', () => {
  let project: string;
  beforeAll(() => {
    project = mkdtempSync(join(root, 'build', 'snippet-rules-'));
    makeProject(project);
  });
  afterAll(() => rmSync(project, { recursive: true }));

  let pages = 0;
  const written = async (...parts: string[]): Promise<Written[]> =>
    writePage(project, readPage(`page${pages++}.md`, parts.join('\n')));

  test('a wrong type is an error on its line of the page', async () => {
    const files = await written('text\n', fence('ts', "import { dynamically } from 'batched';\ndynamically(5);"));
    expect(typeErrors(files)).toEqual([expect.stringMatching(/^page\d+\.md:5: /)]);
  });

  const problemOf = async (file: Written): Promise<string | undefined> => problemWith(file, await runScript(file));

  test('what it says it gives is compared', async () => {
    const code = 'const one = 1;\none; // -> 1\nconsole.log({ one }); // -> { one: 2 }';
    const [file] = await written(fence('ts', code));
    expect(await problemOf(file!)).toMatch(/^it ended with code 1:[\s\S]*one: 1[\s\S]*one: 2/);
  });

  test('what it says and never comes to is missed', async () => {
    const [file] = await written(fence('ts', 'const later = () => {\n  1; // -> 1\n};\nvoid later;'));
    expect(await problemOf(file!)).toMatch(/^it never came to page\d+\.md:3$/);
  });

  test('values are compared inside of functions and behind await, text by its pattern', async () => {
    const code = "const f = async () => {\n  'abc'; // -> /b/\n  return [1];\n};\nawait f(); // -> [1]";
    const [file] = await written(fence('ts', code));
    expect(file!.checks).toHaveLength(2);
    expect(await problemOf(file!)).toBeUndefined();
  });

  test('what throws, hangs or complains is a problem', async () => {
    const files = await written(
      fence('ts', 'throw new Error();'),
      fence('ts', 'await new Promise(() => undefined);'),
      fence('ts', "console.error('!');"),
    );
    const problems = await Promise.all(files.map(problemOf));
    expect(problems).toEqual([/code 1:/, /code 13:/, /stderr:\n!/].map((says) => expect.stringMatching(says)));
  });

  test('a program for a GPU runs there, and elsewhere ends with the error for that', async () => {
    const load =
      "import { inference } from 'batched';\nawait inference.load('model.onnx', { executionProviders: ['cuda'] });";
    const models = '<!-- models { "model.onnx": { "kind": "sum" } } -->\n';
    const [there, wrong] = await written(models, fence('ts cuda', load), fence('ts cuda', 'throw new Error();'));
    expect(await problemOf(there!)).toBeUndefined();
    expect(await problemOf(wrong!)).toMatch(/code 1:/);
  });

  test('a value behind what is no expression is an error', () => {
    const [program] = page(fence('ts', 'const a = 1; // -> 1')).programs.ts;
    expect(() => withChecks(program!)).toThrow("page.md:2: '// ->' must follow an expression");
  });
});

describe('commands', () => {
  test.each<[string, RegExp]>([
    ['npx batched docter', /no command 'docter'/],
    ['npx batched bench model.onnx --length 16', /no option --length/],
    ['npm run tset', /no script 'tset'/],
    ['npm run bench -- troughput', /no suite 'troughput'/],
    ['npx tsx examples/nothing.ts', /there is no examples\/nothing\.ts/],
    ['npm install batched && rm -rf node_modules', /'rm -rf node_modules' cannot be checked/],
  ])('%s is an error', (script, says) => {
    expect(shellProblems(script)).toEqual([expect.stringMatching(says)]);
  });

  test('what exists is none', () => {
    const script =
      'ENV=1 npm test # all of it\nnpx batched bench model.onnx \\\n  --lengths 16\nnpm run bench -- lone | curl -';
    expect(shellProblems(script)).toEqual([]);
  });
});

test('Python programs are compared and compiled too', () => {
  const folder = mkdtempSync(join(tmpdir(), 'batched-python-'));
  const python = (verb: string, code: string) => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'a.py'), code);
    return spawnSync('python3', [join(root, 'test/helpers/snippet.py'), verb, join(folder, 'a.py')], {
      encoding: 'utf8',
    });
  };
  if (python('compile', '').error !== undefined) {
    expect(process.env['CI']).toBeUndefined(); // as in snippets.test.ts
    return;
  }
  expect(python('run', 'async def f():\n    return [1]\n\nawait f()  # -> [1]\n')).toMatchObject({
    status: 0,
    stderr: '',
  });
  expect(python('run', '1  # -> 2\n').stderr).toContain('line 1: 1 is not 2');
  expect(python('run', 'def f():\n    1  # -> 1\n').stderr).toContain('not reached');
  expect(python('run', 'x = 1  # -> 1\n').stderr).toContain('no expression');
  expect(python('compile', 'def f(:\n').stderr).toContain('SyntaxError');
  expect(python('imports', 'import no_such_module_here, sys\n').stdout).toBe('no_such_module_here\n');
  rmSync(folder, { recursive: true });
});
