// The native source lists are spelled out in CMakeLists.txt and in binding.gyp: a build tells what it is made of, and a
// stray file is not compiled by accident. This compares both with the files on disk; --fix writes the lists anew.
import fs from 'node:fs';
import { filesUnder, inRoot, isProgram, main } from './util.mjs';

const CMAKE_LISTS = {
  BATCHED_ENGINE_SOURCES: 'native/engine',
  BATCHED_GPU_SOURCES: 'native/gpu',
  BATCHED_ORT_SOURCES: 'native/ort',
  BATCHED_ADDON_SOURCES: 'native/addon',
  BATCHED_TEST_SOURCES: 'test/native',
  BATCHED_FUZZ_SOURCES: 'test/fuzz',
};
const sources = (folder) => filesUnder(folder, /\.cc$/);

const lists = [
  ...Object.entries(CMAKE_LISTS).map(([name, folder]) => ({
    file: 'CMakeLists.txt',
    name,
    wanted: sources(folder),
    block: new RegExp(`(?<=set\\(${name}\\n)[^)]*(?=\\))`),
    write: (source) => `  ${source}\n`,
  })),
  {
    file: 'binding.gyp',
    name: 'sources',
    wanted: ['native/engine', 'native/gpu', 'native/ort', 'native/addon'].flatMap(sources),
    block: /(?<="sources": \[\n)[^\]]*(?= {6}\])/,
    write: (source) => `        "${source}",\n`,
  },
];

/** One line for each difference; with `fix`, the lists are rewritten and there is none. */
export function checkSources(fix = false) {
  return lists.flatMap(({ file, name, wanted, block, write }) => {
    const text = fs.readFileSync(inRoot(file), 'utf8');
    const listed = block.exec(text)?.[0].match(/[\w./-]+\.cc/g) ?? [];
    if (fix && listed.join() !== wanted.join()) {
      fs.writeFileSync(
        inRoot(file),
        text.replace(block, () => wanted.map(write).join('')),
      );
      return [];
    }
    return [
      ...wanted.filter((source) => !listed.includes(source)).map((source) => `${file}: ${name} lacks ${source}`),
      ...listed
        .filter((source) => !wanted.includes(source))
        .map((source) => `${file}: ${name} lists ${source}, which is not there`),
    ];
  });
}

if (isProgram(import.meta.url)) {
  main(() => {
    const problems = checkSources(process.argv.includes('--fix'));
    for (const problem of problems) console.error(problem);
    if (problems.length > 0) console.error('`node scripts/check-sources.mjs --fix` writes the lists anew.');
    return problems.length > 0 ? 1 : 0;
  });
}
