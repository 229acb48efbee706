import { NODATA, NOTFOUND, Resolver } from 'node:dns/promises';
import type { Milliseconds } from '../../shared/clock.ts';

/** What DNS said of one name: its addresses by family, empty where it has none; an error where nothing was learnt. */
export interface Answers {
  v4: readonly string[] | Error;
  v6: readonly string[] | Error;
}

/** Asks for the addresses of one name; never rejects. */
export type Lookup = () => Promise<Answers>;

/** How long a name server is waited for, and how often it is asked. */
const ANSWER_MS: Milliseconds = 2_000;
const TRIES = 2;

/** Which addresses of a name are proxies. */
export type Family = 'all' | 'ipv4' | 'ipv6';

/**
 * Asks DNS itself, and not the machine's `hosts` file, which knows no change.
 *
 * @param servers - name servers as `address` or `address:port`; null = the machine's
 */
export function createLookup(name: string, family: Family, servers: readonly string[] | null): Lookup {
  const resolver = new Resolver({ timeout: ANSWER_MS, tries: TRIES });
  if (servers !== null) resolver.setServers(servers);
  const ask = async (wanted: boolean, answer: () => Promise<string[]>): Promise<string[] | Error> => {
    if (!wanted) return [];
    try {
      return await answer();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return code === NODATA || code === NOTFOUND ? [] : (error as Error);
    }
  };
  return async () => {
    const [v4, v6] = await Promise.all([
      ask(family !== 'ipv6', () => resolver.resolve4(name)),
      ask(family !== 'ipv4', () => resolver.resolve6(name)),
    ]);
    return { v4, v6 };
  };
}
