import { z } from 'zod';
import type { Milliseconds } from '../../shared/clock.ts';

/** How a campaign is to go. Each may be left out. */
export interface CampaignPlan {
  /** Share of the devices that go first, alone; 0 = none, all go at once. */
  canary: number;
  /** Share of failures above which the campaign is aborted; 1 = never. */
  abortAt: number;
  /** From one device to the next; 0 = at once. */
  spacing: Milliseconds;
}

export const DEFAULT_PLAN: CampaignPlan = { canary: 0, abortAt: 1, spacing: 0 };

/** What is kept of a campaign beside its messages. */
export interface CampaignRecord extends CampaignPlan {
  state: 'running' | 'paused' | 'aborted';
  /** `canary`: only the devices that go first are offered anything; `all`: every device is. */
  phase: 'canary' | 'all';
  /** Messages that were offered when it was paused in its canary phase: as many go on. */
  underWay: number;
  /** Why it is in its state, in words; null where somebody asked for it. */
  why: string | null;
  /** Wall time. */
  createdAt: number;
  /** When nothing of it was held any more, wall time; null = something is, or it was aborted; 0 = not known. */
  endedAt: number | null;
}

const recordShape = z.object({
  canary: z.number().min(0).max(1),
  abortAt: z.number().min(0).max(1),
  spacing: z.number().min(0),
  state: z.enum(['running', 'paused', 'aborted']),
  phase: z.enum(['canary', 'all']),
  underWay: z.number().int().min(0),
  why: z.string().nullable(),
  createdAt: z.number(),
  // Records of an older build say nothing of it, and nobody awaits those ends.
  endedAt: z.number().nullable().default(0),
});

export function newRecord(plan: CampaignPlan, now: number): CampaignRecord {
  const phase = plan.canary > 0 ? 'canary' : 'all';
  return { ...plan, state: 'running', phase, underWay: 0, why: null, createdAt: now, endedAt: null };
}

/** Reads a record as the outbox kept it; null where it is none. */
export function readRecord(text: string): CampaignRecord | null {
  try {
    return recordShape.parse(JSON.parse(text));
  } catch {
    return null;
  }
}
