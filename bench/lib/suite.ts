/** What a suite gets and gives. */
import type { Report } from './report';

export interface Settings {
  readonly rounds: number;
  /** Smaller quantities: a look within a minute, not figures to keep. */
  readonly quick: boolean;
  /** One line about what is going on. */
  readonly log: (line: string) => void;
}

export interface Suite {
  readonly about: string;
  run(settings: Settings, report: Report): Promise<void>;
}
