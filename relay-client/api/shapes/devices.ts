import { VERDICTS } from '../../why/facts.ts';
import { namedShapes, z } from '../schema.ts';
import { eventShape } from './events.ts';
import { messageShape } from './messages.ts';
import { factShape, maybeTime, time } from './parts.ts';
import { warningKindShape } from './warnings.ts';

/** What the API answers about devices. */

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

const deviceRowShape = z
  .object(deviceFields)
  .register(namedShapes, { id: 'DeviceRow', description: 'A device that was pushed to.' });
export type DeviceRowBody = z.infer<typeof deviceRowShape>;

const unknownDeviceShape = z
  .object({ device: z.string(), at: time, address: z.string().nullable(), proxy: z.string() })
  .register(namedShapes, {
    id: 'UnknownDevice',
    description: 'A device that polls and was never pushed to.',
  });
export type UnknownDeviceBody = z.infer<typeof unknownDeviceShape>;
export const devicesShape = z.object({ devices: z.array(deviceRowShape), next: z.string().nullable() });
export const unknownDevicesShape = z.object({ unknown: z.array(unknownDeviceShape) });

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
