/** TypeScript files of test/helpers as several compilers emit them, loaded over the sources under test. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { transformSync } from '@swc/core';
import ts from 'typescript';
import * as batched from '../../ts';

type Compile = (source: string) => string;

const tsc =
  (experimentalDecorators: boolean, useDefineForClassFields = true): Compile =>
  (source) =>
    ts.transpileModule(source, {
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.CommonJS,
        experimentalDecorators,
        useDefineForClassFields,
      },
    }).outputText;

const swc =
  (transform: object): Compile =>
  (source) =>
    transformSync(source, {
      configFile: false,
      swcrc: false,
      jsc: { target: 'es2022', parser: { syntax: 'typescript', decorators: true }, transform },
      module: { type: 'commonjs' },
    }).code;

export const standard: [name: string, compile: Compile][] = [
  ['standard, by tsc', tsc(false)],
  ['standard, by tsc without define', tsc(false, false)],
  ['standard, by swc', swc({ decoratorVersion: '2023-11' })],
];

export const legacy: [name: string, compile: Compile][] = [
  ['legacy, by tsc', tsc(true)],
  ['legacy, by tsc without define', tsc(true, false)],
  ['legacy, by swc', swc({ legacyDecorator: true })],
];

/** The exports of `file`, whose only import is the library. */
export function load<Exports>(file: string, compile: Compile): Exports {
  const exports = {};
  const code = compile(readFileSync(join(__dirname, file), 'utf8'));
  // eslint-disable-next-line @typescript-eslint/no-implied-eval
  new Function('exports', 'require', code)(exports, () => batched);
  return exports as Exports;
}
