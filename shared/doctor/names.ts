import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Milliseconds } from '../clock.ts';
import { describeError } from '../errors.ts';
import { fail, ok, warn } from './finding.ts';
import type { Look } from './finding.ts';

/** Beyond this a dial would be noticeably late for the name alone. */
const SLOW_MS: Milliseconds = 2_000;

/** A name that somebody has to look up. */
export interface NameUse {
  host: string;
  /** What for, in the words of the config. */
  use: string;
  /** Another machine looks it up, so that it need not be known here. */
  elsewhere?: string;
}

/** Looks names up, each once, as the program does. Addresses need no look-up. */
export async function lookAtNames(uses: readonly NameUse[]): Promise<Look[]> {
  const names = uses.filter(({ host }, i) => uses.findIndex((use) => use.host === host) === i);
  return Promise.all(names.filter(({ host }) => isIP(host) === 0).map(lookAtName));
}

async function lookAtName({ host, use, elsewhere }: NameUse): Promise<Look> {
  const about = `${host} (${use})`;
  if (elsewhere !== undefined) return ok(about, `is looked up by ${elsewhere}, not here`);
  const from = performance.now();
  try {
    const found = await lookup(host, { all: true });
    const took = performance.now() - from;
    const addresses = found.map(({ address }) => address).join(', ');
    return took > SLOW_MS
      ? warn(
          about,
          `is ${addresses}, but that took ${Math.round(took)} ms`,
          'see which name server of /etc/resolv.conf does not answer',
        )
      : ok(about, `is ${addresses}`);
  } catch (error) {
    return fail(
      about,
      `is not known here: ${describeError(error)}`,
      `correct the name in the config, or make it known by DNS or /etc/hosts (getent hosts ${host} shows what this machine knows)`,
    );
  }
}
