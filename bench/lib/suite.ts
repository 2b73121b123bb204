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
  /** Of suites that run models on a provider of choice. */
  readonly provider: 'cpu' | 'cuda' | undefined;
  /** Of suites that have several models: which of them, in this order. */
  readonly models: readonly string[] | undefined;
  /** Writes what there is so far, for suites that may be ended before they are through. */
  readonly save: () => void;
  /** One line about what is going on. */
  readonly log: (line: string) => void;
}

export interface Suite {
  readonly about: string;
  run(settings: Settings, report: Report): Promise<void>;
}
