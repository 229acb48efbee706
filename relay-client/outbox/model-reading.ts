import type { DeviceId } from '../../shared/device-id.ts';
import { compareRanks, rankOf } from '../device-order.ts';
import { deviceMatches } from './device-search.ts';
import { HOLDING, SCAN_STEP } from './ledger.ts';
import type { Ledger, LookingMethod } from './ledger.ts';
import { byExpiry, byGeneration, isHeld, pending, view } from './model-entries.ts';
import type { Entry } from './model-entries.ts';
import type {
  Change,
  DeviceQuery,
  DeviceRecord,
  HistoryEntry,
  MessageId,
  OutboxCounts,
  OutboxLimits,
  Sequence,
} from './outbox.ts';

type Reading = Pick<Ledger, LookingMethod>;

/** The calls of a ledger in memory that change nothing; see the interface. */
export function createModelReading(store: {
  entries: ReadonlyMap<MessageId, Entry>;
  of: (device: DeviceId) => Entry[];
  devices: ReadonlyMap<DeviceId, DeviceRecord>;
  held: ReadonlySet<Entry>;
  history: readonly HistoryEntry[];
  limits: OutboxLimits;
  sequence: () => Sequence;
  counts: () => OutboxCounts;
}): Reading {
  const { entries, of, devices, held, history, limits } = store;

  const keptHistory = (): HistoryEntry[] =>
    history.filter((note) => note.seq > store.sequence() - limits.history);

  /** Pending and dead are what the messages say. */
  function deviceView(found: DeviceRecord): DeviceRecord {
    const mine = of(found.device);
    return {
      ...found,
      pending: mine.filter(isHeld).length,
      dead: mine.filter((entry) => entry.state === 'dead').length,
    };
  }

  /** The devices that one step looks at. */
  function scan({ cursor }: DeviceQuery): DeviceRecord[] {
    return [...devices.values()]
      .filter(({ device }) => cursor === undefined || device > cursor)
      .sort((a, b) => (a.device < b.device ? -1 : 1))
      .slice(0, SCAN_STEP)
      .map(deviceView);
  }

  function fits({ device, pending: count, dead }: DeviceRecord, { q, state }: DeviceQuery): boolean {
    if (q !== undefined && !deviceMatches(device, q)) return false;
    if (state === 'pending') return count > 0;
    return state === 'idle' ? count === 0 : state !== 'dead' || dead > 0;
  }

  return {
    nextExpiry(now) {
      let first = Infinity;
      for (const entry of held) first = Math.min(first, entry.expiresAt);
      return first === Infinity ? null : Math.max(0, first - now.at);
    },
    message(now, id) {
      const entry = entries.get(id);
      return entry === undefined ? null : view(entry, now);
    },
    nextActions(now, device) {
      const due = of(device)
        .filter((entry) => isHeld(entry) && entry.kind === 'dls' && entry.dueAt <= now.at)
        .sort(byGeneration)[0];
      return due === undefined ? null : view(due, now);
    },
    awaited(now, device) {
      return of(device)
        .filter((entry) => isHeld(entry) && entry.awaitedUntil !== null)
        .sort(byGeneration)
        .map((entry) => view(entry, now));
    },
    overdue(now, limit) {
      return [...held]
        .filter(({ awaitedUntil }) => awaitedUntil !== null && awaitedUntil <= now.at)
        .sort((a, b) => (a.awaitedUntil ?? 0) - (b.awaitedUntil ?? 0) || a.n - b.n)
        .slice(0, limit)
        .map((entry) => view(entry, now));
    },
    device(_now, device) {
      const found = devices.get(device);
      return found === undefined ? null : deviceView(found);
    },
    messages(now, device, limit) {
      return [...of(device)]
        .sort((a, b) => byGeneration(b, a))
        .slice(0, limit)
        .map((entry) => view(entry, now));
    },
    deviceIds: (_now, after, limit) =>
      [...devices.keys()]
        .filter((device) => device > after)
        .sort((a, b) => (a < b ? -1 : 1))
        .slice(0, limit),
    scanDevices(_now, query) {
      const { limit } = query;
      const scanned = scan(query);
      const found = scanned.filter((each) => fits(each, query)).slice(0, limit);
      const last =
        found.length === limit ? found.at(-1) : scanned.length === SCAN_STEP ? scanned.at(-1) : null;
      return { devices: found, next: last?.device ?? null };
    },
    rankDevices(_now, query) {
      const { order, after, limit } = query;
      const scanned = scan(query);
      const ranked = scanned
        .filter((each) => fits(each, query))
        .map((record) => ({ record, rank: rankOf(order, record) }))
        .filter(({ rank }) => after === undefined || compareRanks(rank, after) > 0)
        .sort((a, b) => compareRanks(a.rank, b.rank));
      return {
        devices: ranked.slice(0, limit).map(({ record }) => record),
        next: scanned.length === SCAN_STEP ? (scanned.at(-1)?.device ?? null) : null,
      };
    },
    history(_now, { after, limit, device }) {
      return keptHistory()
        .filter((note) => note.seq > after && (device === undefined || note.device === device))
        .slice(0, limit);
    },
    recentHistory(_now, device, limit) {
      return keptHistory()
        .filter((note) => note.device === device)
        .reverse()
        .slice(0, limit);
    },
    counts: () => store.counts(),
    changes(now, after, limit) {
      if (after < store.sequence() - limits.history || after > store.sequence()) return null;
      const notes = keptHistory()
        .filter((note) => note.seq > after)
        .slice(0, limit);
      const changes = notes.flatMap((note): Change[] => {
        const { seq, event, message: id, device, generation } = note;
        if (event === 'note' || id === null || device === null) return [];
        if (!HOLDING.has(event)) return [{ op: 'end', seq, id, device, generation }];
        const entry = entries.get(id);
        // What has ended since needn't be held for a moment: its end comes later in the same history.
        if (entry === undefined || !isHeld(entry) || entry.generation !== generation) return [];
        return [{ op: 'hold', seq, ...pending(entry, now) }];
      });
      return { changes, seq: notes.at(-1)?.seq ?? after };
    },
    held(now, cursor, limit) {
      const page = [...held]
        .filter(
          (entry) =>
            cursor === null ||
            entry.expiresAt > cursor.expiresAt ||
            (entry.expiresAt === cursor.expiresAt && entry.n > cursor.n),
        )
        .sort(byExpiry)
        .slice(0, limit);
      const last = page.at(-1);
      return {
        seq: store.sequence(),
        entries: page.map((entry) => pending(entry, now)),
        cursor: last === undefined || page.length < limit ? null : { expiresAt: last.expiresAt, n: last.n },
      };
    },
  };
}
