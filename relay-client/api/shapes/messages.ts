import { ERROR_CODES } from '../../../shared/errors.ts';
import { namedShapes, z } from '../schema.ts';
import { maybeTime, time } from './parts.ts';

/** What the API answers about pushes and messages. */

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

const resultShape = z
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
