import type { CampaignNews, CampaignProgress } from '../outbox/outbox.ts';
import type { CampaignRecord } from './record.ts';

/** What can happen to a campaign, as the history's words for it. */
export const CAMPAIGN_NEWS = ['begun', 'widened', 'paused', 'resumed', 'aborted', 'ended'] as const;

/** What a change of its record means for those who follow; null = nothing that they are told. */
export function newsOf(
  name: string,
  former: CampaignRecord | null,
  record: CampaignRecord,
): CampaignNews | null {
  const what = wordFor(former, record);
  if (what === null) return null;
  const { state, phase, why } = record;
  return { what, facts: { campaign: name, state, phase, why } };
}

function wordFor(
  former: CampaignRecord | null,
  { state, phase, endedAt }: CampaignRecord,
): (typeof CAMPAIGN_NEWS)[number] | null {
  if (state !== (former?.state ?? 'running')) return state === 'running' ? 'resumed' : state;
  if (former === null) return 'begun';
  if (phase !== former.phase) return 'widened';
  if (endedAt === former.endedAt) return null;
  return endedAt === null ? 'begun' : 'ended';
}

/** The news of a campaign's end, with what became of its messages. */
export function withCounts(news: CampaignNews, { states, failed }: CampaignProgress): CampaignNews {
  const { cleared = 0, superseded = 0, expired = 0, cancelled = 0, dead = 0 } = states;
  return { ...news, facts: { ...news.facts, cleared, failed, superseded, expired, cancelled, dead } };
}
