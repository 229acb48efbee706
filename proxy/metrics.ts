import { Counter, Gauge, Registry, collectDefaultMetrics } from 'prom-client';
import type { CertificateUse } from '../shared/certificates.ts';
import type { Clock } from '../shared/clock.ts';
import type { MetricSample } from '../shared/protocol.ts';
import type { Marks } from './marks.ts';
import type { PollDoor } from './poll/poll-door.ts';
import type { RelayDoor } from './relays/relay-door.ts';
import type { SessionDoor } from './sessions/session-door.ts';
import type { Site } from './site.ts';

/** The parts whose counts become metrics. */
export interface MeasuredParts {
  pollDoor: PollDoor;
  relayDoor: RelayDoor;
  sessionDoors: () => readonly SessionDoor[];
  sites: Site[];
  marks: Marks;
  certificates: () => CertificateUse[];
  clock: Clock;
}

/** The proxy's metrics, read from the parts at each call. */
export interface Metrics {
  /** In Prometheus' text format. */
  text(): Promise<string>;
  /** For the relays: all but the figures of the process itself. */
  samples(): Promise<MetricSample[]>;
}

/** Prefix of the figures of the process itself. */
const PROCESS_PREFIX = 'sallyport_proxy_';

export function createMetrics(parts: MeasuredParts): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: PROCESS_PREFIX });
  const gauge = (name: string, help: string, labels: string[], read: (gauge: Gauge) => void): void => {
    new Gauge({
      name,
      help,
      labelNames: labels,
      registers: [registry],
      collect() {
        this.reset();
        read(this);
      },
    });
  };
  const counter = (name: string, help: string, labels: string[], read: (counter: Counter) => void): void => {
    new Counter({
      name,
      help,
      labelNames: labels,
      registers: [registry],
      collect() {
        this.reset();
        read(this);
      },
    });
  };
  const { pollDoor, relayDoor, sessionDoors, sites, marks } = parts;

  counter('sallyport_polls_total', 'Polls answered, by status', ['status'], (c) => {
    for (const [status, count] of Object.entries(pollDoor.stats().answers)) c.inc({ status }, count);
  });
  counter(
    'sallyport_poll_connections_cut_total',
    'Poll connections cut or refused, by reason',
    ['reason'],
    (c) => {
      for (const [reason, count] of Object.entries(pollDoor.stats().cut)) c.inc({ reason }, count);
    },
  );
  counter('sallyport_polls_unknown_total', 'Polls by devices that no relay knows', [], (c) => {
    c.inc(pollDoor.stats().unknown.polls);
  });
  counter('sallyport_polls_wrong_secret_total', 'Polls without the right secret in their path', [], (c) => {
    c.inc(pollDoor.stats().wrongSecret);
  });
  gauge('sallyport_poll_connections', 'Poll connections open', [], (g) =>
    g.set(pollDoor.stats().connections.open),
  );
  counter('sallyport_poll_workers_replaced_total', 'Poll workers that died and were replaced', [], (c) => {
    c.inc(pollDoor.stats().workers.replaced);
  });
  gauge('sallyport_marks_known', 'Devices with a mark', [], (g) => g.set(marks.stats().known));
  gauge('sallyport_marks_bytes', 'Shared memory of the marks', [], (g) => g.set(marks.stats().bytes));
  counter('sallyport_site_polls_total', "Polls of the site's phones, by status", ['site', 'status'], (c) => {
    for (const { name } of sites) {
      const stats = pollDoor.siteStats(name);
      for (const status of [200, 202] as const) c.inc({ site: name, status: String(status) }, stats[status]);
    }
  });
  gauge('sallyport_site_poll_connections', "Poll connections of the site's phones", ['site'], (g) => {
    for (const { name } of sites) g.set({ site: name }, pollDoor.siteStats(name).open);
  });
  counter(
    'sallyport_site_poll_connections_refused_total',
    'Poll connections refused at the quota of the site',
    ['site'],
    (c) => {
      for (const { name } of sites) c.inc({ site: name }, pollDoor.siteStats(name).refused);
    },
  );
  gauge('sallyport_site_ready', '1 while polls of the site can be answered 202', ['site'], (g) => {
    for (const site of sites) g.set({ site: site.name }, site.status().ready ? 1 : 0);
  });
  gauge('sallyport_site_held', 'Pending messages held', ['site'], (g) => {
    for (const site of sites) g.set({ site: site.name }, site.status().held);
  });
  gauge('sallyport_site_pending_devices', 'Devices with something pending', ['site'], (g) => {
    for (const site of sites) g.set({ site: site.name }, site.status().pendingDevices);
  });
  gauge('sallyport_site_sessions', 'Sessions running, as its relays tell', ['site'], (g) => {
    for (const site of sites) g.set({ site: site.name }, site.status().sessions);
  });
  gauge('sallyport_link_round_trip_seconds', 'Round trip of the relay link', ['site', 'relay'], (g) => {
    for (const site of sites) {
      for (const { name, roundTripMs } of site.status().relays) {
        if (roundTripMs !== null) g.set({ site: site.name, relay: name }, roundTripMs / 1000);
      }
    }
  });
  counter(
    'sallyport_link_busy_seconds_total',
    "Time of the main thread that the relay's control frames took",
    ['site', 'relay'],
    (c) => {
      for (const { site, relay, busyMs } of relayDoor.taken()) c.inc({ site, relay }, busyMs / 1000);
    },
  );
  counter(
    'sallyport_link_held_back_seconds_total',
    'Time in which the relay was not listened to, as its frames took too much',
    ['site', 'relay'],
    (c) => {
      for (const { site, relay, heldBackMs } of relayDoor.taken()) c.inc({ site, relay }, heldBackMs / 1000);
    },
  );
  gauge('sallyport_session_connections', 'Phone connections open', ['door'], (g) => {
    for (const door of sessionDoors()) g.set({ door: door.name }, door.stats().open);
  });
  counter('sallyport_session_connections_total', 'Phone connections accepted', ['door'], (c) => {
    for (const door of sessionDoors()) c.inc({ door: door.name }, door.stats().accepted);
  });
  counter(
    'sallyport_session_connections_cut_total',
    'Phone connections that ended by a cut',
    ['door'],
    (c) => {
      for (const door of sessionDoors()) c.inc({ door: door.name }, door.stats().cut);
    },
  );
  counter(
    'sallyport_session_refused_total',
    'Phone connections refused, by reason',
    ['door', 'reason'],
    (c) => {
      for (const door of sessionDoors()) {
        for (const [reason, count] of Object.entries(door.stats().refused))
          c.inc({ door: door.name, reason }, count);
      }
    },
  );
  counter(
    'sallyport_relay_door_refused_total',
    'Connections that the relay door refused, by reason',
    ['reason'],
    (c) => {
      for (const [reason, count] of Object.entries(relayDoor.refused())) c.inc({ reason }, count);
    },
  );
  counter(
    'sallyport_links_fenced_total',
    "Live links closed because a second one came with the same relay's key",
    [],
    (c) => {
      c.inc(relayDoor.fenced());
    },
  );
  gauge('sallyport_certificate_left_seconds', 'Until the certificate expires', ['certificate'], (g) => {
    for (const { name, notAfter } of parts.certificates()) {
      g.set({ certificate: name }, Math.round((notAfter - parts.clock.wall()) / 1000));
    }
  });
  return {
    text: () => registry.metrics(),
    async samples() {
      const metrics = await registry.getMetricsAsJSON();
      return metrics
        .filter(({ name }) => !name.startsWith(PROCESS_PREFIX))
        .flatMap(({ name, type, values }) =>
          values.map(({ value, labels }) => ({
            name,
            // The library types it as an enum whose values are these words.
            kind: String(type) === 'counter' ? ('counter' as const) : ('gauge' as const),
            labels: Object.fromEntries(Object.entries(labels).map(([label, word]) => [label, String(word)])),
            value,
          })),
        );
    },
  };
}
