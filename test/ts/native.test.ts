/** ts/native.ts declares what the addon exports: the two are compared name by name. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from '@jest/globals';
import ts from 'typescript';
import { codesInOrder } from '../../ts/errors';
import { native } from '../../ts/native';
import { elementTypes } from '../../ts/tensor';
import { tinyElf } from '../helpers/tiny-elf';

const root = path.join(__dirname, '..', '..');

function membersOf(interfaceName: string): string[] {
  const file = path.join(root, 'ts', 'native.ts');
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.ES2022, true);
  const names: string[] = [];
  source.forEachChild((node) => {
    if (!ts.isInterfaceDeclaration(node) || node.name.text !== interfaceName) return;
    for (const member of node.members) names.push((member.name as ts.Identifier).text);
  });
  return names.sort();
}

function prototypeOf(exported: unknown): string[] {
  const { prototype } = exported as { prototype: object };
  return Object.getOwnPropertyNames(prototype)
    .filter((name) => name !== 'constructor')
    .sort();
}

/** The names of an enumeration's values in a C++ header, in order. */
function enumeration(header: string, name: string): string[] {
  const text = readFileSync(path.join(root, 'native', header), 'utf8');
  const body = new RegExp(`enum class ${name}[^{]*\\{([^}]*)\\}`).exec(text)![1]!;
  return [...body.matchAll(/\bk([A-Z]\w*)/g)].map(([, value]) => value!);
}

describe('the addon and its declarations', () => {
  test('export the same names', () => {
    expect(Object.keys(native).sort()).toEqual(membersOf('Native'));
  });

  test("class Engine has the members of NativeEngine; submit is each instance's own", () => {
    expect([...prototypeOf(native.Engine), 'submit'].sort()).toEqual(membersOf('NativeEngine'));
  });

  test.each([
    ['OnnxModel', 'NativeOnnxModel'],
    ['FunctionQueue', 'NativeFunctionQueue'],
  ] as const)('class %s has the members of %s', (exported, declared) => {
    expect(prototypeOf(native[exported])).toEqual(membersOf(declared));
  });

  test('agree on the order of the error codes', () => {
    const wanted = enumeration('engine/status.h', 'Code').map((name) =>
      name === 'Ok' ? 'OK' : `BATCHED${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`,
    );
    expect(codesInOrder).toEqual(wanted);
  });

  test('agree on the order of the element types', () => {
    expect(elementTypes).toEqual(enumeration('engine/tensor.h', 'DType').map((name) => name.toLowerCase()));
  });
});

describe('preloadLibraries', () => {
  test('loads by absolute path, dependencies first, and says why one does not load', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'batched-preload-'));
    const put = (soname: string, needed: string[] = []): string => {
      const file = path.join(folder, soname);
      writeFileSync(file, tinyElf({ soname, needed }));
      return file;
    };
    const first = put('libbatchedfirst.so.1');
    const second = put('libbatchedsecond.so.1', ['libbatchedfirst.so.1']);
    const text = path.join(folder, 'text.so');
    writeFileSync(text, 'no library');
    try {
      expect(native.preloadLibraries([])).toEqual([]);
      const error = expect.stringContaining('libbatchedfirst.so.1: cannot open shared object file');
      expect(native.preloadLibraries([second])).toEqual([{ path: second, error }]);
      const both = [{ path: first }, { path: second }];
      expect(native.preloadLibraries([first, second])).toEqual(both);
      expect(native.preloadLibraries([first, second])).toEqual(both);
      expect(native.preloadLibraries(['libbatchedfirst.so.1', text, path.join(folder, 'none.so'), first])).toEqual([
        { path: 'libbatchedfirst.so.1', error: 'it is not an absolute path' },
        { path: text, error: expect.stringMatching(/text\.so: (file too short|invalid ELF header)/) },
        { path: path.join(folder, 'none.so'), error: expect.stringContaining('none.so: cannot open') },
        { path: first },
      ]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
