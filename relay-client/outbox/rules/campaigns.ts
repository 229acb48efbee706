import { CAMPAIGN_STEP } from '../ledger.ts';
import type { CampaignMethod, Ledger, Now } from '../ledger.ts';
import type { MessageState } from '../outbox.ts';
import type { Bookkeeping, Writer } from './bookkeeping.ts';
import type { Ending } from './ending.ts';
import { NO_DEVICE } from './rows.ts';
import type { MessageRow } from './rows.ts';
import { ask, askFirst } from './work.ts';
import type { LedgerWork } from './work.ts';

export type Campaigning = Pick<LedgerWork, CampaignMethod>;

/** What a ledger does with campaigns: the messages that bear one name. */
export function createCampaigning(
  writer: Writer,
  keeping: Bookkeeping,
  { finishAll }: Pick<Ending, 'finishAll'>,
): Campaigning {
  function defer(now: Now, row: MessageRow, dueAt: number, parkedDue: number | null): void {
    row.due_at = dueAt;
    row.parked_due = parkedDue;
    writer.changeMessage('defer', row, dueAt, parkedDue);
    keeping.record(now, row, 'deferred', parkedDue === null ? 'due' : 'parked');
  }

  return {
    *park(now, name) {
      const rows = yield* ask<MessageRow>('parkable', name, CAMPAIGN_STEP);
      for (const row of rows) defer(now, row, row.expires_at, row.due_at);
      return rows.length;
    },
    *release(now, name, { spacing, from, most }) {
      const rows = yield* ask<MessageRow>('parked', name, Math.min(most, CAMPAIGN_STEP));
      rows.forEach((row, i) => {
        const turn = now.at + Math.floor((from + i) * spacing);
        defer(now, row, Math.max(row.parked_due ?? 0, turn), null);
      });
      return rows.length;
    },
    *abandon(now, name, by) {
      const rows = yield* ask<MessageRow>('heldOfCampaign', name, CAMPAIGN_STEP);
      yield* finishAll(now, rows, 'cancelled', by);
      return rows.length;
    },
    *campaign(_now, name) {
      const progress: ReturnType<Ledger['campaign']> = { states: {}, parked: 0, failed: 0 };
      for (const row of yield* ask<CampaignRow>('campaign', name)) {
        progress.states[row.state] = row.count;
        progress.parked += row.parked;
        progress.failed += row.failed;
      }
      return progress;
    },
    *holdsCampaign(_now, name) {
      return (yield* askFirst('heldInCampaign', name)) !== undefined;
    },
    *keepCampaign(now, name, settings, former, told) {
      const kept = (yield* askFirst<{ settings: string }>('campaignRecord', name))?.settings ?? null;
      if (kept !== former) return false;
      writer.write('keepCampaign', name, settings);
      if (told === undefined) keeping.changed(now);
      else keeping.record(now, NO_DEVICE, 'campaign', told.what, told.facts);
      return true;
    },
    *campaignRecord(_now, name) {
      return (yield* askFirst<{ settings: string }>('campaignRecord', name))?.settings ?? null;
    },
    campaigns: (_now, after, limit) => ask<{ name: string; settings: string }>('campaigns', after, limit),
  };
}

interface CampaignRow {
  state: MessageState;
  count: number;
  parked: number;
  failed: number;
}
