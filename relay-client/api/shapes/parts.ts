import { z } from '../schema.ts';

/** What several shapes are made of. Times are ISO 8601 in UTC. */

export const time = z.iso.datetime();
export const maybeTime = time.nullable();
export const counted = z.number().int();
export const factShape = z.union([z.string(), z.number(), z.boolean(), z.null()]);
