import { formatAddress, isWildcard } from '../../shared/address.ts';
import { fail, ok, warn } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import type { PollDoorConfig, ProxyConfig } from '../config.ts';

const LOOPBACK = /^(127\.|::1$|localhost$)/;
/** Networks that let everybody in. */
const EVERYBODY = /^(0\.0\.0\.0|::)\/0$/;

/** The ops listener has no password, so nobody beyond this machine may reach it. */
export function lookAtOps({ ops }: ProxyConfig): Look {
  const about = `ops ${formatAddress(ops.listen)}`;
  return LOOPBACK.test(ops.listen.host)
    ? ok(about, 'listens on loopback, which nobody else reaches')
    : fail(
        about,
        'can be reached from other machines, and has no password',
        'write 127.0.0.1 in ops.listen: relays bring its figures inside anyway',
      );
}

/** Whoever can dial the relay door is asked for a key; still it is for relays alone. */
export function lookAtRelayDoor({ relay }: ProxyConfig): Look {
  const about = `relay door ${formatAddress(relay.listen)}`;
  const { port } = relay.listen;
  const elsewhere = `from where phones are this should print nothing: timeout 3 bash -c '</dev/tcp/ADDRESS-OF-THIS-HOST/${port}' 2>/dev/null && echo OPEN`;
  if (isWildcard(relay.listen) && relay.advertise === null) {
    return {
      ...warn(
        about,
        'listens on every address, and no relay.advertise says which one relays dial',
        'write relay.advertise, "wss://HOST:PORT" as seen from inside, or say --url at each invite',
      ),
      elsewhere,
    };
  }
  return ok(
    about,
    'takes TLS 1.3 with a relay’s key only; let the firewall pass the relays’ hosts alone',
    elsewhere,
  );
}

/** What a poll door tells, and to whom. */
export function lookAtPollDoors({ poll, sites }: ProxyConfig): Look[] {
  const secret = sites.some(({ pollSecret }) => pollSecret === 'path');
  return poll.flatMap((door, i) => lookAtPollDoor(`poll[${i}] ${formatAddress(door.listen)}`, door, secret));
}

function lookAtPollDoor(about: string, door: PollDoorConfig, secret: boolean): Look[] {
  const looks: Look[] = [];
  if (door.proxyProtocol && door.proxyProtocolFrom === undefined) {
    looks.push(
      warn(
        about,
        'believes a PROXY header from anybody who reaches it',
        'name the balancers’ networks in proxy_protocol_from',
      ),
    );
  }
  if (secret && door.tls === null && !LOOPBACK.test(door.listen.host)) {
    looks.push(
      warn(
        about,
        'takes polls whose path is a secret without TLS: who listens on the way learns it',
        'give the door tls, where the phones’ firmware can poll by HTTPS',
      ),
    );
  }
  if (looks.length > 0) return looks;
  const everybody = door.allow.some((network) => EVERYBODY.test(network));
  return [
    ok(about, everybody ? 'takes polls from everywhere' : `takes polls from ${door.allow.join(', ')} only`),
  ];
}
