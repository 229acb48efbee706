import { namedShapes, z } from '../schema.ts';
import { counted, maybeTime } from './parts.ts';

/** What the API answers about campaigns. */

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
