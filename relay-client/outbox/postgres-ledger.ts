import type { DeviceId } from '../../shared/device-id.ts';
import { SallyportError } from '../../shared/errors.ts';
import { searchForms, withoutSeparators } from './device-search.ts';
import { readOrder } from '../device-order.ts';
import { DROP_PER_END, EXPIRE_STEP, FORGET_PER_PUSH, HOLDING, SCAN_STEP } from './ledger.ts';
import type { EndRequest, Ledger, Method, Now, PushRequest } from './ledger.ts';
import { ENDED_MEMORY_MS, KEY_MEMORY_MS } from './outbox.ts';
import type { Accepted, Change, EndState, HistoryEntry, Message, OutboxLimits, Sequence } from './outbox.ts';
import { createPostgresCampaigns } from './postgres-campaigns.ts';
import type { Value } from './postgres-client.ts';
import { BOOKS } from './postgres-statements.ts';
import type { Books, StatementName } from './postgres-statements.ts';
import { full, keyReused, notDead, unknownMessage } from './refusals.ts';
import type { SealedUse, Sealer } from './sealer.ts';
import { deviceRecord, historyEntry, messageOf, pendingOf } from './sqlite-rows.ts';
import type { ChangeRow, Contents, DeviceRow, HistoryRow, MessageRow, PendingRow } from './sqlite-rows.ts';

/** A {@link Ledger} whose store answers later. */
export type AsyncLedger = {
  [M in Method]: (...args: Parameters<Ledger[M]>) => Promise<ReturnType<Ledger[M]>>;
};

/** A transaction, as a ledger sees it. */
export interface LedgerStore {
  read<Row extends object>(statement: StatementName, ...values: Value[]): Promise<Row[]>;
  /** Goes out at once and in order; whoever commits waits for it. */
  write(statement: StatementName, ...values: Value[]): void;
}

/**
 * A ledger in PostgreSQL. Its calls are made one after another inside a transaction that its owner begins, with the
 * store's row locked where anything may change, and commits.
 */
export interface PostgresLedger extends AsyncLedger {
  readonly books: Readonly<Books>;
  /** Whether a call since `begin` changed something. */
  readonly dirty: boolean;
  /** Makes pushes in order; an error stands in the place of one that is refused. */
  pushAll(items: readonly PushItem[]): Promise<(Accepted | SallyportError)[]>;
  /** A transaction has begun, and this is what its store's row says. */
  begin(books: Books): void;
  /** How accepted = ended + held was broken since `begin`; null = it was not. */
  miscount(): string | null;
  /** Writes the counters and trims the history; to be called before COMMIT when dirty. */
  beforeCommit(): void;
}

export interface PushItem {
  now: Now;
  request: PushRequest;
}

/** What a push depends on. */
interface Found {
  /** The newest message of the device under the push's key. */
  known: MessageRow | undefined;
  owner: DeviceRow | undefined;
  /** Held messages of the device, where the push ends some. */
  held: MessageRow[];
}

/** History rows that are deleted with one commit, beyond twice those it added: a lowered limit takes several. */
const TRIM_STEP = 1000;

type EndMore = Pick<EndRequest, 'results' | 'facts' | 'failed'>;
type HeldRow = PendingRow & Pick<MessageRow, 'n'>;
type EndedRow = Pick<MessageRow, 'n' | 'device' | 'state' | 'forget_at' | 'result_bytes'>;

const supersedes = ({ kind, replace }: PushRequest): boolean => kind === 'contact-me' || replace;

/** @param sealer - seals actions and results on their way to the server, and opens them on their way back */
export function createPostgresLedger(
  store: LedgerStore,
  limits: OutboxLimits,
  sealer: Sealer,
): PostgresLedger {
  const { read, write } = store;
  let books = Object.fromEntries(BOOKS.map((name) => [name, 0])) as unknown as Books;
  let dirty = false;
  let added = 0;
  let balance = 0;
  /** Until then no ended message is past its memory, so that a push needn't look for one. */
  let nothingPastUntil = 0;

  const floor = (): Sequence => Math.max(0, books.seq - limits.history);
  const missing = (): number =>
    books.accepted -
    books.held -
    (books.cleared + books.superseded + books.expired + books.cancelled + books.dead);

  function record(
    now: Now,
    row: Pick<MessageRow, 'device' | 'generation'> & { id: string | null },
    event: HistoryEntry['event'],
    what: string,
    facts: HistoryEntry['facts'] = {},
  ): void {
    const text = Object.keys(facts).length === 0 ? null : JSON.stringify(facts);
    write('addHistory', ++books.seq, now.wall, row.device, row.id, row.generation, event, what, text);
    changed(now);
    added++;
  }

  function changed(now: Now): void {
    books.store_time = Math.max(books.store_time, now.at);
    books.wall_ahead = Math.max(books.wall_ahead, now.ahead);
    dirty = true;
  }

  /** Ends a held message, and tells the row in memory as well as the one in the store. */
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
    if (state === 'dead') write('endDead', now.wall, by, forgetAt, row.n);
    else write('end', state, now.wall, by, forgetAt, row.results, row.result_bytes, row.failed, row.n);
    books.held--;
    books.held_bytes -= row.bytes;
    books[state]++;
    books.kept++;
    record(now, row, state, by, facts);
  }

  async function finishAll(now: Now, rows: MessageRow[], state: EndState, by: string, more?: EndMore) {
    const dead = state === 'dead' ? 1 : 0;
    for (const row of rows) {
      finish(now, row, state, by, more);
      write('countDevice', -1, dead, row.device);
    }
    await dropResults();
    return rows.map((row) => messageOf(row, now, readable(row)));
  }

  /** Tells the row in memory only; whoever calls it writes the row. */
  function keepResults(row: MessageRow, results: string): void {
    const bytes = Buffer.byteLength(results);
    books.result_bytes += bytes - row.result_bytes;
    row.results = results === '' ? '' : sealer.seal('results', row.id, results);
    row.result_bytes = bytes;
  }

  /** Where there are too many bytes of results, those of the messages that ended first go. */
  async function dropResults(): Promise<void> {
    for (let i = 0; i < DROP_PER_END && books.result_bytes > limits.resultBytes; i++) {
      const [oldest] = await read<MessageRow>('oldestResults');
      if (oldest === undefined) return;
      keepResults(oldest, '');
      write('dropResults', oldest.n);
      dirty = true;
    }
  }

  const open = (use: SealedUse, { id, [use]: sealed }: MessageRow): string | null =>
    sealed === null || sealed === '' ? sealed : sealer.open(use, id, sealed);
  const contentsOf = (row: MessageRow): Contents => ({
    actions: open('actions', row),
    results: open('results', row),
  });
  const shown = (row: MessageRow, now: Now): Message => messageOf(row, now, contentsOf(row));

  /** Of a message that has ended: that its contents cannot be opened must not keep it from ending. */
  function readable(row: MessageRow): Contents {
    try {
      return contentsOf(row);
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error;
      return { actions: null, results: row.results === null ? null : '' };
    }
  }

  const heldOf = (device: DeviceId): Promise<MessageRow[]> => read<MessageRow>('heldOfDevice', device);
  const deviceRow = async (device: DeviceId): Promise<DeviceRow | undefined> =>
    (await read<DeviceRow>('device', device))[0];
  const messageRow = async (id: string): Promise<MessageRow | undefined> =>
    (await read<MessageRow>('messageById', id))[0];

  /** Refuses what would go past a limit once `leaving` have left. */
  function checkRoom(device: DeviceId, pending: number, bytes: number, leaving: MessageRow[]): void {
    const leavingBytes = leaving.reduce((sum, row) => sum + row.bytes, 0);
    if (books.held - leaving.length >= limits.messages) throw full(device, limits, 'messages');
    if (pending - leaving.length >= limits.perDevice) throw full(device, limits, 'perDevice');
    if (bytes > 0 && books.held_bytes - leavingBytes + bytes > limits.bytes)
      throw full(device, limits, 'bytes');
  }

  async function checkKeyRoom(now: Now, device: DeviceId): Promise<void> {
    if (books.kept < limits.ended) return;
    const [oldest] = await read<{ at: number | null }>('nextForgetting');
    if ((oldest?.at ?? Infinity) > now.at) throw full(device, limits, 'ended');
  }

  /** Forgets at most `most` ended messages: those past their memory, and the oldest of those beyond the limit. */
  async function forget(now: Now, most: number): Promise<void> {
    const surplus = Math.max(0, books.kept - limits.ended);
    const wanted = now.at < nothingPastUntil ? Math.min(most, surplus) : most;
    if (wanted === 0) return;
    const rows = await read<EndedRow>('forgettable', now.at, wanted);
    for (const row of rows) {
      const pastAt = (row.forget_at ?? 0) + ENDED_MEMORY_MS;
      if (now.at < pastAt && books.kept <= limits.ended) {
        nothingPastUntil = pastAt;
        return;
      }
      write('forget', row.n);
      books.result_bytes -= row.result_bytes;
      if (row.state === 'dead') write('countDevice', 0, -1, row.device);
      books.kept--;
      changed(now);
    }
    // Whatever ends from now on is remembered at least that long.
    if (rows.length === 0) nothingPastUntil = now.at + ENDED_MEMORY_MS;
  }

  function isSame(stored: string | null, content: string | null): boolean {
    return stored === null || content === null ? stored === content : sealer.matches(stored, content);
  }

  /** What is there that pushes depend on. No two of them are to one device. */
  async function lookUp(requests: readonly PushRequest[]): Promise<Found[]> {
    const [only] = requests;
    if (only !== undefined && requests.length === 1) {
      const { device, key } = only;
      // Asked for together: one way to the server and back for all.
      const [[known], owner, held] = await Promise.all([
        key === null ? [] : read<MessageRow>('messageByKey', device, key),
        deviceRow(device),
        supersedes(only) ? heldOf(device) : [],
      ]);
      return [{ known, owner, held }];
    }
    const named = requests.filter(({ key }) => key !== null).map(({ device, key }) => ({ device, key }));
    const superseding = requests.filter(supersedes).map(({ device }) => device);
    const [known, owners, held] = await Promise.all([
      named.length === 0 ? [] : read<MessageRow>('messagesByKeys', JSON.stringify(named)),
      read<DeviceRow>('devicesIn', JSON.stringify(requests.map(({ device }) => device))),
      superseding.length === 0 ? [] : read<MessageRow>('heldOfDevices', JSON.stringify(superseding)),
    ]);
    const knownOf = new Map(known.map((row) => [row.device, row]));
    const ownerOf = new Map(owners.map((row) => [row.device, row]));
    const heldOfEach = Map.groupBy(held, (row) => row.device);
    return requests.map(({ device }) => ({
      known: knownOf.get(device),
      owner: ownerOf.get(device),
      held: heldOfEach.get(device) ?? [],
    }));
  }

  /** Pushes in order; those to different devices are looked up together. */
  async function pushAll(items: readonly PushItem[]): Promise<(Accepted | SallyportError)[]> {
    const results: (Accepted | SallyportError)[] = [];
    for (let first = 0; first < items.length;) {
      const devices = new Set<DeviceId>();
      let end = first;
      for (; end < items.length && !devices.has(items[end]!.request.device); end++) {
        devices.add(items[end]!.request.device);
      }
      const part = items.slice(first, end);
      const found = await lookUp(part.map(({ request }) => request));
      for (const [i, { now, request }] of part.entries()) {
        try {
          results.push(await push(now, request, found[i] as Found));
        } catch (error) {
          if (!(error instanceof SallyportError)) throw error;
          results.push(error);
        }
      }
      first = end;
    }
    return results;
  }

  async function push(now: Now, request: PushRequest, { known, owner, held }: Found): Promise<Accepted> {
    const { device, key } = request;
    if (key !== null && known !== undefined && (known.held === 1 || now.at < (known.forget_at ?? 0))) {
      if (!isSame(known.content, request.content)) throw keyReused(device, key, known.id);
      return { message: shown(known, now), known: true };
    }

    const superseded = held.filter((row) => row.kind === request.kind);
    checkRoom(device, owner?.pending ?? 0, request.bytes, superseded);
    const firstPush = (owner?.generation ?? 0) === 0;
    if (firstPush && books.devices - books.strangers >= limits.devices) throw full(device, limits, 'devices');
    if (key !== null) await checkKeyRoom(now, device);

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
      write('addDevice', device, withoutSeparators(device), 1, 1);
      books.devices++;
    } else {
      write('pushDevice', 1 - superseded.length, device);
      if (firstPush) books.strangers--;
    }
    write(
      'addMessage',
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
    );
    books.accepted++;
    books.held++;
    books.held_bytes += row.bytes;
    record(now, row, 'accepted', row.kind, row.campaign === null ? {} : { campaign: row.campaign });
    // The new one is held before the old ones end, so that no reader of changes sees the device without work.
    for (const old of superseded) finish(now, old, 'superseded', 'newer push');
    await forget(now, FORGET_PER_PUSH);
    return { message: messageOf(row, now, { actions: request.actions, results: null }), known: false };
  }

  const ledger: PostgresLedger = {
    get books() {
      return books;
    },
    get dirty() {
      return dirty;
    },
    begin(found) {
      books = { ...found };
      balance = missing();
      dirty = false;
      added = 0;
    },
    miscount() {
      if (missing() === balance) return null;
      return `of ${books.accepted} accepted messages ${missing()} are neither held nor ended`;
    },
    beforeCommit() {
      write('saveStore', ...BOOKS.map((name) => books[name]));
      if (floor() > 0 && added > 0) write('trimHistory', floor(), added * 2 + TRIM_STEP);
    },

    ...createPostgresCampaigns(store, { record, changed, finish: finishAll }),
    pushAll,
    async push(now, request) {
      const [result] = await pushAll([{ now, request }]);
      if (result instanceof SallyportError) throw result;
      return result as Accepted;
    },
    async pushMany(now, requests) {
      const results = await pushAll(requests.map((request) => ({ now, request })));
      return results.map((result) =>
        result instanceof SallyportError ? { code: result.code, message: result.message } : result,
      );
    },
    async clear(now, device, { state, by, generation = Infinity, kind }) {
      const rows = (await heldOf(device)).filter(
        (row) => row.generation <= generation && (kind === undefined || row.kind === kind),
      );
      return finishAll(now, rows, state, by);
    },
    async end(now, id, { state, by, ...more }) {
      const row = await messageRow(id);
      if (row === undefined) throw unknownMessage(id);
      if (row.held === 1) await finishAll(now, [row], state, by, more);
      return messageOf(row, now, readable(row));
    },
    async advance(now, id, { results, wait }) {
      const row = await messageRow(id);
      if (row === undefined) throw unknownMessage(id);
      if (row.held === 0) return shown(row, now);
      const { actions } = contentsOf({ ...row, results: null });
      keepResults(row, results);
      const moved = wait > 0 || row.awaited_until !== null;
      if (moved) row.due_at = row.parked_due === null ? now.at + wait : row.expires_at;
      row.awaited_until = wait > 0 ? now.at + wait : null;
      write('advance', row.results, row.result_bytes, row.due_at, row.awaited_until, row.n);
      changed(now);
      if (moved) record(now, row, 'deferred', wait > 0 ? 'awaited' : 'due');
      return messageOf(row, now, { actions, results });
    },
    async redrive(now, id) {
      const row = await messageRow(id);
      if (row === undefined) throw unknownMessage(id);
      if (row.state !== 'dead') throw notDead(row);
      const contents = contentsOf(row);
      const owner = await deviceRow(row.device);
      const superseded =
        row.kind === 'contact-me'
          ? (await heldOf(row.device)).filter((other) => other.kind === 'contact-me')
          : [];
      checkRoom(row.device, owner?.pending ?? 0, row.bytes, superseded);
      Object.assign(row, { held: 1, state: 'held', ended_wall: null, ended_by: null, forget_at: null });
      row.generation = (owner?.generation ?? 0) + 1;
      row.due_at = now.at;
      row.expires_at = now.at + row.ttl;
      row.fruitless = 0;
      row.awaited_until = null;
      row.parked_due = null;
      write('redrive', row.generation, row.due_at, row.expires_at, row.n);
      write('pushDevice', 1 - superseded.length, row.device);
      write('countDevice', 0, -1, row.device);
      books.dead--;
      books.kept--;
      books.held++;
      books.held_bytes += row.bytes;
      record(now, row, 'redriven', row.kind);
      for (const old of superseded) finish(now, old, 'superseded', 'newer push');
      return messageOf(row, now, contents);
    },
    async fruitless(now, device, generation, limit, kind) {
      const rows = (await heldOf(device)).filter(
        (row) =>
          row.generation <= generation && row.due_at <= now.at && (kind === undefined || row.kind === kind),
      );
      for (const row of rows) {
        row.fruitless++;
        write('fruitless', row.fruitless, row.n);
        changed(now);
      }
      const dead = rows.filter((row) => limit > 0 && row.fruitless >= limit);
      return finishAll(now, dead, 'dead', 'fruitless sessions');
    },
    async expire(now) {
      const rows = await read<MessageRow>('expired', now.at, EXPIRE_STEP);
      const ended = await finishAll(now, rows, 'expired', 'time');
      await forget(now, EXPIRE_STEP);
      return ended;
    },
    async renew(now, incarnation) {
      books.incarnation = incarnation;
      changed(now);
      return incarnation;
    },
    async note(now, device, what, facts, session) {
      const owner = await deviceRow(device);
      if (owner === undefined) {
        if (books.strangers >= limits.strangers) return;
        write('addDevice', device, withoutSeparators(device), 0, 0);
        books.devices++;
        books.strangers++;
      }
      if (session) {
        const outcome = typeof facts['outcome'] === 'string' ? facts['outcome'] : what;
        write('session', now.wall, outcome, device);
      }
      record(now, { device, generation: owner?.generation ?? 0, id: null }, 'note', what, facts);
    },
    async touch(now) {
      if (now.at > books.store_time || now.ahead > books.wall_ahead) changed(now);
    },

    async nextExpiry(now) {
      const [first] = await read<{ at: number | null }>('nextExpiry');
      return first?.at == null ? null : Math.max(0, first.at - now.at);
    },
    async message(now, id) {
      const row = await messageRow(id);
      return row === undefined ? null : shown(row, now);
    },
    async nextActions(now, device) {
      const [row] = await read<MessageRow>('nextActions', device, now.at);
      return row === undefined ? null : shown(row, now);
    },
    async awaited(now, device) {
      return (await read<MessageRow>('awaited', device)).map((row) => messageOf(row, now, readable(row)));
    },
    async overdue(now, limit) {
      return (await read<MessageRow>('overdue', now.at, limit)).map((row) =>
        messageOf(row, now, readable(row)),
      );
    },
    async device(_now, device) {
      const row = await deviceRow(device);
      return row === undefined ? null : deviceRecord(row);
    },
    async messages(now, device, limit) {
      const [held, ended] = await Promise.all([
        read<MessageRow>('newestOfDevice', device, 1, limit),
        read<MessageRow>('newestOfDevice', device, 0, limit),
      ]);
      return [...held, ...ended]
        .sort((a, b) => b.generation - a.generation)
        .slice(0, limit)
        .map((row) => shown(row, now));
    },
    async scanDevices(_now, { state, q, cursor, limit }) {
      const { written, plain } = searchForms(q ?? '');
      const after = cursor ?? '';
      const rows =
        state === 'dead'
          ? await read<DeviceRow>('scanDead', after, written, plain, plain, limit)
          : await read<DeviceRow>('scan', after, SCAN_STEP, state ?? '', written, plain, plain, limit);
      const last = rows.at(-1)?.device as DeviceId | undefined;
      let next = rows.length === limit && last !== undefined ? last : null;
      if (next === null && state !== 'dead') {
        const [end] = await read<{ device: DeviceId }>('scanEnd', after, SCAN_STEP - 1);
        next = end?.device ?? null;
      }
      return { devices: rows.map(deviceRecord), next };
    },
    async rankDevices(_now, { state, q, cursor, limit, order, after }) {
      const { written, plain } = searchForms(q ?? '');
      const { by, sign } = readOrder(order);
      const from = cursor ?? '';
      const filter = [state ?? '', written, plain, plain];
      const rank = [after?.score ?? -Number.MAX_VALUE, after?.device ?? ''];
      const [rows, [end]] = await Promise.all([
        read<DeviceRow>('rank', sign, by, from, SCAN_STEP, ...filter, ...rank, limit),
        read<{ device: DeviceId }>('scanEnd', from, SCAN_STEP - 1),
      ]);
      return { devices: rows.map(deviceRecord), next: end?.device ?? null };
    },
    async history(_now, { after, limit, device }) {
      const from = Math.max(after, floor());
      const rows =
        device === undefined
          ? await read<HistoryRow>('history', from, limit)
          : await read<HistoryRow>('historyOf', device, from, limit);
      return rows.map(historyEntry);
    },
    async recentHistory(_now, device, limit) {
      return (await read<HistoryRow>('recentHistory', device, floor(), limit)).map(historyEntry);
    },
    async counts() {
      const { devices, held, held_bytes: heldBytes, accepted } = books;
      const { cleared, superseded, expired, cancelled, dead } = books;
      return { devices, held, heldBytes, accepted, ended: { cleared, superseded, expired, cancelled, dead } };
    },
    async changes(now, after, limit) {
      if (after < floor() || after > books.seq) return null;
      const rows = await read<ChangeRow>('changes', after, limit);
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
    async held(now, cursor, limit) {
      const rows = await read<HeldRow>('heldPage', cursor?.expiresAt ?? -1, cursor?.n ?? 0, limit);
      const last = rows.at(-1);
      return {
        seq: books.seq,
        entries: rows.map((row) => pendingOf(row, now)),
        cursor: last === undefined || rows.length < limit ? null : { expiresAt: last.expires_at, n: last.n },
      };
    },
  };
  return ledger;
}
