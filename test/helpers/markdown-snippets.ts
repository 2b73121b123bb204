/**
 * The code in a page of documentation, as programs.
 *
 *   ```ts                 a program of its own
 *   ```ts continue        goes on where the last one stopped; both run as one
 *   ```ts cuda            a program that needs a GPU
 *   ```ts file=worker.ts  a file beside the page's programs, which one of them starts
 *   ```python, ```python continue, ```sh
 *
 *   <!-- ts before …code… -->   code in front of the next block that readers need not see; `python before` likewise
 *   <!-- ts after …code… -->    the same behind the block before
 *   <!-- models {"model.onnx": {"kind": "lookup"}} -->  files that the page's programs find: scripts/models,
 *                                                        or {"npm": …} for scripts/data/npm-models
 *
 * Whatever else looks like code is an error: nothing is skipped because it was not understood.
 */
import { lexer, type Token } from 'marked';
import type { NpmModel } from '../../scripts/data/npm-models';
import type { ModelSpec } from '../../scripts/models';

/** A line of a program, and where the page has it. */
export interface Line {
  readonly text: string;
  readonly line: number;
}

export interface Program {
  /** Where its first visible line is: `docs/guides/errors.md:12`. */
  readonly name: string;
  readonly lines: Line[];
  readonly cuda: boolean;
  /** Of a block with a name: it is no program by itself. */
  readonly file: string | undefined;
}

export type Language = 'ts' | 'python' | 'sh';

export type PageModel = ModelSpec | { readonly npm: NpmModel };

export interface Page {
  readonly name: string;
  readonly programs: Readonly<Record<Language, readonly Program[]>>;
  /** Named blocks of TypeScript. */
  readonly files: readonly Program[];
  readonly models: Readonly<Record<string, PageModel>>;
  /** How many blocks of code a reader sees. */
  readonly blocks: number;
}

const markers: Readonly<Record<Language, RegExp>> = {
  ts: /^(continue|cuda|file=[\w-]+\.ts)$/,
  python: /^continue$/,
  sh: /^$/,
};

const isLanguage = (word: string): word is Language => Object.hasOwn(markers, word);

class PageReader {
  readonly programs: Record<Language, Program[]> = { ts: [], python: [], sh: [] };
  readonly files: Program[] = [];
  readonly models: Record<string, PageModel> = {};
  blocks = 0;
  readonly #name: string;
  /** What comes before the next block. */
  readonly #before: Record<Language, Line[]> = { ts: [], python: [], sh: [] };
  readonly #last: Partial<Record<Language, Program>> = {};

  constructor(name: string, markdown: string) {
    this.#name = name;
    let line = 1;
    for (const token of lexer(markdown)) {
      this.#read(token, line);
      line += token.raw.split('\n').length - 1;
    }
    for (const [language, [first]] of Object.entries(this.#before)) {
      if (first !== undefined) this.#wrong(first.line, `no ${language} block comes after 'before'`);
    }
  }

  #wrong(line: number, what: string): never {
    throw new Error(`${this.#name}:${line}: ${what}`);
  }

  #read(token: Token, line: number): void {
    if (token.type === 'code') this.#readBlock(token as Token & { lang?: string; text: string }, line);
    else if (token.type === 'html') this.#readHtml(token.raw, line);
    else if (holdsCode(token)) this.#wrong(line, 'a block of code inside of something else: put it at the margin');
  }

  #readBlock({ lang, text, raw }: { lang?: string; text: string; raw: string }, line: number): void {
    if (!raw.startsWith('```')) this.#wrong(line, 'an indented block of code: put it in a fence with its language');
    const [language = '', ...words] = (lang ?? '').split(/\s+/);
    if (!isLanguage(language)) {
      this.#wrong(line, `code in '${language}' cannot be checked (known: ${Object.keys(markers).join(', ')})`);
    }
    for (const word of words) {
      if (!markers[language].test(word)) this.#wrong(line, `'${word}' says nothing about a block of ${language}`);
    }
    this.blocks++;
    const lines = linesOf(text, line + 1);
    const own = [...this.#before[language].splice(0), ...lines];
    if (words.includes('continue')) {
      const last = this.#last[language];
      if (last === undefined) this.#wrong(line, 'there is nothing to continue');
      last.lines.push(...own);
      return;
    }
    const file = words.find((word) => word.startsWith('file='))?.slice(5);
    const program = { name: `${this.#name}:${line + 1}`, lines: own, cuda: words.includes('cuda'), file };
    if (file === undefined) {
      this.programs[language].push(program);
      this.#last[language] = program;
    } else {
      this.files.push(program);
    }
  }

  #readHtml(raw: string, line: number): void {
    if (raw.includes('```')) this.#wrong(line, 'a fence inside of HTML: leave a blank line before it');
    const opening = /<!--\s*(ts|python|sh|models)\b/.exec(raw);
    if (opening === null) return;
    const comment = /^<!--\s*(\w+)(?: +(before|after))?\s([\s\S]*?)-->\s*$/.exec(raw);
    const [, kind, place, content] = comment ?? [];
    if (
      comment === null ||
      kind === undefined ||
      content === undefined ||
      (kind === 'models') !== (place === undefined)
    ) {
      this.#wrong(line, `a comment that begins with ${opening[1]!} must be 'ts before', 'ts after' or 'models'`);
    }
    if (kind === 'models') {
      Object.assign(this.models, JSON.parse(content));
      return;
    }
    const language = kind as Language;
    const lines = linesOf(content.trimEnd(), line + raw.slice(0, raw.indexOf(content)).split('\n').length - 1);
    if (place === 'before') {
      this.#before[language].push(...lines);
      return;
    }
    const last = this.#last[language];
    if (last === undefined) this.#wrong(line, `no ${language} block comes before 'after'`);
    last.lines.push(...lines);
  }
}

function linesOf(text: string, first: number): Line[] {
  return text.split('\n').map((content, i) => ({ text: content, line: first + i }));
}

/** Lists, quotes and tables have tokens of their own. */
function holdsCode(token: Token): boolean {
  const { tokens = [], items = [] } = token as { tokens?: Token[]; items?: Token[] };
  return [...tokens, ...items].some((inner) => inner.type === 'code' || holdsCode(inner));
}

/** Throws, naming the line, where the page has code that is not one of the above. */
export function readPage(name: string, markdown: string): Page {
  const { programs, files, models, blocks } = new PageReader(name, markdown);
  for (const { name: at, file } of files) {
    const script = `./${file!.replace(/\.ts$/, '.js')}`;
    const started = programs.ts.some(({ lines }) => lines.some(({ text }) => text.includes(script)));
    if (!started) throw new Error(`${at}: no program of the page starts ${script}`);
  }
  return { name, programs, files, models, blocks };
}
