// Writes dist/index.mjs and dist/index.d.mts, and the same for the package's other doors: the ES module face of the
// CommonJS build. It re-exports, rather than being a second build, so that `import` and `require` give the same classes
// and `instanceof` holds across both.
//
// The names come from the declarations, so nothing is loaded, least of all the addon. They are spelled out because a
// name that Node does not find in the CommonJS file is then an error at import, not an undefined at use.
import fs from 'node:fs';
import ts from 'typescript';
import { Advice, inRoot, main } from './util.mjs';

function valueExports(file) {
  const program = ts.createProgram([file], { module: ts.ModuleKind.Node16, skipLibCheck: true, types: [] });
  const checker = program.getTypeChecker();
  const source = checker.getSymbolAtLocation(program.getSourceFile(file));
  const isTypeOnly = (symbol) => symbol.declarations?.some((node) => ts.isTypeOnlyImportOrExportDeclaration(node));
  const target = (symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol);
  return checker
    .getExportsOfModule(source)
    .filter((symbol) => !isTypeOnly(symbol) && target(symbol).flags & ts.SymbolFlags.Value)
    .map((symbol) => symbol.name)
    .sort();
}

const doors = ['index', 'prometheus'];

main(() => {
  for (const door of doors) {
    const names = valueExports(inRoot(`dist/${door}.d.ts`));
    if (names.length === 0) throw new Advice(`dist/${door}.d.ts exports no values: did the TypeScript build run?`);
    const list = names.map((name) => `  ${name},\n`).join('');
    fs.writeFileSync(inRoot(`dist/${door}.mjs`), `export {\n${list}} from './${door}.js';\n`);
    fs.writeFileSync(inRoot(`dist/${door}.d.mts`), `export * from './${door}.js';\n`);
  }
});
