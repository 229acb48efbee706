import { formatAddress } from '../../shared/address.ts';
import type { Address } from '../../shared/address.ts';
import { fail, ok, warn } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import { describeError, isSallyportError } from '../../shared/errors.ts';
import { ensureFree } from '../../shared/listen.ts';
import type { ProxyConfig } from '../config.ts';
import { isProxy } from './running.ts';
import type { OpsSeen } from './running.ts';

interface Listener {
  /** In the words of the config. */
  name: string;
  listen: Address;
}

/** Everything that the proxy listens on. */
function listenersOf({ poll, doors, relay, ops }: ProxyConfig): Listener[] {
  return [
    ...poll.map(({ listen }, i) => ({ name: `poll[${i}]`, listen })),
    ...doors.map(({ name, listen }) => ({ name: `door ${name}`, listen })),
    { name: 'relay door', listen: relay.listen },
    { name: 'ops', listen: ops.listen },
  ];
}

/** Tries each port: it must be free, or held by the running proxy itself. */
export async function lookAtPorts(config: ProxyConfig, running: OpsSeen): Promise<Look[]> {
  const all = listenersOf(config);
  const looks: Look[] = [];
  for (const [i, listener] of all.entries()) {
    const twin = all.slice(0, i).find(({ listen }) => same(listen, listener.listen));
    looks.push(
      twin === undefined
        ? await lookAtPort(listener, running)
        : fail(aboutOf(listener), `is that of ${twin.name}, too`, 'give each its own port'),
    );
  }
  return looks;
}

const aboutOf = ({ name, listen }: Listener): string => `${name} ${formatAddress(listen)}`;

const same = (one: Address, other: Address): boolean =>
  one.port !== 0 && formatAddress(one) === formatAddress(other);

async function lookAtPort(listener: Listener, running: OpsSeen): Promise<Look> {
  const about = aboutOf(listener);
  const held = isProxy(running) && running.addresses.includes(formatAddress(listener.listen));
  if (held) return ok(about, `is held by the running proxy (pid ${running.pid})`);
  if (listener.listen.port === 0) {
    return warn(
      about,
      'is another port at each start',
      'write the port that phones, relays and firewalls know',
    );
  }
  try {
    await ensureFree(listener.listen, listener.name);
  } catch (error) {
    if (isSallyportError(error, 'ADDRESS_IN_USE')) {
      return fail(
        about,
        'is held by another program',
        `ss -ltnp 'sport = :${listener.listen.port}' shows which one: stop it, or choose another port`,
      );
    }
    return fail(about, describeError(error), remedy(error));
  }
  return isProxy(running)
    ? warn(
        about,
        'is free, though a proxy runs: that one was started with another config',
        'restart it; SIGHUP is enough for session doors',
      )
    : ok(about, 'is free');
}

function remedy(error: unknown): string {
  const code = (error instanceof Error ? (error.cause as NodeJS.ErrnoException | undefined)?.code : '') ?? '';
  return code === 'EACCES'
    ? 'let the program bind low ports (AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit), or choose ports from 1024 on'
    : 'write an address of this machine (ip -brief address lists them), or 0.0.0.0';
}
