import { CAMPAIGN_STEP } from './ledger.ts';
import type { CampaignMethod, Ledger, Now } from './ledger.ts';
import type { CampaignNews, Message } from './outbox.ts';

/** What of a message campaigns are about; the engine's entries are such. */
interface Entry extends Pick<Message, 'campaign' | 'state' | 'failed'> {
  n: number;
  dueAt: number;
  expiresAt: number;
  awaitedUntil: number | null;
  parkedDue: number | null;
}

type CampaignCalls = Pick<Ledger, CampaignMethod>;

/** What a ledger in memory does with campaigns; see the interface. */
export function createModelCampaigns<E extends Entry>(parts: {
  entries: () => Iterable<E>;
  deferred: (now: Now, entry: E, what: string) => void;
  told: (now: Now, news: CampaignNews) => void;
  finish: (now: Now, entries: E[], by: string) => void;
}): CampaignCalls {
  const records = new Map<string, string>();

  const heldOf = (name: string): E[] =>
    [...parts.entries()]
      .filter((entry) => entry.campaign === name && entry.state === 'held')
      .sort((a, b) => a.n - b.n);

  function defer(now: Now, entry: E, dueAt: number, parkedDue: number | null): void {
    entry.dueAt = dueAt;
    entry.parkedDue = parkedDue;
    parts.deferred(now, entry, parkedDue === null ? 'due' : 'parked');
  }

  return {
    park(now, name) {
      const some = heldOf(name)
        .filter(({ parkedDue, awaitedUntil }) => parkedDue === null && awaitedUntil === null)
        .slice(0, CAMPAIGN_STEP);
      for (const entry of some) defer(now, entry, entry.expiresAt, entry.dueAt);
      return some.length;
    },
    release(now, name, { spacing, from, most }) {
      const some = heldOf(name)
        .filter(({ parkedDue }) => parkedDue !== null)
        .slice(0, Math.min(most, CAMPAIGN_STEP));
      some.forEach((entry, i) => {
        const turn = now.at + Math.floor((from + i) * spacing);
        defer(now, entry, Math.max(entry.parkedDue ?? 0, turn), null);
      });
      return some.length;
    },
    abandon(now, name, by) {
      const some = heldOf(name).slice(0, CAMPAIGN_STEP);
      parts.finish(now, some, by);
      return some.length;
    },
    campaign(_now, name) {
      const progress: ReturnType<Ledger['campaign']> = { states: {}, parked: 0, failed: 0 };
      for (const entry of parts.entries()) {
        if (entry.campaign !== name) continue;
        progress.states[entry.state] = (progress.states[entry.state] ?? 0) + 1;
        if (entry.state === 'held' && entry.parkedDue !== null) progress.parked++;
        if (entry.failed) progress.failed++;
      }
      return progress;
    },
    holdsCampaign: (_now, name) => heldOf(name).length > 0,
    keepCampaign(now, name, settings, former, told) {
      if ((records.get(name) ?? null) !== former) return false;
      records.set(name, settings);
      if (told !== undefined) parts.told(now, told);
      return true;
    },
    campaignRecord: (_now, name) => records.get(name) ?? null,
    campaigns: (_now, after, limit) =>
      [...records]
        .map(([name, settings]) => ({ name, settings }))
        .filter(({ name }) => name > after)
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .slice(0, limit),
  };
}
