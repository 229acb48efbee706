import { randomFillSync } from 'node:crypto';
import { formatAddress } from '../shared/address.ts';
import { expiryWarnings, watchExpiry } from '../shared/certificates.ts';
import type { CertificateUse } from '../shared/certificates.ts';
import type { Clock, Milliseconds } from '../shared/clock.ts';
import { describeError } from '../shared/errors.ts';
import type { Sharing } from '../shared/listen.ts';
import type { Log } from '../shared/log.ts';
import type { ProxyConfig } from './config.ts';
import { createMarks } from './marks.ts';
import type { PolledDevice } from './marks.ts';
import { createMetrics } from './metrics.ts';
import { createOps } from './ops.ts';
import type { Ops } from './ops.ts';
import { createPollDoor } from './poll/poll-door.ts';
import { watchWrongSecrets } from './poll/wrong-secrets.ts';
import { openRegistry } from './relays/registry.ts';
import { createRelayDoor } from './relays/relay-door.ts';
import { createSessionSlots } from './sessions/session-door.ts';
import { createSessionDoors } from './sessions/session-doors.ts';
import { createSite } from './site.ts';
import { createUnknownDevices } from './unknown-devices.ts';

/** How often polls are gathered and told to the relays. */
const TELEMETRY_MS: Milliseconds = 1_000;
/** How often the proxy's figures are told to the relays. */
const METRICS_MS: Milliseconds = 5_000;
/** How often devices with several messages are looked at again. */
const TICK_MS: Milliseconds = 1_000;

/** Where a running proxy listens; ports are real ones. */
export interface ProxyAddresses {
  poll: string[];
  doors: Record<string, string>;
  relay: string;
  ops: string;
}

/** A running proxy. */
export interface Proxy {
  readonly addresses: ProxyAddresses;
  /** The pin of its key, for relays' configs. */
  readonly pin: string;
  /**
   * Re-reads certificates and keys, and opens and closes session doors as `next` has them. Rejects, with what was
   * there kept, when something is unusable. Resolves to where the session doors listen now.
   */
  reload(next: ProxyConfig): Promise<Record<string, string>>;
  /** Takes nothing new, lets running sessions end for a while, then closes. */
  close(): Promise<void>;
}

export interface ProxyOptions {
  clock: Clock;
  log: Log;
  software: string;
  /** Listen where another proxy of this user does, to take its place; default false: that is refused. Linux only. */
  beside?: boolean;
}

/**
 * Starts a proxy; resolves once everything listens.
 *
 * @throws SallyportError when a port, a file or the state directory cannot be used; then nothing is left open
 */
export async function createProxy(config: ProxyConfig, options: ProxyOptions): Promise<Proxy> {
  const { clock, log, software, beside = false } = options;
  const sharing: Sharing = beside ? 'beside' : 'alone';
  const { limits } = config;
  const opened: { close(): Promise<void> }[] = [];
  try {
    return await open();
  } catch (error) {
    await Promise.allSettled(opened.map((part) => part.close()));
    throw error;
  }

  async function keep<T extends { close(): Promise<void> }>(part: Promise<T>): Promise<T> {
    const made = await part;
    opened.push(made);
    return made;
  }

  async function open(): Promise<Proxy> {
    const startedAt = clock.wall();
    const registry = openRegistry(config.relay.state, (why) => log.error('relay record unusable', { why }));
    const marks = createMarks({
      sites: config.sites.map(({ name }) => name),
      clock,
      random: (bytes) => void randomFillSync(bytes),
      // Of each site, devices with something pending and as many that are merely known.
      limit: 2 * config.sites.reduce((sum, { held }) => sum + held, 0),
    });
    const unknown = createUnknownDevices();
    const sites = config.sites.map((site) =>
      createSite(site, {
        marks,
        clock,
        log,
        held: site.held,
        onKnown: (device) => unknown.forget(site.name, device),
        onSecrets: (secrets) => pollDoor.setSecrets(site.name, secrets),
      }),
    );
    let draining = false;

    const slots = createSessionSlots(limits.session_connections, limits.session_connections_per_address);
    const sessionDoors = await keep(
      createSessionDoors(config, {
        sites,
        slots,
        handshakeMs: limits.handshake_s * 1000,
        linkWaitMs: limits.link_wait_s * 1000,
        drainMs: limits.drain_s * 1000,
        sharing,
        clock,
        log,
      }),
    );
    const pollDoor = await keep(
      createPollDoor(
        {
          listeners: config.poll,
          sites: config.sites,
          workers: config.workers,
          sharing,
          limits: {
            connections: limits.poll_connections,
            requestsPerConnection: limits.poll_requests,
            headerMs: limits.poll_header_s * 1000,
            idleMs: limits.poll_idle_s * 1000,
          },
        },
        { marks, log, clock, onUnknown: (device) => unknown.note(device) },
      ),
    );
    // Relays come last: what they bring needs all the rest.
    const relayDoor = await keep(
      createRelayDoor({
        listen: config.relay.listen,
        sharing,
        tls: config.relay.tls,
        guests: { most: limits.relay_connections, perAddress: limits.relay_connections_per_address },
        relayMsPerSecond: limits.relay_ms_per_s,
        registry,
        siteExists: (name) => sites.some((site) => site.name === name),
        onRevoked: (record) => sites.find(({ name }) => name === record.site)?.distrust(record.name),
        link(record) {
          const site = sites.find(({ name }) => name === record.site);
          if (site === undefined) return null;
          const doors = () => sessionDoors.of(site.name);
          return { site, doors, software, log, maxStreams: limits.lane_streams };
        },
        clock,
        log,
      }),
    );
    const certificates = (): CertificateUse[] => [
      ...pollDoor.certificates(),
      ...sessionDoors.list().flatMap((door) => door.certificate() ?? []),
      relayDoor.certificate(),
    ];
    const metrics = createMetrics({
      pollDoor,
      relayDoor,
      sessionDoors: sessionDoors.list,
      sites,
      marks,
      certificates,
      clock,
    });
    const ops: Ops = await keep(
      createOps(config.ops.listen, {
        sharing,
        sites: () => sites.map((site) => site.status()),
        draining: () => draining,
        warnings: () => expiryWarnings(certificates(), clock.wall()),
        status: () => ({
          software,
          pid: process.pid,
          addresses: bound(),
          started: new Date(startedAt).toISOString(),
          relays: registry.list().map(({ name, site, added }) => ({ name, site, added })),
          links: relayDoor.links(),
          certificates: certificates().map(({ name, notAfter }) => ({
            name,
            expires: new Date(notAfter).toISOString(),
          })),
          polls: pollDoor.stats(),
          sessionConnections: slots.used(),
          marks: marks.stats(),
          unknown: unknown.list().map(({ site, device, polls }) => ({ site, device, polls })),
        }),
        metrics: metrics.text,
        log,
      }),
    );
    /** Everything that is listened on now, as `host:port`. */
    function bound(): string[] {
      const listening = [...pollDoor.addresses, relayDoor.address, ops.address].map(formatAddress);
      return [...listening, ...Object.values(sessionDoors.addresses())];
    }

    const expiry = watchExpiry({ uses: certificates, clock, log });
    const timers = [
      expiry,
      watchWrongSecrets({ count: () => pollDoor.stats().wrongSecret, clock, log }),
      clock.every(TICK_MS, () => sites.forEach((site) => site.tick())),
      clock.every(TELEMETRY_MS, tell),
      clock.every(METRICS_MS, tellMetrics),
    ];

    function tellMetrics(): void {
      metrics.samples().then(
        // A relay is told of its own site and of what concerns all.
        (samples) => {
          for (const site of sites) {
            const own = samples.filter(({ labels }) => (labels['site'] ?? site.name) === site.name);
            for (const link of site.links()) link.sendMetrics(own);
          }
        },
        (error: unknown) => log.error('metrics failed', { why: describeError(error) }),
      );
    }

    let telling = false;
    /** Gathers what polled since the last time, in steps that let polls and links through. */
    function tell(): void {
      if (telling) return;
      telling = true;
      const polled = new Map<string, PolledDevice[]>(sites.map(({ name }) => [name, []]));
      const scan = marks.scan();
      const step = (): void => {
        const { value, done } = scan.next();
        if (done !== true) {
          for (const device of value) polled.get(device.site)?.push(device);
          return void setImmediate(step);
        }
        telling = false;
        for (const site of sites) {
          const links = site.links();
          if (links.length === 0) continue;
          const known = polled.get(site.name) ?? [];
          const strangers = unknown.news(site.name);
          if (known.length + strangers.length === 0) continue;
          for (const link of links) link.sendPolls(known, strangers);
        }
      };
      step();
    }

    return {
      addresses: {
        poll: pollDoor.addresses.map(formatAddress),
        doors: sessionDoors.addresses(),
        relay: formatAddress(relayDoor.address),
        ops: formatAddress(ops.address),
      },
      pin: relayDoor.pin,
      async reload(next) {
        const fixed = ['poll', 'sites', 'ops', 'workers', 'limits', 'relay'] as const;
        const changed = fixed.filter((part) => asFixed(next)[part] !== asFixed(config)[part]);
        if (changed.length > 0) log.warn('changes of these need a restart', { changed });
        pollDoor.reload();
        relayDoor.reload();
        await sessionDoors.change(next);
        expiry.look();
        return sessionDoors.addresses();
      },
      async close() {
        draining = true;
        // From here on a relay that dials reaches whoever takes our place; polls are 200 until the last session has ended.
        relayDoor.retire();
        for (const site of sites) site.leave();
        await sessionDoors.close();
        await pollDoor.close();
        for (const timer of timers) timer.cancel();
        await relayDoor.close();
        await ops.close();
        marks.close();
      },
    };
  }
}

/** What a reload does not change, as text. A site's doors are no part of it: they come and go. */
function asFixed(config: ProxyConfig): Record<keyof ProxyConfig, string> {
  const sites = config.sites.map((site) => ({ ...site, doors: null }));
  return Object.fromEntries(
    Object.entries({ ...config, sites }).map(([part, value]) => [part, JSON.stringify(value)]),
  ) as Record<keyof ProxyConfig, string>;
}
