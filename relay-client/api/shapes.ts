import { ERROR_CODES } from '../../shared/errors.ts';
import { WARNINGS } from '../warnings/kinds.ts';
import type { Warning } from '../warnings/kinds.ts';
import { VERDICTS } from '../why/facts.ts';
import { namedShapes, z } from './schema.ts';

/** What the API answers, as shapes. Times are ISO 8601 in UTC. */

const time = z.iso.datetime();
const maybeTime = time.nullable();
export const END_STATES = ['cleared', 'superseded', 'expired', 'cancelled', 'dead'] as const;
const stateShape = z.enum(['held', 'in_session', ...END_STATES]);
const kindShape = z.enum(['contact-me', 'dls']);

const accepted = { id: z.string(), device: z.string(), generation: z.number().int(), state: stateShape };

export const acceptedShape = z
  .object({
    ...accepted,
    waited: z.boolean().optional().describe('With wait=proxy: whether every connected proxy holds it.'),
    proxies: z.array(z.string()).optional().describe('With wait=proxy: the proxies that hold it.'),
  })
  .register(namedShapes, { id: 'Accepted', description: 'A push that is durable.' });
export type AcceptedBody = z.infer<typeof acceptedShape>;

export const resultShape = z
  .object({
    action: z.string(),
    status: z
      .enum(['accepted', 'failed', 'waiting', 'done', 'unconfirmed'])
      .describe(
        'accepted or failed by the phone; waiting: accepted, its outcome is awaited; done: its outcome was good; unconfirmed: its outcome did not come in time.',
      ),
    at: time.describe("Of the phone's last word about it."),
    why: z.string().optional(),
    items: z.array(
      z.object({
        name: z.string(),
        index: z.string().optional(),
        status: z
          .string()
          .describe(
            'accepted, or as the phone says: failed, unknown item, read only, missing item content; missing: it said nothing.',
          ),
        value: z.string().optional().describe('What was read.'),
        withheld: z.literal(true).optional().describe('The value is a secret and was not kept.'),
        truncated: z.literal(true).optional().describe('The value was longer.'),
      }),
    ),
    truncated: z.literal(true).optional().describe('There were more items; lists leave out all.'),
  })
  .register(namedShapes, { id: 'Result', description: 'What a phone answered to one action.' });

export const messageShape = z
  .object({
    ...accepted,
    kind: kindShape,
    key: z.string().nullable(),
    campaign: z.string().nullable(),
    accepted_at: time,
    parked: z.boolean().describe('Not offered while its campaign is paused, or other devices go first.'),
    failed: z.boolean().describe('Ended with something that the phone refused or never confirmed.'),
    not_before: maybeTime.describe('When it may be offered; null = at once.'),
    expires_at: maybeTime.describe('Null once ended.'),
    ended_at: maybeTime,
    ended_by: z.string().nullable().describe('Why it ended, in a word or two.'),
    fruitless_sessions: z
      .number()
      .int()
      .describe('Sessions that the service answered and that did not complete it.'),
    at_proxies: maybeTime
      .optional()
      .describe(
        'In the detail of a device: when the last linked proxy held it, so that polls can be answered by it. Null = not all do, or it is not known when: see `proxies`.',
      ),
    proxies: z
      .array(
        z.object({
          url: z.string(),
          since: maybeTime.describe('Null = it does not hold it yet.'),
          exact: z
            .boolean()
            .describe(
              'False: since then or longer. Times are kept in memory, of the last 65,536 changes or more; after a restart of the relay it is the time of the link at which the proxy was found to hold it.',
            ),
        }),
      )
      .optional()
      .describe('In the detail of a device: each linked proxy, and since when it holds it.'),
    results: z
      .array(resultShape)
      .describe("The phone's answers to a dls message, action by action; empty for contact-me."),
    results_dropped: z
      .boolean()
      .describe('Results were here and had to go, because too many are kept in all.'),
  })
  .register(namedShapes, {
    id: 'Message',
    description: 'A message. in_session: held, and a session that it caused is running.',
  });
export type MessageBody = z.infer<typeof messageShape>;

export const messagesShape = z.object({ messages: z.array(messageShape) });
export const clearedShape = z.object({
  device: z.string(),
  count: z.number().int(),
  messages: z.array(messageShape),
});
export type ClearedBody = z.infer<typeof clearedShape>;

const pollShape = z.object({
  at: time,
  status: z.union([z.literal(200), z.literal(202)]),
  proxy: z.string(),
});
const lastSessionShape = z.object({ at: time, outcome: z.string() });

const deviceFields = {
  device: z.string(),
  state: z.enum(['pending', 'idle', 'dead']),
  pending: z.number().int(),
  dead: z.number().int(),
  generation: z.number().int(),
  last_poll: pollShape.nullable(),
  last_called_at: maybeTime.describe('Of the newest poll that was answered 202; forgotten by a restart.'),
  missed_polls: z
    .number()
    .int()
    .nullable()
    .describe('Polls that were due since the last one; null = how often it polls is not known yet.'),
  last_session: lastSessionShape.nullable(),
};

export const deviceRowShape = z
  .object(deviceFields)
  .register(namedShapes, { id: 'DeviceRow', description: 'A device that was pushed to.' });
export type DeviceRowBody = z.infer<typeof deviceRowShape>;

export const unknownDeviceShape = z
  .object({ device: z.string(), at: time, address: z.string().nullable(), proxy: z.string() })
  .register(namedShapes, {
    id: 'UnknownDevice',
    description: 'A device that polls and was never pushed to.',
  });
export type UnknownDeviceBody = z.infer<typeof unknownDeviceShape>;

export const devicesShape = z.object({ devices: z.array(deviceRowShape), next: z.string().nullable() });
export const unknownDevicesShape = z.object({ unknown: z.array(unknownDeviceShape) });

const factShape = z.union([z.string(), z.number(), z.boolean(), z.null()]);

export const eventShape = z
  .object({
    seq: z.number().int(),
    at: time,
    event: z.enum(['accepted', 'redriven', 'deferred', 'note', ...END_STATES, 'campaign']),
    device: z.string().nullable().describe('Null of a campaign.'),
    message: z.string().nullable(),
    generation: z.number().int(),
    what: z.string(),
    facts: z.record(z.string(), factShape),
  })
  .register(namedShapes, { id: 'Event', description: 'One entry of the history.' });
export type EventBody = z.infer<typeof eventShape>;

export const deviceDetailShape = z
  .object({
    ...deviceFields,
    session: z
      .object({
        id: z.string(),
        reason: z.string(),
        started_at: time,
        action: z.string().nullable(),
        answered: z.boolean(),
      })
      .nullable()
      .describe('The session that is running.'),
    quiet_until: maybeTime.describe(
      'Polls are kept at 200 until then because of a session, or of the gap after it.',
    ),
    poll_path: z
      .string()
      .nullable()
      .describe(
        'With poll_secret: path, what follows the prefix of the poll door where the device polls: a secret.',
      ),
    messages: z.array(messageShape).describe('Newest first.'),
    history: z.array(eventShape).describe('Newest first.'),
  })
  .register(namedShapes, { id: 'Device', description: 'All that is known about a device.' });
export type DeviceDetailBody = z.infer<typeof deviceDetailShape>;

const warningKindShape = z.enum(Object.keys(WARNINGS) as [Warning, ...Warning[]]);

export const whyShape = z
  .object({
    device: z.string(),
    verdict: z.enum(VERDICTS),
    sentence: z.string(),
    advice: z.string().nullable(),
    standing: z
      .string()
      .nullable()
      .describe(
        'At which proxies the newest work stands, and since when; null = none is held, or no proxy linked.',
      ),
    facts: z.record(z.string(), factShape),
    warnings: z
      .array(z.object({ what: warningKindShape, count: z.number().int(), at: time, sentence: z.string() }))
      .describe('What deserves a look, newest first. A restart of the relay forgets it.'),
  })
  .register(namedShapes, { id: 'Why', description: "Where a device's work stands, and what to do." });
export type WhyBody = z.infer<typeof whyShape>;

export const pollRateShape = z
  .object({
    idle: z.number().describe('Answered 200.'),
    called: z.number().describe('Answered 202.'),
    refused: z.number().describe('Answered otherwise.'),
  })
  .register(namedShapes, { id: 'PollRate', description: 'Polls per second.' });
export type PollRateBody = z.infer<typeof pollRateShape>;

export const pickupsShape = z
  .object({ count: z.number().int(), median_ms: z.number().int(), longest_ms: z.number().int() })
  .register(namedShapes, {
    id: 'Pickups',
    description: 'How long phones took to come, from when their work could be offered.',
  });
export type PickupsBody = z.infer<typeof pickupsShape>;

export const proxyShape = z
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

export const serviceShape = z
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

const counted = z.number().int();

export const outboxCountsShape = z.object({
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

export const warningShape = z
  .object({
    device: z.string().nullable().describe('Null = it is about no device.'),
    what: warningKindShape,
    sentence: z.string(),
    count: z.number().int(),
    at: time.describe('Of the newest.'),
  })
  .register(namedShapes, { id: 'Warning', description: 'Something that deserves a look.' });
export type WarningBody = z.infer<typeof warningShape>;
export const warningsShape = z.object({ warnings: z.array(warningShape).describe('Newest first.') });

export const campaignShape = z
  .object({
    name: z.string(),
    state: z.enum(['running', 'paused', 'aborted']),
    phase: z
      .enum(['canary', 'all'])
      .describe('canary: only the devices that go first are offered anything; all: every device is.'),
    why: z.string().nullable().describe('Why it was aborted, where nobody asked for it.'),
    created_at: z.string().nullable(),
    ended_at: maybeTime.describe(
      'When nothing of it was held any more; null = something is, or it was aborted, or that is not known.',
    ),
    canary: z.number().describe('Share of the devices that go first; 0 = none.'),
    abort_at: z.number().describe('Share of failures above which it is aborted; 1 = never.'),
    spacing_s: z.number().describe('Seconds from one device to the next; 0 = all at once.'),
    total: z.number().int(),
    held: counted,
    parked: counted.describe('Of those held: not offered for now.'),
    failed: counted.describe('Of those cleared: with something that the phone refused or never confirmed.'),
    cleared: counted,
    superseded: counted,
    expired: counted,
    cancelled: counted,
    dead: counted,
  })
  .register(namedShapes, { id: 'Campaign', description: 'A campaign: its plan, and its messages by state.' });
export type CampaignBody = z.infer<typeof campaignShape>;

export const campaignsShape = z.object({
  campaigns: z.array(campaignShape),
  next: z.string().nullable().describe('Cursor of the next page; null: this was the last.'),
});

export const sessionShape = z
  .object({
    needed: z.boolean().describe('Whether a token is set at all.'),
    signed_in: z.boolean(),
    csrf: z.string().nullable().describe('For the header X-Csrf-Token; null = no session.'),
  })
  .register(namedShapes, { id: 'Session', description: 'Where a browser stands.' });
export type SessionBody = z.infer<typeof sessionShape>;

export const errorShape = z
  .object({ code: z.enum(ERROR_CODES), message: z.string(), field: z.string().optional() })
  .register(namedShapes, { id: 'Error', description: 'Why a request was refused.' });

export const bulkResultShape = z
  .object({
    line: z.number().int().describe('From 1; empty lines count and have no result.'),
    status: z.number().int().describe('What a single push would have been answered with.'),
    id: z.string().optional(),
    device: z.string().optional(),
    generation: z.number().int().optional(),
    state: stateShape.optional(),
    code: z.enum(ERROR_CODES).optional(),
    message: z.string().optional(),
    field: z.string().optional(),
  })
  .register(namedShapes, {
    id: 'BulkResult',
    description: 'What became of a line: status 200 or 201, or a refusal with its code.',
  });
export type BulkResult = z.infer<typeof bulkResultShape>;
