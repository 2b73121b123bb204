/** What a suite gets and gives. */
import type { Report } from './report';

export interface Settings {
  readonly rounds: number;
  /** Smaller quantities: a look within a minute, not figures to keep. */
  readonly quick: boolean;
  /** Of suites that run as long as they are told to. */
  readonly minutes: number | undefined;
  /** Where a suite that plots something writes it. */
  readonly svg: string | undefined;
  /** One line about what is going on. */
  readonly log: (line: string) => void;
}

export interface Suite {
  readonly about: string;
  run(settings: Settings, report: Report): Promise<void>;
}
