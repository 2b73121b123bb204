// What the `// -> value` of a snippet becomes when it runs. Which of them were reached is written down: one that was not
// has shown nothing.
import assert from 'node:assert/strict';
import { appendFileSync } from 'node:fs';
import { inspect } from 'node:util';

/** `place`: of the check, as the test knows it. A RegExp is looked for in the text of the value. */
export function show(place, value, expected) {
  appendFileSync(process.env.SNIPPET_REPORT, `${place}\n`);
  if (expected instanceof RegExp) assert.match(typeof value === 'string' ? value : inspect(value), expected);
  else assert.deepEqual(value, expected);
  return value;
}
