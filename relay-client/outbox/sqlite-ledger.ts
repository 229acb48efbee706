import type { DatabaseSync } from 'node:sqlite';
import type { DeviceId } from '../../shared/device-id.ts';
import { SallyportError } from '../../shared/errors.ts';
import { searchForms, withoutSeparators } from './device-search.ts';
import { readOrder } from '../device-order.ts';
import { DROP_PER_END, EXPIRE_STEP, FORGET_PER_PUSH, HOLDING, SCAN_STEP } from './ledger.ts';
import type { EndRequest, Ledger, Now, PushRequest } from './ledger.ts';
import { ENDED_MEMORY_MS, KEY_MEMORY_MS } from './outbox.ts';
import type { Accepted, Change, EndState, HistoryEntry, Message, OutboxLimits, Sequence } from './outbox.ts';
import type { RecordedChange } from './recent-changes.ts';
import { messageSum, storeSum, sumOf } from './row-sums.ts';
import { full, keyReused, notDead, unknownMessage } from './refusals.ts';
import { deviceRecord, historyEntry, messageOf, pendingOf } from './sqlite-rows.ts';
import type {
  ChangeRow,
  Contents,
  DeviceRow,
  HistoryRow,
  MessageRow,
  PendingRow,
  StoreRow,
} from './sqlite-rows.ts';
import { prepareStatements, readStore } from './sqlite-statements.ts';
import type { SealedUse, Sealer } from './sealer.ts';
import { createSqliteCampaigns } from './sqlite-campaigns.ts';

/** A ledger in SQLite. Its calls are made inside a transaction that its owner begins and commits. */
export interface SqliteLedger extends Ledger {
  readonly store: Readonly<StoreRow>;
  /** Whether a call since the last commit changed something. */
  readonly dirty: boolean;
  /** Changed rows since the last commit, roughly: what a checkpoint will have to carry. */
  readonly weight: number;
  /** What was recorded since the last commit, for those who follow. */
  readonly recorded: readonly RecordedChange[];
  /** How accepted = ended + held was broken since the last commit; null = it was not. */
  miscount(): string | null;
  /** Writes the counters and trims the history; call it before COMMIT when dirty. */
  beforeCommit(): void;
  /** Starts counting anew; call it after COMMIT. */
  committed(): void;
  /** Takes the counters from the disk again; call it after ROLLBACK. */
  rolledBack(): void;
}

/** History rows that are deleted with one commit, beyond twice those it added: a lowered limit takes several. */
const TRIM_STEP = 1000;

type EndMore = Pick<EndRequest, 'results' | 'facts' | 'failed'>;

type HeldRow = PendingRow & Pick<MessageRow, 'n'>;

type EndedRow = Pick<MessageRow, 'n' | 'device' | 'state' | 'forget_at' | 'result_bytes'>;

/** @param sealer - seals actions and results on their way to the disk, and opens them on their way back */
export function createSqliteLedger(db: DatabaseSync, limits: OutboxLimits, sealer: Sealer): SqliteLedger {
  const sql = prepareStatements(db);
  let store = readStore(db);
  let dirty = false;
  let weight = 0;
  let added = 0;
  let recorded: RecordedChange[] = [];
  /** Accepted messages that are neither held nor ended: none, or there is a fault in here. */
  let balance = 0;
  /** Until then no ended message is past its memory, so that a push needn't look for one. */
  let nothingPastUntil = 0;

  const floor = (): Sequence => Math.max(0, store.seq - limits.history);

  function record(
    now: Now,
    row: MessageRow | (Pick<MessageRow, 'device' | 'generation'> & { id: null }),
    event: HistoryEntry['event'],
    what: string,
    facts: HistoryEntry['facts'] = {},
  ): void {
    const text = Object.keys(facts).length === 0 ? null : JSON.stringify(facts);
    const values = [++store.seq, now.wall, row.device, row.id, row.generation, event, what, text];
    sql.addHistory.run(...values, sumOf(values));
    if (row.id !== null) recorded.push(recordedChange(store.seq, row, event));
    changed(now);
    added++;
  }

  function changed(now: Now): void {
    store.store_time = Math.max(store.store_time, now.at);
    store.wall_ahead = Math.max(store.wall_ahead, now.ahead);
    dirty = true;
    weight++;
  }

  /** Ends a held message, and tells the row in memory as well as the one on disk. */
  function finish(
    now: Now,
    row: MessageRow,
    state: EndState,
    by: string,
    { results, facts, failed = false }: EndMore = {},
  ): void {
    if (results !== undefined) keepResults(row, results);
    const forgetAt = now.at + (row.key === null ? 0 : KEY_MEMORY_MS);
    row.held = 0;
    row.failed = failed ? 1 : 0;
    row.state = state;
    row.ended_wall = now.wall;
    row.ended_by = by;
    row.forget_at = forgetAt;
    // What a phone was sent, or never will be, is nobody's business any more; a dead one may be re-driven.
    if (state !== 'dead') row.actions = null;
    const sum = messageSum(row);
    if (state === 'dead') sql.endDead.run(now.wall, by, forgetAt, sum, row.n);
    else sql.end.run(state, now.wall, by, forgetAt, row.results, row.result_bytes, row.failed, sum, row.n);
    store.held--;
    store.held_bytes -= row.bytes;
    store[state]++;
    store.kept++;
    record(now, row, state, by, facts);
  }

  function finishAll(now: Now, rows: MessageRow[], state: EndState, by: string, more?: EndMore) {
    const dead = state === 'dead' ? 1 : 0;
    for (const row of rows) {
      finish(now, row, state, by, more);
      sql.countDevice.run(-1, dead, row.device);
    }
    dropResults();
    return rows.map((row) => messageOf(row, now, readable(row)));
  }

  /** Tells the row in memory only; whoever calls it writes the row. */
  function keepResults(row: MessageRow, results: string): void {
    const bytes = Buffer.byteLength(results);
    store.result_bytes += bytes - row.result_bytes;
    row.results = results === '' ? '' : sealer.seal('results', row.id, results);
    row.result_bytes = bytes;
  }

  /** Where there are too many bytes of results, those of the messages that ended first go. */
  function dropResults(): void {
    for (let i = 0; i < DROP_PER_END && store.result_bytes > limits.resultBytes; i++) {
      const oldest = sql.oldestResults.get() as unknown as MessageRow | undefined;
      if (oldest === undefined) return;
      keepResults(oldest, '');
      sql.dropResults.run(messageSum(oldest), oldest.n);
    }
  }

  const open = (use: SealedUse, { id, [use]: sealed }: MessageRow): string | null =>
    sealed === null || sealed === '' ? sealed : sealer.open(use, id, sealed);
  const contentsOf = (row: MessageRow): Contents => ({
    actions: open('actions', row),
    results: open('results', row),
  });
  const shown = (row: MessageRow, now: Now): Message => messageOf(row, now, contentsOf(row));

  /** Where it cannot be opened, null: that must keep neither a message from ending, nor others from being looked at. */
  function readable(row: MessageRow): Contents {
    try {
      return contentsOf(row);
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error;
      return { actions: null, results: row.results === null ? null : '' };
    }
  }

  const heldOf = (device: DeviceId): MessageRow[] => sql.heldOfDevice.all(device) as unknown as MessageRow[];
  const deviceRow = (device: DeviceId): DeviceRow | undefined =>
    sql.device.get(device) as unknown as DeviceRow | undefined;
  const messageRow = (id: string): MessageRow | undefined =>
    sql.messageById.get(id) as unknown as MessageRow | undefined;

  /** Refuses what would go past a limit once `leaving` have left. */
  function checkRoom(device: DeviceId, pending: number, bytes: number, leaving: MessageRow[]): void {
    const leavingBytes = leaving.reduce((sum, row) => sum + row.bytes, 0);
    if (store.held - leaving.length >= limits.messages) throw full(device, limits, 'messages');
    if (pending - leaving.length >= limits.perDevice) throw full(device, limits, 'perDevice');
    if (bytes > 0 && store.held_bytes - leavingBytes + bytes > limits.bytes)
      throw full(device, limits, 'bytes');
  }

  function checkKeyRoom(now: Now, device: DeviceId): void {
    if (store.kept < limits.ended) return;
    const oldest = sql.nextForgetting.get() as { at: number | null } | undefined;
    if ((oldest?.at ?? Infinity) > now.at) throw full(device, limits, 'ended');
  }

  /** Forgets at most `most` ended messages: those past their memory, and the oldest of those beyond the limit. */
  function forget(now: Now, most: number): void {
    const surplus = Math.max(0, store.kept - limits.ended);
    const wanted = now.at < nothingPastUntil ? Math.min(most, surplus) : most;
    if (wanted === 0) return;
    const rows = sql.forgettable.all(now.at, wanted) as unknown as EndedRow[];
    for (const row of rows) {
      const pastAt = (row.forget_at ?? 0) + ENDED_MEMORY_MS;
      if (now.at < pastAt && store.kept <= limits.ended) {
        nothingPastUntil = pastAt;
        return;
      }
      sql.forget.run(row.n);
      store.result_bytes -= row.result_bytes;
      if (row.state === 'dead') sql.countDevice.run(0, -1, row.device);
      store.kept--;
      changed(now);
    }
    // Whatever ends from now on is remembered at least that long.
    if (rows.length === 0) nothingPastUntil = now.at + ENDED_MEMORY_MS;
  }

  function isSame(stored: string | null, content: string | null): boolean {
    return stored === null || content === null ? stored === content : sealer.matches(stored, content);
  }

  function push(now: Now, request: PushRequest): Accepted {
    const { device, key } = request;
    if (key !== null) {
      const known = sql.messageByKey.get(device, key) as unknown as MessageRow | undefined;
      if (known !== undefined && (known.held === 1 || now.at < (known.forget_at ?? 0))) {
        if (!isSame(known.content, request.content)) throw keyReused(device, key, known.id);
        return { message: shown(known, now), known: true };
      }
    }

    const owner = deviceRow(device);
    const supersedes = request.kind === 'contact-me' || request.replace;
    const superseded =
      supersedes && (owner?.pending ?? 0) > 0
        ? heldOf(device).filter((row) => row.kind === request.kind)
        : [];
    checkRoom(device, owner?.pending ?? 0, request.bytes, superseded);
    const firstPush = (owner?.generation ?? 0) === 0;
    if (firstPush && store.devices - store.strangers >= limits.devices) throw full(device, limits, 'devices');
    if (key !== null) checkKeyRoom(now, device);

    const secret = request.actions !== null;
    const row: MessageRow = {
      n: 0,
      id: request.id,
      device,
      held: 1,
      generation: (owner?.generation ?? 0) + 1,
      kind: request.kind,
      state: 'held',
      accepted_wall: now.wall,
      ended_wall: null,
      ended_by: null,
      ttl: request.ttl,
      due_at: now.at + (request.parked ? request.ttl : request.delay),
      expires_at: now.at + request.ttl,
      forget_at: null,
      fruitless: 0,
      key,
      content: secret && request.content !== null ? sealer.digest(request.content) : request.content,
      campaign: request.campaign,
      bytes: request.bytes,
      actions: request.actions === null ? null : sealer.seal('actions', request.id, request.actions),
      results: null,
      result_bytes: 0,
      awaited_until: null,
      parked_due: request.parked ? now.at + request.delay : null,
      failed: 0,
    };
    if (owner === undefined) {
      sql.addDevice.run(device, withoutSeparators(device), 1, 1);
      store.devices++;
    } else {
      sql.pushDevice.run(1 - superseded.length, device);
      if (firstPush) store.strangers--;
    }
    sql.addMessage.run(
      row.id,
      device,
      row.generation,
      row.kind,
      row.accepted_wall,
      row.ttl,
      row.due_at,
      row.expires_at,
      key,
      row.content,
      row.campaign,
      row.bytes,
      row.actions,
      row.parked_due,
      messageSum(row),
    );
    store.accepted++;
    store.held++;
    store.held_bytes += row.bytes;
    record(now, row, 'accepted', row.kind, row.campaign === null ? {} : { campaign: row.campaign });
    // The new one is held before the old ones end, so that no reader of changes sees the device without work.
    for (const old of superseded) finish(now, old, 'superseded', 'newer push');
    forget(now, FORGET_PER_PUSH);
    return { message: messageOf(row, now, { actions: request.actions, results: null }), known: false };
  }

  const ledger: SqliteLedger = {
    get store() {
      return store;
    },
    get dirty() {
      return dirty;
    },
    get weight() {
      return weight;
    },
    get recorded() {
      return recorded;
    },
    miscount() {
      const { accepted, held, cleared, superseded, expired, cancelled, dead } = store;
      const missing = accepted - held - cleared - superseded - expired - cancelled - dead;
      // Told when it comes about, not at each commit from then on.
      const wrong = missing !== balance;
      balance = missing;
      return wrong ? `of ${accepted} accepted messages ${missing} are neither held nor ended` : null;
    },
    beforeCommit() {
      store.sum = storeSum(store);
      const { one: _one, ...values } = store;
      sql.saveStore.run(...Object.values(values));
      if (floor() > 0 && added > 0) sql.trimHistory.run(floor(), added * 2 + TRIM_STEP);
    },
    committed() {
      dirty = false;
      weight = 0;
      added = 0;
      recorded = [];
    },
    rolledBack() {
      store = readStore(db);
      nothingPastUntil = 0;
      ledger.committed();
    },

    ...createSqliteCampaigns(sql, { record, changed, finish: finishAll }),
    push,
    pushMany(now, requests) {
      return requests.map((request) => {
        try {
          return push(now, request);
        } catch (error) {
          if (!(error instanceof SallyportError)) throw error;
          return { code: error.code, message: error.message };
        }
      });
    },
    clear(now, device, { state, by, generation = Infinity, kind }) {
      const rows = heldOf(device).filter(
        (row) => row.generation <= generation && (kind === undefined || row.kind === kind),
      );
      return finishAll(now, rows, state, by);
    },
    end(now, id, { state, by, ...more }) {
      const row = messageRow(id);
      if (row === undefined) throw unknownMessage(id);
      if (row.held === 1) finishAll(now, [row], state, by, more);
      return messageOf(row, now, readable(row));
    },
    advance(now, id, { results, wait }) {
      const row = messageRow(id);
      if (row === undefined) throw unknownMessage(id);
      if (row.held === 0) return shown(row, now);
      const { actions } = contentsOf({ ...row, results: null });
      keepResults(row, results);
      const moved = wait > 0 || row.awaited_until !== null;
      if (moved) row.due_at = row.parked_due === null ? now.at + wait : row.expires_at;
      row.awaited_until = wait > 0 ? now.at + wait : null;
      sql.advance.run(row.results, row.result_bytes, row.due_at, row.awaited_until, messageSum(row), row.n);
      changed(now);
      if (moved) record(now, row, 'deferred', wait > 0 ? 'awaited' : 'due');
      return messageOf(row, now, { actions, results });
    },
    redrive(now, id) {
      const row = messageRow(id);
      if (row === undefined) throw unknownMessage(id);
      if (row.state !== 'dead') throw notDead(row);
      const contents = contentsOf(row);
      const owner = deviceRow(row.device);
      const superseded =
        row.kind === 'contact-me' ? heldOf(row.device).filter((other) => other.kind === 'contact-me') : [];
      checkRoom(row.device, owner?.pending ?? 0, row.bytes, superseded);
      Object.assign(row, { held: 1, state: 'held', ended_wall: null, ended_by: null, forget_at: null });
      row.generation = (owner?.generation ?? 0) + 1;
      row.due_at = now.at;
      row.expires_at = now.at + row.ttl;
      row.fruitless = 0;
      row.awaited_until = null;
      row.parked_due = null;
      sql.redrive.run(row.generation, row.due_at, row.expires_at, messageSum(row), row.n);
      sql.pushDevice.run(1 - superseded.length, row.device);
      sql.countDevice.run(0, -1, row.device);
      store.dead--;
      store.kept--;
      store.held++;
      store.held_bytes += row.bytes;
      record(now, row, 'redriven', row.kind);
      for (const old of superseded) finish(now, old, 'superseded', 'newer push');
      return messageOf(row, now, contents);
    },
    fruitless(now, device, generation, limit, kind) {
      const rows = heldOf(device).filter(
        (row) =>
          row.generation <= generation && row.due_at <= now.at && (kind === undefined || row.kind === kind),
      );
      for (const row of rows) {
        row.fruitless++;
        sql.fruitless.run(row.fruitless, messageSum(row), row.n);
        changed(now);
      }
      const dead = rows.filter((row) => limit > 0 && row.fruitless >= limit);
      return finishAll(now, dead, 'dead', 'fruitless sessions');
    },
    expire(now) {
      const rows = sql.expired.all(now.at, EXPIRE_STEP) as unknown as MessageRow[];
      const ended = finishAll(now, rows, 'expired', 'time');
      forget(now, EXPIRE_STEP);
      return ended;
    },
    renew(now, incarnation) {
      store.incarnation = incarnation;
      changed(now);
      return incarnation;
    },
    note(now, device, what, facts, session) {
      const owner = deviceRow(device);
      if (owner === undefined) {
        if (store.strangers >= limits.strangers) return;
        sql.addDevice.run(device, withoutSeparators(device), 0, 0);
        store.devices++;
        store.strangers++;
      }
      if (session) {
        const outcome = typeof facts['outcome'] === 'string' ? facts['outcome'] : what;
        sql.session.run(now.wall, outcome, device);
      }
      record(now, { device, generation: owner?.generation ?? 0, id: null }, 'note', what, facts);
    },
    touch(now) {
      if (now.at > store.store_time || now.ahead > store.wall_ahead) changed(now);
    },

    nextExpiry(now) {
      const first = sql.nextExpiry.get() as { at: number | null } | undefined;
      return first?.at == null ? null : Math.max(0, first.at - now.at);
    },
    message(now, id) {
      const row = messageRow(id);
      return row === undefined ? null : shown(row, now);
    },
    nextActions(now, device) {
      const row = sql.nextActions.get(device, now.at) as unknown as MessageRow | undefined;
      return row === undefined ? null : shown(row, now);
    },
    awaited(now, device) {
      return (sql.awaited.all(device) as unknown as MessageRow[]).map((row) =>
        messageOf(row, now, readable(row)),
      );
    },
    overdue(now, limit) {
      return (sql.overdue.all(now.at, limit) as unknown as MessageRow[]).map((row) =>
        messageOf(row, now, readable(row)),
      );
    },
    device(_now, device) {
      const row = deviceRow(device);
      return row === undefined ? null : deviceRecord(row);
    },
    messages(now, device, limit) {
      const held = sql.newestOfDevice.all(device, 1, limit) as unknown as MessageRow[];
      const ended = sql.newestOfDevice.all(device, 0, limit) as unknown as MessageRow[];
      return [...held, ...ended]
        .sort((a, b) => b.generation - a.generation)
        .slice(0, limit)
        .map((row) => shown(row, now));
    },
    scanDevices(_now, { state, q, cursor, limit }) {
      const { written, plain } = searchForms(q ?? '');
      const after = cursor ?? '';
      const rows = (state === 'dead'
        ? sql.scanDead.all(after, written, plain, plain, limit)
        : sql.scan.all(
            after,
            SCAN_STEP,
            state ?? '',
            written,
            plain,
            plain,
            limit,
          )) as unknown as DeviceRow[];
      const last = rows.at(-1)?.device as DeviceId | undefined;
      let next = rows.length === limit && last !== undefined ? last : null;
      if (next === null && state !== 'dead') {
        const end = sql.scanEnd.get(after, SCAN_STEP - 1) as { device: DeviceId } | undefined;
        next = end?.device ?? null;
      }
      return { devices: rows.map(deviceRecord), next };
    },
    rankDevices(_now, { state, q, cursor, limit, order, after }) {
      const { written, plain } = searchForms(q ?? '');
      const { by, sign } = readOrder(order);
      const from = cursor ?? '';
      const rank = [after?.score ?? -Number.MAX_VALUE, after?.device ?? ''];
      const filter = [state ?? '', written, plain, plain];
      const rows = sql.rank.all(
        sign,
        by,
        from,
        SCAN_STEP,
        ...filter,
        ...rank,
        limit,
      ) as unknown as DeviceRow[];
      const end = sql.scanEnd.get(from, SCAN_STEP - 1) as { device: DeviceId } | undefined;
      return { devices: rows.map(deviceRecord), next: end?.device ?? null };
    },
    history(_now, { after, limit, device }) {
      const from = Math.max(after, floor());
      const rows =
        device === undefined ? sql.history.all(from, limit) : sql.historyOf.all(device, from, limit);
      return (rows as unknown as HistoryRow[]).map(historyEntry);
    },
    recentHistory(_now, device, limit) {
      const rows = sql.recentHistory.all(device, floor(), limit) as unknown as HistoryRow[];
      return rows.map(historyEntry);
    },
    counts() {
      const { devices, held, held_bytes: heldBytes, accepted } = store;
      const { cleared, superseded, expired, cancelled, dead } = store;
      return { devices, held, heldBytes, accepted, ended: { cleared, superseded, expired, cancelled, dead } };
    },
    changes(now, after, limit) {
      if (after < floor() || after > store.seq) return null;
      const rows = sql.changes.all(after, limit) as unknown as ChangeRow[];
      const changes = rows.flatMap((row): Change[] => {
        const { seq, event, message: id, device, generation } = row;
        if (event === 'note' || id === null) return [];
        if (!HOLDING.has(event)) return [{ op: 'end', seq, id, device, generation }];
        // What has ended since needn't be held for a moment: its end comes later in the same history.
        if (row.kind === null) return [];
        return [{ op: 'hold', seq, ...pendingOf({ ...row, id, kind: row.kind }, now) }];
      });
      return { changes, seq: rows.at(-1)?.seq ?? after };
    },
    held(now, cursor, limit) {
      const rows: HeldRow[] = [];
      if (cursor !== null) {
        rows.push(...(sql.heldAlike.all(cursor.expiresAt, cursor.n, limit) as unknown as HeldRow[]));
      }
      if (rows.length < limit) {
        const from = cursor?.expiresAt ?? -1;
        rows.push(...(sql.heldLater.all(from, limit - rows.length) as unknown as HeldRow[]));
      }
      const last = rows.at(-1);
      return {
        seq: store.seq,
        entries: rows.map((row) => pendingOf(row, now)),
        cursor: last === undefined || rows.length < limit ? null : { expiresAt: last.expires_at, n: last.n },
      };
    },
  };
  return ledger;
}

function recordedChange(seq: Sequence, row: MessageRow, event: HistoryEntry['event']): RecordedChange {
  const { id, device, generation, kind } = row;
  if (!HOLDING.has(event)) return { op: 'end', seq, id, device, generation };
  return { op: 'hold', seq, id, device, kind, generation, dueAt: row.due_at, expiresAt: row.expires_at };
}
