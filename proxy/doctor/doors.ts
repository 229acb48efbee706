import { createHash } from 'node:crypto';
import { request } from 'node:http';
import { request as requestTls } from 'node:https';
import { formatAddress, isWildcard } from '../../shared/address.ts';
import type { Address } from '../../shared/address.ts';
import type { Milliseconds } from '../../shared/clock.ts';
import { fail, ok, warn } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import { lookAtTlsDoor } from '../../shared/doctor/tls-offer.ts';
import { describeError } from '../../shared/errors.ts';
import type { PollDoorConfig, ProxyConfig, SessionDoorConfig } from '../config.ts';
import type { RunningProxy } from './running.ts';

const POLL_MS: Milliseconds = 5_000;
/** A device that nobody has: its poll is answered 200, and tells nobody anything. */
const NOBODY = createHash('sha256').update('doctor').digest('hex').slice(0, 16);

/** Dials the running proxy's doors as phones do. Doors behind a balancer want a header that only it sends. */
export async function lookAtDoors(
  config: ProxyConfig,
  running: RunningProxy | null,
  now: Milliseconds,
  signal: AbortSignal,
): Promise<Look[]> {
  if (running === null) return [ok('doors', 'were not dialled, since no proxy runs by this config')];
  const prefix = config.sites[0]?.pollPrefixes?.[0] ?? '/dcmp/';
  const looks: Look[] = [];
  for (const door of config.poll.filter(({ proxyProtocol }) => !proxyProtocol))
    looks.push(await lookAtPoll(door, prefix));
  for (const door of config.doors.filter(({ proxyProtocol }) => !proxyProtocol)) {
    looks.push(...(await lookAtSession(door, running, now, signal)));
  }
  return looks;
}

async function lookAtPoll(door: PollDoorConfig, prefix: string): Promise<Look> {
  const about = `poll ${formatAddress(door.listen)}`;
  try {
    const status = await poll(
      reached(door.listen),
      door.tls !== null,
      `${prefix.replace(/\/$/, '')}/contact-me?device-id=${NOBODY}`,
    );
    return status === 200
      ? ok(about, 'answers a poll of an unknown device with 200, as it should')
      : fail(
          about,
          `answers a poll with ${status}`,
          status === 503
            ? 'it is over a limit: see sallyport_poll_connections_cut_total'
            : 'see the log; restart the proxy',
        );
  } catch (error) {
    const text = describeError(error);
    return warn(
      about,
      `does not answer from here: ${text}`,
      'right, if allow leaves this machine out; else restart the proxy',
    );
  }
}

/** A sealed door is answered by the relay behind it, so it has to be linked. */
async function lookAtSession(
  door: SessionDoorConfig,
  running: RunningProxy,
  now: Milliseconds,
  signal: AbortSignal,
): Promise<Look[]> {
  const about = `door ${door.name}`;
  if (door.tls === 'relay' && !running.ready) {
    return [ok(about, 'was not dialled, since no relay is linked that could answer')];
  }
  if (door.tls !== 'relay' && door.tls.clientCa !== null) {
    return [ok(about, 'was not dialled, since it wants a phone’s certificate')];
  }
  const looks = await lookAtTlsDoor(
    reached(door.listen),
    now,
    signal,
    door.tls === 'relay'
      ? `see that the relay has a service ${door.service}, with tls if it is of kind wpi, and that allow lets this machine in`
      : 'see that allow lets this machine in, and the log for what its TLS met',
  );
  return looks.map((look) => ({ ...look, about: `${about}, ${look.about}` }));
}

/** Where a listener on every address is dialled from this machine. */
function reached({ host, port }: Address): Address {
  if (!isWildcard({ host, port })) return { host, port };
  return { host: host.includes(':') ? '::1' : '127.0.0.1', port };
}

function poll(address: Address, tls: boolean, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = {
      host: address.host,
      port: address.port,
      path,
      timeout: POLL_MS,
      agent: false,
      rejectUnauthorized: false,
    };
    const asked = (tls ? requestTls : request)(options, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${POLL_MS} ms`)));
    asked.on('error', reject);
    asked.end();
  });
}
