import { parseDeviceId } from '../../../shared/device-id.ts';
import { HELD_ACTIONS } from '../../courier/actions.ts';
import { namedShapes, z } from '../schema.ts';

/** What the API reads, as shapes. */

const KEY_CHARS = 200;
const CAMPAIGN = /^[0-9A-Za-z._:-]{1,100}$/;
const DEVICE_WORDS =
  '12 hex digits of a MAC, with or without : - . between them, or 1 to 64 of 0-9A-Za-z:.-_+';

const deviceShape = z
  .string()
  .transform((raw, context) => {
    const device = parseDeviceId(raw);
    if (device !== null) return device;
    context.addIssue({
      code: 'custom',
      message: `expected a device id: ${DEVICE_WORDS}`,
      params: { code: 'DEVICE_ID_INVALID' },
    });
    return z.NEVER;
  })
  .describe(`A device id: ${DEVICE_WORDS}; case does not matter.`);

const messageIdShape = z.string().min(1).max(100).describe('The id that the push was answered with.');
const campaignNameShape = z
  .string()
  .regex(CAMPAIGN, 'expected 1 to 100 of 0-9A-Za-z._:-')
  .describe('Groups messages; see GET /v1/campaigns/{name}.');

const flag = z.enum(['true', 'false']).transform((word) => word === 'true');
const wholeNumber = (least: number, most: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, 'expected a whole number')
    .transform(Number)
    .pipe(z.number().min(least).max(most));

/** As callers should write it; what is read is checked by the courier, which says more exactly what is wrong. */
const actionListShape = z.array(
  z.union([
    z.string(),
    z
      .looseObject({
        action: z.unknown().describe(`One of ${HELD_ACTIONS.join(', ')}.`),
        items: z
          .unknown()
          .optional()
          .describe('A list of {name, index?, value?}; names alone will do for ReadItems.'),
      })
      .register(namedShapes, { id: 'Action', description: 'What a phone is to do.' }),
    z.unknown(),
  ]),
);
const share = z
  .string()
  .regex(/^(0(\.\d{1,6})?|1(\.0{1,6})?)$/, 'expected a share from 0 to 1, such as 0.05')
  .transform(Number);

const pushFields = {
  kind: z
    .enum(['contact-me', 'dls'])
    .optional()
    .describe('Default contact-me: please call the service. dls: do the actions.'),
  ttl_s: z.number().positive().optional().describe('Seconds until it expires; default 7 days.'),
  key: z
    .string()
    .min(1)
    .max(KEY_CHARS)
    .optional()
    .describe("The caller's own name for this push: the same key again changes nothing and is answered 200."),
  replace: z.boolean().optional().describe('Supersede what is held for the device; contact-me always does.'),
  not_before: z
    .union(
      [z.number().nonnegative(), z.iso.datetime({ offset: true })],
      'expected an ISO 8601 date-time with zone, or Unix seconds',
    )
    .optional()
    .describe(
      'Not offered to the phone before this time: an ISO 8601 date-time with zone, or seconds since 1970 UTC.',
    ),
  actions: z
    .union([actionListShape, z.string()], 'expected a list of actions, or a WPI document')
    .optional()
    .describe(
      'What a dls message is to do, in this order: actions, WPI documents, or one WPI document with one or several DLSMessages.',
    ),
};

export const pushShape = z
  .strictObject(pushFields)
  .register(namedShapes, { id: 'Push', description: 'What to hold for a device.' });
export type PushBody = z.output<typeof pushShape>;

export const bulkLineShape = z
  .strictObject({ device: deviceShape, ...pushFields })
  .register(namedShapes, { id: 'BulkLine', description: 'One line of a bulk push.' });
export type BulkLine = z.output<typeof bulkLineShape>;

export const deviceParams = z.strictObject({ id: deviceShape });
export const messageParams = z.strictObject({ id: messageIdShape });
export const campaignParams = z.strictObject({ name: campaignNameShape });
export const noFields = z.strictObject({});

export const pushQuery = z.strictObject({
  wait: z
    .literal('proxy')
    .optional()
    .describe('Answer once every connected proxy holds it, or after 10 seconds.'),
});
export const bulkQuery = z.strictObject({
  spread_s: wholeNumber(0, 31 * 86_400)
    .optional()
    .describe('Spread the devices evenly over this many seconds, each always at its own place.'),
  campaign: campaignNameShape.optional(),
  canary: share
    .optional()
    .describe(
      'Share of the devices that go first, alone, such as 0.05; the others follow when those are through.',
    ),
  abort_at: share
    .optional()
    .describe('Share of failures above which the campaign is aborted, such as 0.1; default: never.'),
  per_minute: wholeNumber(1, 1_000_000)
    .optional()
    .describe('So many devices are offered their messages in a minute, in the order of the lines.'),
});
export type BulkQuery = z.output<typeof bulkQuery>;
export const campaignsQuery = z.strictObject({
  cursor: campaignNameShape.optional().describe('`next` of the answer before.'),
  limit: wholeNumber(1, 100).optional().describe('1 to 100; default 100.'),
});
export const clearQuery = z.strictObject({
  generation: wholeNumber(1, Number.MAX_SAFE_INTEGER)
    .optional()
    .describe('Clear only up to this generation.'),
});
export const listQuery = z.strictObject({
  limit: wholeNumber(1, 1000).optional().describe('At most this many; default 100.'),
});
const DEVICE_SORTS = [
  'device',
  'last_poll',
  '-last_poll',
  'last_session',
  '-last_session',
  'pending',
  '-pending',
] as const;
export const devicesQuery = z.strictObject({
  state: z
    .enum(['pending', 'idle', 'dead'])
    .optional()
    .describe('pending: has held messages; idle: none; dead: has dead ones.'),
  q: z.string().max(64).optional().describe('Part of the device id.'),
  sort: z
    .enum(DEVICE_SORTS)
    .optional()
    .describe(
      'Default: device, by id. Else by the last poll, the last session or the number of held messages, the oldest or least first, with - the newest or most first. By last_poll only devices stand there that polled since the relay was started.',
    ),
  cursor: z.string().max(200).optional().describe('`next` of the answer before, with the same sort.'),
  limit: wholeNumber(1, 1000).optional().describe('1 to 1000; default 100.'),
  unknown: flag
    .optional()
    .describe('true: devices that poll and were never pushed to, newest first, instead.'),
});
export const seriesQuery = z.strictObject({
  after: z.iso
    .datetime()
    .transform((text) => Date.parse(text))
    .optional()
    .describe('Only steps that ended after this time.'),
});
export type DevicesQuery = z.output<typeof devicesQuery>;
export const eventsQuery = z.strictObject({
  after: wholeNumber(0, Number.MAX_SAFE_INTEGER)
    .optional()
    .describe('Start after this sequence; Last-Event-ID wins. Default: from now on.'),
  device: deviceShape.optional().describe('Only this device.'),
});
