import { namedShapes, z } from '../schema.ts';
import { END_STATES } from './messages.ts';
import { factShape, time } from './parts.ts';

/** What the API answers about the history. */

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
