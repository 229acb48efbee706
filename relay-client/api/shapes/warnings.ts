import { WARNINGS } from '../../warnings/kinds.ts';
import type { Warning } from '../../warnings/kinds.ts';
import { namedShapes, z } from '../schema.ts';
import { time } from './parts.ts';

/** What the API answers about what deserves a look. */

export const warningKindShape = z.enum(Object.keys(WARNINGS) as [Warning, ...Warning[]]);

const warningShape = z
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
