import type { EndState, HistoryEntry, MessageState } from './outbox.ts';
import { CAMPAIGN_STEP } from './ledger.ts';
import type { Ledger, Now } from './ledger.ts';
import type { AsyncLedger, LedgerStore } from './postgres-ledger.ts';
import type { MessageRow } from './sqlite-rows.ts';

type CampaignCalls = Pick<
  AsyncLedger,
  'park' | 'release' | 'abandon' | 'campaign' | 'keepCampaign' | 'campaignRecord' | 'campaigns'
>;

/** What a ledger in PostgreSQL does with campaigns: the messages that bear one name. */
export function createPostgresCampaigns(
  { read, write }: LedgerStore,
  parts: {
    record: (now: Now, row: MessageRow, event: HistoryEntry['event'], what: string) => void;
    changed: (now: Now) => void;
    finish: (now: Now, rows: MessageRow[], state: EndState, by: string) => Promise<unknown>;
  },
): CampaignCalls {
  const { record, changed, finish } = parts;

  function defer(now: Now, row: MessageRow, dueAt: number, parkedDue: number | null): void {
    row.due_at = dueAt;
    row.parked_due = parkedDue;
    write('defer', dueAt, parkedDue, row.n);
    record(now, row, 'deferred', parkedDue === null ? 'due' : 'parked');
  }

  return {
    async park(now, name) {
      const rows = await read<MessageRow>('parkable', name, CAMPAIGN_STEP);
      for (const row of rows) defer(now, row, row.expires_at, row.due_at);
      return rows.length;
    },
    async release(now, name, { spacing, from, most }) {
      const rows = await read<MessageRow>('parked', name, Math.min(most, CAMPAIGN_STEP));
      rows.forEach((row, i) => {
        const turn = now.at + Math.floor((from + i) * spacing);
        defer(now, row, Math.max(row.parked_due ?? 0, turn), null);
      });
      return rows.length;
    },
    async abandon(now, name, by) {
      const rows = await read<MessageRow>('heldOfCampaign', name, CAMPAIGN_STEP);
      await finish(now, rows, 'cancelled', by);
      return rows.length;
    },
    async campaign(_now, name) {
      const progress: ReturnType<Ledger['campaign']> = { states: {}, parked: 0, failed: 0 };
      for (const row of await read<CampaignRow>('campaign', name)) {
        progress.states[row.state] = row.count;
        progress.parked += row.parked;
        progress.failed += row.failed;
      }
      return progress;
    },
    async keepCampaign(now, name, settings) {
      write('keepCampaign', name, settings);
      changed(now);
    },
    async campaignRecord(_now, name) {
      return (await read<{ settings: string }>('campaignRecord', name))[0]?.settings ?? null;
    },
    campaigns: (_now, after, limit) => read('campaigns', after, limit),
  };
}

interface CampaignRow {
  state: MessageState;
  count: number;
  parked: number;
  failed: number;
}
