import type { CampaignProgress } from '../outbox/outbox.ts';
import type { CampaignRecord } from './record.ts';

/** Messages that must have ended before failures count as a share, while others are still under way. */
export const LEAST_SAMPLE = 10;

/** What is to be done about a campaign. */
export type Verdict = { do: 'nothing' } | { do: 'abort'; why: string } | { do: 'start'; most: number | null };

/**
 * Looks at how far a running campaign has come. Failures are what ended dead or expired, and what the phone refused; what
 * was cancelled or superseded counts neither way.
 */
export function judge(record: CampaignRecord, progress: CampaignProgress): Verdict {
  const { held = 0, cleared = 0, expired = 0, dead = 0 } = progress.states;
  const ended = cleared + expired + dead;
  const failures = progress.failed + expired + dead;
  const underWay = held - progress.parked;
  const telling = ended >= LEAST_SAMPLE || underWay === 0;
  if (telling && ended > 0 && record.abortAt < 1 && failures / ended > record.abortAt) {
    return { do: 'abort', why: `${failures} of ${ended} failed, more than ${percent(record.abortAt)}` };
  }
  if (progress.parked === 0 || record.phase !== 'canary' || underWay > 0) return { do: 'nothing' };
  // Of few devices, chance may have chosen none to go first.
  if (ended === 0) return { do: 'start', most: Math.ceil(progress.parked * record.canary) };
  return { do: 'start', most: null };
}

const percent = (share: number): string => `${Number((share * 100).toFixed(2))} %`;
