/** What TypeScript's legacy decorators cannot do does not compile; never run. */
import { dynamically } from '../../../ts';

export class Wrong {
  // @ts-expect-error a legacy decorator does not see what a field holds
  @dynamically({})
  field = (items: string[]): string[] => items;

  // @ts-expect-error a legacy decorator does not see what a field holds
  @dynamically
  bare = (items: string[]): string[] => items;

  // @ts-expect-error a parameter is no method
  parameter(@dynamically items: string[]): string[] {
    return items;
  }
}
