import { namedShapes, z } from '../schema.ts';
import { counted, maybeTime, time } from './parts.ts';

/** What the API answers about the relay, its links and its services. */

const pollRateShape = z
  .object({
    idle: z.number().describe('Answered 200.'),
    called: z.number().describe('Answered 202.'),
    refused: z.number().describe('Answered otherwise.'),
  })
  .register(namedShapes, { id: 'PollRate', description: 'Polls per second.' });
export type PollRateBody = z.infer<typeof pollRateShape>;

const pickupsShape = z
  .object({ count: z.number().int(), median_ms: z.number().int(), longest_ms: z.number().int() })
  .register(namedShapes, {
    id: 'Pickups',
    description: 'How long phones took to come, from when their work could be offered.',
  });
export type PickupsBody = z.infer<typeof pickupsShape>;

const proxyShape = z
  .object({
    url: z
      .string()
      .describe('As configured; with `#address` where the name in it stands for several proxies.'),
    state: z.enum(['connecting', 'up', 'draining', 'down']),
    since: time,
    why: z.string().nullable(),
    round_trip_ms: z.number().nullable(),
    lag: z.number().int().nullable().describe('Changes that it has yet to apply.'),
    applied: z.number().int().nullable(),
    version: z.string().nullable(),
    direct: z.boolean().describe("Its site's phones reach the service by themselves."),
    streams: z.number().int(),
    polls_per_s: pollRateShape.nullable().describe('As it tells itself; null = it told nothing lately.'),
    certificates: z
      .array(z.object({ name: z.string(), expires_at: time }))
      .describe('That it shows to phones and relays, as it tells itself.'),
  })
  .register(namedShapes, { id: 'Proxy', description: 'The link to a proxy.' });
export type ProxyBody = z.infer<typeof proxyShape>;
export const proxiesShape = z.object({ proxies: z.array(proxyShape) });

const serviceShape = z
  .object({
    name: z.string(),
    kind: z.enum(['wpi', 'tcp']),
    up: z.boolean(),
    why: z.string().nullable(),
    since: time,
    connections: z.number().int(),
    certificate_expires_at: maybeTime.describe(
      'Of the certificate that phones are shown; null = it shows none.',
    ),
  })
  .register(namedShapes, { id: 'Service', description: 'A service and whether it can be reached.' });
export type ServiceBody = z.infer<typeof serviceShape>;
export const servicesShape = z.object({ services: z.array(serviceShape) });

export const readyShape = z
  .object({ ready: z.boolean(), reasons: z.array(z.string()), warnings: z.array(z.string()) })
  .register(namedShapes, {
    id: 'Readiness',
    description:
      'Whether every proxy is linked and the outbox answers, or why not; and what will be wrong before long.',
  });
export type ReadyBody = z.infer<typeof readyShape>;

const outboxCountsShape = z.object({
  devices: counted,
  held: counted,
  held_bytes: counted,
  accepted: counted,
  ended: z.object({
    cleared: counted,
    superseded: counted,
    expired: counted,
    cancelled: counted,
    dead: counted,
  }),
});

export const statusShape = z
  .object({
    name: z.string(),
    site: z.string(),
    version: z.string(),
    started_at: time,
    now: time,
    incarnation: z.string(),
    sequence: z.number().int(),
    ready: z.boolean(),
    reasons: z.array(z.string()),
    warnings: z.array(z.string()),
    outbox: outboxCountsShape,
    sessions: z.number().int(),
    polls_per_s: pollRateShape.nullable().describe('Over all proxies; null = none told lately.'),
    pickups: pickupsShape.nullable().describe('Of the last ten minutes; null = no phone came.'),
    event_clients: z.number().int(),
    proxies: z.array(proxyShape),
    services: z.array(serviceShape),
  })
  .register(namedShapes, { id: 'Status', description: 'The relay at a glance.' });
export type StatusBody = z.infer<typeof statusShape>;
const figure = z.number().nullable();

export const seriesShape = z
  .object({
    step_s: z.number().int(),
    at: z.array(time).describe('The end of each step, oldest first; the other lists have as many entries.'),
    polls_idle: z.array(figure).describe('Polls per second answered 200; null = no proxy told.'),
    polls_called: z.array(figure).describe('Polls per second answered 202.'),
    polls_refused: z.array(figure).describe('Polls per second answered otherwise.'),
    held: z.array(figure).describe('Messages held at the end of the step.'),
    sessions: z.array(z.number()).describe('Sessions running at the end of the step.'),
    sessions_ended: z.array(z.number()).describe('Sessions that ended in the step.'),
    pickup_median_ms: z
      .array(figure)
      .describe('How long phones took to come, from when their work could be offered; null = none came.'),
    pickup_longest_ms: z.array(figure),
  })
  .register(namedShapes, { id: 'Series', description: 'The last hour in steps; a restart forgets it.' });
export type SeriesBody = z.infer<typeof seriesShape>;
