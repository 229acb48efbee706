import { namedShapes, z } from '../schema.ts';

/** Where a browser that signs in stands. */

export const sessionShape = z
  .object({
    needed: z.boolean().describe('Whether a token is set at all.'),
    signed_in: z.boolean(),
    csrf: z.string().nullable().describe('For the header X-Csrf-Token; null = no session.'),
  })
  .register(namedShapes, { id: 'Session', description: 'Where a browser stands.' });
export type SessionBody = z.infer<typeof sessionShape>;
