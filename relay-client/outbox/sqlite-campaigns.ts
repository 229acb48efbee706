import type { EndState, HistoryEntry, MessageState } from './outbox.ts';
import { CAMPAIGN_STEP } from './ledger.ts';
import type { Ledger, Now } from './ledger.ts';
import { messageSum } from './row-sums.ts';
import type { MessageRow } from './sqlite-rows.ts';
import type { Statements } from './sqlite-statements.ts';

type CampaignCalls = Pick<
  Ledger,
  'park' | 'release' | 'abandon' | 'campaign' | 'keepCampaign' | 'campaignRecord' | 'campaigns'
>;

/** What a ledger in SQLite does with campaigns: the messages that bear one name. */
export function createSqliteCampaigns(
  sql: Statements,
  parts: {
    record: (now: Now, row: MessageRow, event: HistoryEntry['event'], what: string) => void;
    changed: (now: Now) => void;
    finish: (now: Now, rows: MessageRow[], state: EndState, by: string) => unknown;
  },
): CampaignCalls {
  const { record, changed, finish } = parts;

  function defer(now: Now, row: MessageRow, dueAt: number, parkedDue: number | null): void {
    row.due_at = dueAt;
    row.parked_due = parkedDue;
    sql.defer.run(dueAt, parkedDue, messageSum(row), row.n);
    record(now, row, 'deferred', parkedDue === null ? 'due' : 'parked');
  }

  return {
    park(now, name) {
      const rows = sql.parkable.all(name, CAMPAIGN_STEP) as unknown as MessageRow[];
      for (const row of rows) defer(now, row, row.expires_at, row.due_at);
      return rows.length;
    },
    release(now, name, { spacing, from, most }) {
      const rows = sql.parked.all(name, Math.min(most, CAMPAIGN_STEP)) as unknown as MessageRow[];
      rows.forEach((row, i) => {
        const turn = now.at + Math.floor((from + i) * spacing);
        defer(now, row, Math.max(row.parked_due ?? 0, turn), null);
      });
      return rows.length;
    },
    abandon(now, name, by) {
      const rows = sql.heldOfCampaign.all(name, CAMPAIGN_STEP) as unknown as MessageRow[];
      finish(now, rows, 'cancelled', by);
      return rows.length;
    },
    campaign(_now, name) {
      const progress: ReturnType<Ledger['campaign']> = { states: {}, parked: 0, failed: 0 };
      for (const row of sql.campaign.all(name) as unknown as CampaignRow[]) {
        progress.states[row.state] = row.count;
        progress.parked += row.parked;
        progress.failed += row.failed;
      }
      return progress;
    },
    keepCampaign(now, name, settings) {
      sql.keepCampaign.run(name, settings);
      changed(now);
    },
    campaignRecord(_now, name) {
      const row = sql.campaignRecord.get(name) as { settings: string } | undefined;
      return row?.settings ?? null;
    },
    campaigns(_now, after, limit) {
      return sql.campaigns.all(after, limit) as unknown as { name: string; settings: string }[];
    },
  };
}

interface CampaignRow {
  state: MessageState;
  count: number;
  parked: number;
  failed: number;
}
