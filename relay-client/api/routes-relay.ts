import { expiryWarnings } from '../../shared/certificates.ts';
import type { RelayView } from '../desk.ts';
import type { Context } from './context.ts';
import {
  isoTime,
  presentPickups,
  presentProxy,
  presentRate,
  presentSeries,
  presentServices,
  presentWarning,
} from './present.ts';
import { route } from './router.ts';
import type { Route } from './router.ts';
import { eventsQuery, noFields, seriesQuery } from './shapes/requests.ts';
import { eventShape } from './shapes/events.ts';
import { proxiesShape, readyShape, seriesShape, servicesShape, statusShape } from './shapes/relay.ts';
import { warningsShape } from './shapes/warnings.ts';
import type { ProxyBody, ReadyBody, StatusBody } from './shapes/relay.ts';

/** The relay itself: links, services, status, events, health, metrics. */
export function relayRoutes(context: Context): Route[] {
  const { view } = context;
  const metrics = { type: 'text/plain', shape: null };
  return [
    route(
      {
        method: 'GET',
        path: '/v1/proxies',
        operation: 'proxies',
        summary: 'The links to the proxies',
        params: noFields,
        query: noFields,
        answers: { 200: { description: 'Each configured proxy.', shape: proxiesShape } },
      },
      async () => ({ status: 200, json: { proxies: presentProxies(view) } }),
    ),
    route(
      {
        method: 'GET',
        path: '/v1/services',
        operation: 'services',
        summary: 'The services and whether they can be reached',
        params: noFields,
        query: noFields,
        answers: { 200: { description: 'Each configured service.', shape: servicesShape } },
      },
      async () => ({ status: 200, json: { services: presentServices(view) } }),
    ),
    route(
      {
        method: 'GET',
        path: '/v1/status',
        operation: 'status',
        summary: 'The relay at a glance',
        params: noFields,
        query: noFields,
        answers: { 200: { description: 'Counts, links, services.', shape: statusShape } },
        refusals: [503],
      },
      async () => ({ status: 200, json: await status(context) }),
    ),
    route(
      {
        method: 'GET',
        path: '/v1/series',
        operation: 'series',
        summary: 'The last hour in steps of ten seconds',
        params: noFields,
        query: seriesQuery,
        answers: { 200: { description: 'Figures by column.', shape: seriesShape } },
      },
      async ({ query }) => ({ status: 200, json: presentSeries(view.series(query.after ?? 0)) }),
    ),
    route(
      {
        method: 'GET',
        path: '/v1/warnings',
        operation: 'warnings',
        summary: 'What deserved a look lately',
        description: 'One for each kind and device; a restart forgets them.',
        params: noFields,
        query: noFields,
        answers: { 200: { description: 'The newest warnings.', shape: warningsShape } },
      },
      async () => ({ status: 200, json: { warnings: view.recentWarnings().map(presentWarning) } }),
    ),
    route(
      {
        method: 'GET',
        path: '/v1/events',
        operation: 'events',
        summary: 'What happens, as it happens',
        description:
          'Server-sent events. `hello` comes first, with the incarnation and the newest sequence. History entries carry their sequence as id ' +
          'and are resumed after `Last-Event-ID`; `link`, `service`, `session` and `warning` carry none and are not repeated. `reset` says that entries ' +
          'were missed: look again at what you follow. A follower who falls behind is cut and may resume.',
        params: noFields,
        query: eventsQuery,
        answers: {
          200: {
            description: 'A stream that does not end; the data of history entries is an Event.',
            type: 'text/event-stream',
            shape: eventShape,
          },
        },
        refusals: [429, 503],
      },
      async ({ query, request, signal }) => {
        const last = request.headers['last-event-id'];
        const resumed = typeof last === 'string' && /^\d{1,15}$/.test(last) ? Number(last) : undefined;
        return context.events.follow(
          { after: resumed ?? query.after ?? null, device: query.device ?? null },
          signal,
        );
      },
    ),
    route(
      {
        method: 'GET',
        path: '/healthz',
        operation: 'alive',
        summary: 'Whether the process serves',
        open: true,
        anyHost: true,
        params: noFields,
        query: noFields,
        answers: { 200: { description: 'It does.', type: 'text/plain', shape: null } },
      },
      async () => ({ status: 200, headers: { 'content-type': 'text/plain; charset=utf-8' }, text: 'ok\n' }),
    ),
    route(
      {
        method: 'GET',
        path: '/readyz',
        operation: 'ready',
        summary: 'Whether every proxy is linked and the outbox answers',
        open: true,
        anyHost: true,
        params: noFields,
        query: noFields,
        answers: {
          200: { description: 'Ready.', shape: readyShape },
          503: { description: 'Not ready, with the reasons.', shape: readyShape },
        },
      },
      async () => {
        const readiness = await ready(context);
        return { status: readiness.ready ? 200 : 503, json: readiness };
      },
    ),
    route(
      {
        method: 'GET',
        path: '/metrics',
        operation: 'metrics',
        summary: 'Metrics in the Prometheus text format, the proxies included',
        params: noFields,
        query: noFields,
        answers: { 200: { description: 'The metrics.', ...metrics } },
      },
      async () => ({
        status: 200,
        headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
        text: await context.metricsText(),
      }),
    ),
  ];
}

function presentProxies(view: RelayView): ProxyBody[] {
  return view.proxies().map((proxy) => presentProxy(proxy, view));
}

async function status(context: Context): Promise<StatusBody> {
  const { outbox, view, clock, events } = context;
  const [rate, pickups] = [view.pollRate(), view.pickups()];
  const [counts, readiness] = await Promise.all([outbox.counts(), ready(context)]);
  return {
    name: view.name,
    site: view.site,
    version: view.version,
    started_at: isoTime(view.startedAt),
    now: isoTime(clock.wall()),
    incarnation: outbox.incarnation,
    sequence: outbox.sequence(),
    ...readiness,
    outbox: {
      devices: counts.devices,
      held: counts.held,
      held_bytes: counts.heldBytes,
      accepted: counts.accepted,
      ended: { ...counts.ended },
    },
    sessions: view.sessions(),
    event_clients: events.clients(),
    polls_per_s: rate === null ? null : presentRate(rate),
    pickups: pickups === null ? null : presentPickups(pickups),
    proxies: presentProxies(view),
    services: presentServices(view),
  };
}

/** Whether the relay does its whole job now: every link up, and an outbox that answers. */
async function ready({ outbox, view, clock, limits }: Context): Promise<ReadyBody> {
  const proxies = view.proxies();
  const reasons = proxies
    .filter((proxy) => proxy.state !== 'up')
    .map(
      (proxy) =>
        `proxy ${proxy.url} is ${proxy.state} since ${isoTime(proxy.since)}${proxy.why === null ? '' : `: ${proxy.why}`}`,
    );
  if (proxies.length === 0) reasons.push('no proxy is configured');
  const answered = await new Promise<boolean>((resolve) => {
    const timer = clock.after(limits.readyMs, () => resolve(false));
    void outbox
      .counts()
      .then(
        () => resolve(true),
        () => resolve(false),
      )
      .finally(() => timer.cancel());
  });
  if (!answered) reasons.push(`the outbox gave no answer within ${limits.readyMs} ms`);
  const warnings = [...expiryWarnings(view.certificates(), clock.wall()), ...view.misfits()];
  return { ready: reasons.length === 0, reasons, warnings };
}
