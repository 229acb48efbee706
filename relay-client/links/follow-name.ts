import { isIPv6 } from 'node:net';
import type { Clock, Milliseconds, Timer } from '../../shared/clock.ts';
import { describeError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Answers, Lookup } from './lookup.ts';

/** While no address is known the name is asked for this often, at least. */
export const UNKNOWN_WAIT_MS: Milliseconds = 5_000;

export interface FollowOptions {
  name: string;
  lookup: Lookup;
  /** Between two lookups. */
  interval: Milliseconds;
  /** How long an address is kept that lookups no longer bring; 0 = not at all. */
  grace: Milliseconds;
  /** Most addresses kept at once; more are left out, with a line in the log. */
  most: number;
  clock: Clock;
  log: Log;
  onAddress: (address: string) => void;
  onGone: (address: string) => void;
}

/** The addresses of a name, as they come and go. */
export interface Following {
  /** Why no address is known; null while one is. */
  problem(): string | null;
  stop(): void;
}

/**
 * Asks for a name's addresses again and again. What is known stays known until lookups that succeed have gone without it
 * for the grace: a name server that is down, or that has lost the name, takes no link down.
 */
export function followName(options: FollowOptions): Following {
  const { name, clock, log } = options;
  /** By address: since when lookups go without it; null = the last one brought it. */
  const known = new Map<string, Milliseconds | null>();
  let problem: string | null = `${name} is being looked up`;
  let left = '';
  let timer: Timer | null = null;
  let stopped = false;

  function learn(answers: Answers): void {
    const failures = [answers.v4, answers.v6].filter((answer) => answer instanceof Error);
    const found = [answers.v4, answers.v6].flatMap((answer) => (answer instanceof Error ? [] : answer));
    if (found.length === 0) {
      const why = failures.length === 0 ? 'it has no address' : failures.map(describeError).join('; ');
      log.warn('proxies cannot be looked up; those known stay', { name, why, known: known.size });
      if (known.size === 0) problem = `cannot look up ${name}: ${why}`;
      return;
    }
    for (const [address, missingSince] of known) {
      if (found.includes(address)) known.set(address, null);
      else if (!((isIPv6(address) ? answers.v6 : answers.v4) instanceof Error)) miss(address, missingSince);
    }
    const fresh = found.filter((address) => !known.has(address));
    const room = Math.max(0, options.most - known.size);
    for (const address of fresh.slice(0, room)) {
      known.set(address, null);
      log.info('proxy found', { name, address });
      options.onAddress(address);
    }
    const over = fresh.slice(room).join(', ');
    if (over !== left && over !== '') {
      log.warn('a name has more proxies than limits.proxy_addresses; these are left out', { name, over });
    }
    left = over;
    problem = null;
  }

  function miss(address: string, missingSince: Milliseconds | null): void {
    const since = missingSince ?? clock.monotonic();
    known.set(address, since);
    if (clock.monotonic() - since < options.grace) return;
    known.delete(address);
    log.warn('proxy gone from its name', { name, address });
    options.onGone(address);
  }

  async function look(): Promise<void> {
    const answers = await options.lookup();
    if (stopped) return;
    learn(answers);
    const wait = known.size === 0 ? Math.min(options.interval, UNKNOWN_WAIT_MS) : options.interval;
    timer = clock.after(wait, () => void look());
  }
  void look();

  return {
    problem: () => (known.size === 0 ? problem : null),
    stop() {
      stopped = true;
      timer?.cancel();
    },
  };
}
