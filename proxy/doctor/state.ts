import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import type { Milliseconds } from '../../shared/clock.ts';
import { lookAtOwnDirectory } from '../../shared/doctor/files.ts';
import { fail, ok, warn } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import { describeError } from '../../shared/errors.ts';
import type { ProxyConfig } from '../config.ts';
import { openRegistry } from '../relays/registry.ts';
import type { RelayRecord } from '../relays/registry.ts';

/** Clocks of one machine's files and of its present differ by less than this, or one of them was wrong. */
const AHEAD_MS: Milliseconds = 60_000;

/** Looks at the state directory. */
export function lookAtState({ relay }: ProxyConfig): Look {
  return lookAtOwnDirectory('relay.state', relay.state);
}

/** Looks at which relays may link, and whether each site has one. */
export function lookAtRelays({ relay, sites }: ProxyConfig, now: Milliseconds): Look[] {
  const looks: Look[] = [];
  let records: RelayRecord[] = [];
  try {
    if (existsSync(join(relay.state, 'relays'))) {
      const broken = (why: string): void =>
        void looks.push(fail('relays', why, 'sallyport-proxy revoke NAME, then invite it again'));
      records = openRegistry(relay.state, broken, () => now).list();
    }
  } catch (error) {
    return [fail('relays', describeError(error), 'mend the state directory first')];
  }
  for (const { name } of sites) {
    const own = records.filter(({ site }) => site === name);
    looks.push(
      own.length > 0
        ? ok(`site ${name}`, `may be served by ${own.map((record) => record.name).join(', ')}`)
        : warn(
            `site ${name}`,
            'has no relay, so all its polls are 200',
            `sallyport-proxy invite NAME --site ${name}, then sallyport-relay join there`,
          ),
    );
  }
  const names = sites.map(({ name }) => name);
  const lost = records.filter(({ site }) => !names.includes(site));
  return [
    ...looks,
    ...lost.map(({ name, site }) =>
      warn(
        `relay ${name}`,
        `is of site ${site}, which the config does not have`,
        `add the site, or sallyport-proxy revoke ${name}`,
      ),
    ),
  ];
}

/**
 * Looks at the clock: the proxy talks with nobody whose time it could ask for, but what it has written itself must not lie in the
 * future.
 */
export function lookAtClock({ relay }: ProxyConfig, now: Milliseconds): Look {
  const elsewhere = 'sallyport-relay doctor, inside, lays this clock beside its own';
  const newest = Math.max(...writtenAt(relay.state), madeAt(relay.tls.cert));
  if (newest - now <= AHEAD_MS) return ok('clock', `says ${new Date(now).toISOString()}`, elsewhere);
  return {
    ...fail(
      'clock',
      `says ${new Date(now).toISOString()}, but things here are from ${new Date(newest).toISOString()}`,
      'let NTP set the clock (timedatectl set-ntp true): invites and certificates depend on it',
    ),
    elsewhere,
  };
}

function writtenAt(state: string): Milliseconds[] {
  const relays = join(state, 'relays');
  if (!existsSync(relays)) return [];
  return readdirSync(relays).map((file) => statSync(join(relays, file)).mtimeMs);
}

function madeAt(file: string): Milliseconds {
  try {
    return new X509Certificate(readFileSync(file)).validFromDate.getTime();
  } catch {
    // That it cannot be read is said where the keys are looked at.
    return 0;
  }
}
