import { Counter, Gauge, Registry, collectDefaultMetrics } from 'prom-client';
import type { Clock } from '../shared/clock.ts';
import { isSallyportError } from '../shared/errors.ts';
import type { MetricSample } from '../shared/protocol.ts';
import type { ProxyState } from './desk.ts';
import { REFUSALS } from './outbox/count-refusals.ts';
import type { RefusalCode } from './outbox/count-refusals.ts';
import type { Outbox, OutboxCounts } from './outbox/outbox.ts';
import type { ServiceMetrics } from './services/metrics.ts';
import type { CourierMetrics } from './courier/courier.ts';
import type { Service } from './services/service.ts';
import type { SessionMetrics } from './sessions/sessions.ts';
import { WARNINGS } from './warnings/kinds.ts';
import type { Warning } from './warnings/kinds.ts';
import type { Webhook } from './webhooks/webhook.ts';

/** The promises that a running relay sees broken; numbers are those of docs/promises.md. */
export const WATCHED_PROMISES = ['P1', 'P6'] as const;

export interface RelayMetrics {
  /** A promise was seen broken. */
  violated(promise: (typeof WATCHED_PROMISES)[number]): void;
  readonly sessions: SessionMetrics;
  readonly services: ServiceMetrics;
  readonly courier: CourierMetrics;
  warning(what: Warning): void;
  /** A push was refused for want of room or time. */
  refused(code: RefusalCode): void;
  /** A proxy told its figures; the newest stand until its link is down. */
  proxy(url: string, samples: MetricSample[]): void;
  /** All of it in Prometheus' text format, the proxies' under a label `proxy`. */
  text(): Promise<string>;
}

export function createRelayMetrics(parts: {
  outbox: Outbox;
  links: () => ProxyState[];
  services: () => readonly Service[];
  running: () => number;
  /** Most messages that the outbox holds. */
  limit: number;
  /** Devices that have polled, and those that have not for half an hour. */
  polling: () => { heard: number; late: number };
  webhooks: () => readonly Webhook[];
  clock: Clock;
}): RelayMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry, prefix: 'sallyport_relay_' });
  const ended = new Counter({
    name: 'sallyport_sessions_total',
    help: 'Provisioning sessions that ended, by outcome',
    labelNames: ['outcome'],
    registers,
  });
  const warned = new Counter({
    name: 'sallyport_warnings_total',
    help: 'Things that deserve a look, by kind',
    labelNames: ['what'],
    registers,
  });
  // From 0 on, so that the first of each is seen as a rise.
  for (const what of Object.keys(WARNINGS)) warned.inc({ what }, 0);
  const refused = new Counter({
    name: 'sallyport_pushes_refused_total',
    help: 'Pushes that the outbox refused for want of room or time, by code',
    labelNames: ['code'],
    registers,
  });
  for (const code of REFUSALS) refused.inc({ code }, 0);
  const violated = new Counter({
    name: 'sallyport_promise_violations_total',
    help: 'Promises that were seen broken, by their number',
    labelNames: ['promise'],
    registers,
  });
  for (const promise of WATCHED_PROMISES) violated.inc({ promise }, 0);
  const taught = new Counter({
    name: 'sallyport_taught_total',
    help: 'Phones that were taught what their service does not tell them, by result',
    labelNames: ['result'],
    registers,
  });
  const delivered = new Counter({
    name: 'sallyport_courier_actions_total',
    help: 'Held actions that phones have answered, by action and status',
    labelNames: ['action', 'status'],
    registers,
  });
  const unproven = new Counter({
    name: 'sallyport_courier_unproven_total',
    help: 'Times that held actions with secrets were kept from a phone that was not proven',
    registers,
  });
  const served = new Counter({
    name: 'sallyport_service_events_total',
    help: 'What services met: refused, cut or failed requests and the like',
    labelNames: ['service', 'event'],
    registers,
  });
  /** Of a total that another part counts. */
  const total = (name: string, help: string, labelNames: string[], read: (counter: Counter) => void) =>
    new Counter({
      name,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        read(this);
      },
    });
  const gauge = (
    name: string,
    help: string,
    labelNames: string[],
    read: (gauge: Gauge) => void | Promise<void>,
  ) =>
    new Gauge({
      name,
      help,
      labelNames,
      registers,
      async collect() {
        this.reset();
        await read(this);
      },
    });
  /** Null while the outbox is away, which must not keep all other figures from being read. */
  const counts = (): Promise<OutboxCounts | null> =>
    parts.outbox.counts().catch((error: unknown) => {
      if (isSallyportError(error, 'OUTBOX_UNAVAILABLE')) return null;
      throw error;
    });
  gauge('sallyport_outbox_messages', 'Messages held, and ever ended, by state', ['state'], async (g) => {
    const found = await counts();
    if (found === null) return;
    g.set({ state: 'held' }, found.held);
    for (const [state, count] of Object.entries(found.ended)) g.set({ state }, count);
  });
  gauge('sallyport_outbox_accepted', 'Messages ever accepted', [], async (g) => {
    const found = await counts();
    if (found === null) g.remove();
    else g.set(found.accepted);
  });
  gauge('sallyport_outbox_limit', 'Most messages that are held; more are refused', [], (g) =>
    g.set(parts.limit),
  );
  gauge('sallyport_devices_heard', 'Devices that have polled since the relay started', [], (g) =>
    g.set(parts.polling().heard),
  );
  gauge('sallyport_devices_overdue', 'Those of them that have not polled for half an hour', [], (g) =>
    g.set(parts.polling().late),
  );
  gauge('sallyport_outbox_sequence', 'Newest committed change', [], (g) => g.set(parts.outbox.sequence()));
  gauge('sallyport_link_up', '1 while the proxy is linked and holds what is pending', ['proxy'], (g) => {
    for (const { url, state } of parts.links()) g.set({ proxy: url }, state === 'up' ? 1 : 0);
  });
  gauge('sallyport_link_lag', 'Changes that the proxy has yet to apply', ['proxy'], (g) => {
    for (const { url, lag } of parts.links()) if (lag !== null) g.set({ proxy: url }, lag);
  });
  gauge('sallyport_service_up', '1 while the upstream of the service can be reached', ['service'], (g) => {
    for (const service of parts.services()) g.set({ service: service.name }, service.health().up ? 1 : 0);
  });
  gauge(
    'sallyport_service_certificate_left_seconds',
    'Until the certificate that phones are shown expires',
    ['service'],
    (g) => {
      for (const service of parts.services()) {
        const certificate = service.certificate();
        if (certificate === null) continue;
        const left = certificate.notAfter - parts.clock.wall();
        g.set({ service: service.name }, Math.round(left / 1000));
      }
    },
  );
  gauge('sallyport_service_connections', 'Phone connections open', ['service'], (g) => {
    for (const service of parts.services()) g.set({ service: service.name }, service.connections());
  });
  total(
    'sallyport_webhook_requests_total',
    'Requests to webhooks, by whether the receiver took them',
    ['webhook', 'result'],
    (counter) => {
      for (const { name, stats } of parts.webhooks()) {
        counter.inc({ webhook: name, result: 'taken' }, stats().delivered);
        counter.inc({ webhook: name, result: 'failed' }, stats().failed);
      }
    },
  );
  total(
    'sallyport_webhook_lost_total',
    'Events that a webhook was never told of, by reason',
    ['webhook', 'reason'],
    (counter) => {
      for (const { name, stats } of parts.webhooks()) {
        counter.inc({ webhook: name, reason: 'gave_up' }, stats().lost.gaveUp);
        counter.inc({ webhook: name, reason: 'trimmed' }, stats().lost.trimmed);
      }
    },
  );
  gauge('sallyport_webhook_behind', 'History entries that the webhook has yet to read', ['webhook'], (g) => {
    for (const { name, stats } of parts.webhooks()) g.set({ webhook: name }, stats().behind);
  });
  gauge('sallyport_sessions', 'Provisioning sessions running', [], (g) => g.set(parts.running()));

  const proxies = new Map<string, MetricSample[]>();
  return {
    sessions: {
      session: (outcome) => ended.inc({ outcome }),
      taught: (result) => taught.inc({ result }),
    },
    violated: (promise) => violated.inc({ promise }),
    warning: (what) => warned.inc({ what }),
    refused: (code) => refused.inc({ code }),
    courier: {
      action: (action, status) => delivered.inc({ action, status }),
      unproven: () => unproven.inc(),
    },
    services: { count: (service, event) => served.inc({ service, event }) },
    proxy(url, samples) {
      // A proxy speaks for itself only: what this relay measures is not for it to say.
      const own = samples.filter(({ name }) => registry.getSingleMetric(name) === undefined);
      proxies.set(url, own);
    },
    async text() {
      const up = new Set(
        parts
          .links()
          .filter(({ state }) => state !== 'down')
          .map(({ url }) => url),
      );
      const shown = [...proxies].filter(([url]) => up.has(url));
      return (await registry.metrics()) + exposition(shown);
    },
  };
}

/** Writes proxies' samples, all of one name together, as the format demands. */
function exposition(proxies: [url: string, samples: MetricSample[]][]): string {
  const families = new Map<string, { kind: string; lines: string[] }>();
  for (const [proxy, samples] of proxies) {
    for (const { name, kind, labels, value } of samples) {
      const family = families.get(name) ?? { kind, lines: [] };
      families.set(name, family);
      const pairs = Object.entries({ ...labels, proxy }).map(
        ([label, text]) => `${label}="${escapeLabel(text)}"`,
      );
      family.lines.push(`${name}{${pairs.join(',')}} ${value}`);
    }
  }
  return [...families]
    .map(([name, { kind, lines }]) => `\n# TYPE ${name} ${kind}\n${lines.join('\n')}\n`)
    .join('');
}

const escapeLabel = (text: string): string =>
  text.replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`));
