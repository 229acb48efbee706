import type { DeviceId } from '../../shared/device-id.ts';
import { SallyportError } from '../../shared/errors.ts';
import { compareRanks, rankOf } from '../device-order.ts';
import { DROP_PER_END, EXPIRE_STEP, FORGET_PER_PUSH, HOLDING, SCAN_STEP } from './ledger.ts';
import type { EndRequest, Ledger, Now, PushRequest } from './ledger.ts';
import { ENDED_MEMORY_MS, KEY_MEMORY_MS } from './outbox.ts';
import type {
  DeviceQuery,
  Change,
  DeviceRecord,
  EndState,
  HistoryEntry,
  Incarnation,
  Message,
  MessageId,
  OutboxCounts,
  OutboxLimits,
  PendingEntry,
  Sequence,
} from './outbox.ts';
import { full, keyReused, notDead, unknownMessage } from './refusals.ts';
import { createModelCampaigns } from './model-campaigns.ts';
import { deviceMatches } from './device-search.ts';

/** A message, with its times in store time. */
interface Entry extends Omit<Message, 'dueIn' | 'expiresIn' | 'awaitedFor' | 'parked'> {
  /** Grows with each acceptance. */
  n: number;
  content: string | null;
  bytes: number;
  ttl: number;
  dueAt: number;
  expiresAt: number;
  awaitedUntil: number | null;
  /** Of a parked message: when it would be due. */
  parkedDue: number | null;
  /** Once ended: when its key is forgotten. */
  forgetAt: number;
}

/** A ledger in memory, written to be read: other engines are compared with it. */
export interface ModelLedger extends Ledger {
  readonly incarnation: Incarnation;
  readonly sequence: Sequence;
}

export function createModelLedger(limits: OutboxLimits): ModelLedger {
  const entries = new Map<MessageId, Entry>();
  const byDevice = new Map<DeviceId, Entry[]>();
  const devices = new Map<DeviceId, DeviceRecord>();
  const history: HistoryEntry[] = [];
  const ended: Record<EndState, number> = { cleared: 0, superseded: 0, expired: 0, cancelled: 0, dead: 0 };
  let incarnation = '';
  let sequence = 0;
  let accepted = 0;
  let heldBytes = 0;
  let pushedTo = 0;
  // The same entries once more, by state. Those that ended stand in the order of their ends, hence of forgetting.
  const held = new Set<Entry>();
  const endedWithKey = new Set<Entry>();
  const endedWithoutKey = new Set<Entry>();

  const of = (device: DeviceId): Entry[] => byDevice.get(device) ?? [];
  const isHeld = (entry: Entry): boolean => entry.state === 'held';
  const byGeneration = (a: Entry, b: Entry): number => a.generation - b.generation;
  const byExpiry = (a: Entry, b: Entry): number => a.expiresAt - b.expiresAt || a.n - b.n;
  const kept = (): number => endedWithKey.size + endedWithoutKey.size;
  const firstForgetting = (): number =>
    Math.min(
      ...[endedWithKey, endedWithoutKey].map((set) => set.values().next().value?.forgetAt ?? Infinity),
    );
  const keptHistory = (): HistoryEntry[] => history.filter((note) => note.seq > sequence - limits.history);

  function view(entry: Entry, now: Now): Message {
    const { id, device, kind, generation, state, key, campaign, actions, results, acceptedAt } = entry;
    const { endedAt, endedBy, awaitedUntil, parkedDue, failed } = entry;
    return {
      id,
      device,
      kind,
      generation,
      state,
      key,
      campaign,
      actions,
      results,
      awaitedFor: isHeld(entry) && awaitedUntil !== null ? Math.max(0, awaitedUntil - now.at) : null,
      parked: isHeld(entry) && parkedDue !== null,
      failed,
      acceptedAt,
      endedAt,
      endedBy,
      dueIn: isHeld(entry) ? Math.max(0, entry.dueAt - now.at) : 0,
      expiresIn: isHeld(entry) ? Math.max(0, entry.expiresAt - now.at) : 0,
      fruitlessSessions: entry.fruitlessSessions,
    };
  }

  function pending(entry: Entry, now: Now): PendingEntry {
    const { id, device, kind, generation, expiresIn } = view(entry, now);
    return { id, device, kind, generation, dueIn: entry.dueAt - now.at, expiresIn };
  }

  function record(
    now: Now,
    entry: Entry,
    event: HistoryEntry['event'],
    what: string,
    facts: HistoryEntry['facts'] = {},
  ): void {
    const { device, id, generation } = entry;
    history.push({ seq: ++sequence, at: now.wall, device, message: id, generation, event, what, facts });
  }

  function deviceOf(device: DeviceId): DeviceRecord {
    const found = devices.get(device) ?? { device, generation: 0, pending: 0, dead: 0, lastSession: null };
    devices.set(device, found);
    return found;
  }

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
    return [...devices.keys()]
      .filter((device) => cursor === undefined || device > cursor)
      .sort()
      .slice(0, SCAN_STEP)
      .map((device) => deviceView(deviceOf(device)));
  }

  function fits({ device, pending: count, dead }: DeviceRecord, { q, state }: DeviceQuery): boolean {
    if (q !== undefined && !deviceMatches(device, q)) return false;
    if (state === 'pending') return count > 0;
    return state === 'idle' ? count === 0 : state !== 'dead' || dead > 0;
  }

  function finish(
    now: Now,
    entry: Entry,
    state: EndState,
    by: string,
    { results, facts, failed = false }: Pick<EndRequest, 'results' | 'facts' | 'failed'> = {},
  ): Message {
    if (results !== undefined) entry.results = results;
    entry.state = state;
    entry.failed = state !== 'dead' && failed;
    entry.endedAt = now.wall;
    entry.endedBy = by;
    entry.forgetAt = now.at + (entry.key === null ? 0 : KEY_MEMORY_MS);
    if (state !== 'dead') entry.actions = null;
    held.delete(entry);
    heldBytes -= entry.bytes;
    (entry.key === null ? endedWithoutKey : endedWithKey).add(entry);
    ended[state]++;
    record(now, entry, state, by, facts);
    return view(entry, now);
  }

  const resultBytes = (entry: Entry): number => Buffer.byteLength(entry.results ?? '');

  /** Where there are too many bytes of results, those of the messages that ended first go. */
  function dropResults(): void {
    for (let i = 0; i < DROP_PER_END; i++) {
      const all = [...entries.values()].reduce((sum, entry) => sum + resultBytes(entry), 0);
      const oldest = [...endedWithKey, ...endedWithoutKey]
        .filter((entry) => resultBytes(entry) > 0)
        .sort((a, b) => a.forgetAt - b.forgetAt || a.n - b.n)[0];
      if (all <= limits.resultBytes || oldest === undefined) return;
      oldest.results = '';
    }
  }

  /** Refuses what would go past a limit once `leaving` have left. */
  function checkRoom(device: DeviceId, bytes: number, leaving: Entry[]): void {
    const leavingBytes = leaving.reduce((sum, entry) => sum + entry.bytes, 0);
    if (held.size - leaving.length >= limits.messages) throw full(device, limits, 'messages');
    if (of(device).filter(isHeld).length - leaving.length >= limits.perDevice) {
      throw full(device, limits, 'perDevice');
    }
    if (bytes > 0 && heldBytes - leavingBytes + bytes > limits.bytes) throw full(device, limits, 'bytes');
  }

  /** Forgets at most `most` ended messages: those past their memory, and the oldest of those beyond the limit. */
  function forget(now: Now, most: number): void {
    const over = kept() - limits.ended;
    if (over <= 0 && firstForgetting() + ENDED_MEMORY_MS > now.at) return;
    const oldest = [...endedWithKey, ...endedWithoutKey];
    oldest.sort((a, b) => a.forgetAt - b.forgetAt || a.n - b.n);
    oldest.slice(0, most).forEach((entry, i) => {
      const past = entry.forgetAt + ENDED_MEMORY_MS <= now.at;
      const surplus = i < over && entry.forgetAt <= now.at;
      if (!past && !surplus) return;
      entries.delete(entry.id);
      endedWithKey.delete(entry);
      endedWithoutKey.delete(entry);
      byDevice.set(
        entry.device,
        of(entry.device).filter((other) => other !== entry),
      );
    });
  }

  function push(now: Now, request: PushRequest) {
    const { device, key } = request;
    const known = of(device)
      .filter((entry) => key !== null && entry.key === key)
      .sort(byGeneration)
      .at(-1);
    if (known !== undefined && key !== null && (isHeld(known) || now.at < known.forgetAt)) {
      if (known.content !== request.content) throw keyReused(device, key, known.id);
      return { message: view(known, now), known: true };
    }

    const superseded = of(device).filter(
      (entry) =>
        isHeld(entry) && entry.kind === request.kind && (entry.kind === 'contact-me' || request.replace),
    );
    checkRoom(device, request.bytes, superseded);
    const firstPush = (devices.get(device)?.generation ?? 0) === 0;
    if (firstPush && pushedTo >= limits.devices) throw full(device, limits, 'devices');
    if (key !== null && kept() >= limits.ended && firstForgetting() > now.at)
      throw full(device, limits, 'ended');

    const entry: Entry = {
      n: ++accepted,
      id: request.id,
      device,
      kind: request.kind,
      generation: ++deviceOf(device).generation,
      state: 'held',
      key,
      content: request.content,
      campaign: request.campaign,
      actions: request.actions,
      results: null,
      awaitedUntil: null,
      parkedDue: request.parked ? now.at + request.delay : null,
      failed: false,
      bytes: request.bytes,
      acceptedAt: now.wall,
      endedAt: null,
      endedBy: null,
      ttl: request.ttl,
      dueAt: now.at + (request.parked ? request.ttl : request.delay),
      expiresAt: now.at + request.ttl,
      forgetAt: 0,
      fruitlessSessions: 0,
    };
    entries.set(entry.id, entry);
    held.add(entry);
    heldBytes += entry.bytes;
    if (firstPush) pushedTo++;
    byDevice.set(device, [...of(device), entry]);
    record(now, entry, 'accepted', entry.kind, entry.campaign === null ? {} : { campaign: entry.campaign });
    // The new one is held before the old ones end, so that no reader of changes sees the device without work.
    for (const old of superseded.sort(byGeneration)) finish(now, old, 'superseded', 'newer push');
    forget(now, FORGET_PER_PUSH);
    return { message: view(entry, now), known: false };
  }

  function find(id: MessageId): Entry {
    const entry = entries.get(id);
    if (entry === undefined) throw unknownMessage(id);
    return entry;
  }

  return {
    get incarnation() {
      return incarnation;
    },
    get sequence() {
      return sequence;
    },
    ...createModelCampaigns({
      entries: () => entries.values(),
      deferred: (now, entry: Entry, what) => record(now, entry, 'deferred', what),
      finish(now, some, by) {
        for (const entry of some) finish(now, entry, 'cancelled', by);
        dropResults();
      },
    }),
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
      const ended = of(device)
        .filter((entry) => isHeld(entry) && entry.generation <= generation)
        .filter((entry) => kind === undefined || entry.kind === kind)
        .sort(byGeneration)
        .map((entry) => finish(now, entry, state, by));
      dropResults();
      return ended;
    },
    end(now, id, { state, by, ...more }) {
      const entry = find(id);
      if (!isHeld(entry)) return view(entry, now);
      const ended = finish(now, entry, state, by, more);
      dropResults();
      return ended;
    },
    advance(now, id, { results, wait }) {
      const entry = find(id);
      if (!isHeld(entry)) return view(entry, now);
      entry.results = results;
      const moved = wait > 0 || entry.awaitedUntil !== null;
      if (moved) entry.dueAt = entry.parkedDue === null ? now.at + wait : entry.expiresAt;
      entry.awaitedUntil = wait > 0 ? now.at + wait : null;
      if (moved) record(now, entry, 'deferred', wait > 0 ? 'awaited' : 'due');
      return view(entry, now);
    },
    redrive(now, id) {
      const entry = find(id);
      if (entry.state !== 'dead') throw notDead(entry);
      const superseded = of(entry.device).filter(
        (other) => isHeld(other) && other.kind === 'contact-me' && entry.kind === 'contact-me',
      );
      checkRoom(entry.device, entry.bytes, superseded);
      ended.dead--;
      endedWithKey.delete(entry);
      endedWithoutKey.delete(entry);
      held.add(entry);
      heldBytes += entry.bytes;
      entry.state = 'held';
      entry.generation = ++deviceOf(entry.device).generation;
      entry.endedAt = null;
      entry.endedBy = null;
      entry.dueAt = now.at;
      entry.expiresAt = now.at + entry.ttl;
      entry.fruitlessSessions = 0;
      entry.awaitedUntil = null;
      entry.parkedDue = null;
      record(now, entry, 'redriven', entry.kind);
      for (const old of superseded) finish(now, old, 'superseded', 'newer push');
      return view(entry, now);
    },
    fruitless(now, device, generation, limit, kind) {
      const counted = of(device)
        .filter((entry) => isHeld(entry) && entry.generation <= generation && entry.dueAt <= now.at)
        .filter((entry) => kind === undefined || entry.kind === kind)
        .sort(byGeneration);
      for (const entry of counted) entry.fruitlessSessions++;
      const dead = counted
        .filter((entry) => limit > 0 && entry.fruitlessSessions >= limit)
        .map((entry) => finish(now, entry, 'dead', 'fruitless sessions'));
      dropResults();
      return dead;
    },
    expire(now) {
      const past = [...held]
        .filter((entry) => entry.expiresAt <= now.at)
        .sort(byExpiry)
        .slice(0, EXPIRE_STEP)
        .map((entry) => finish(now, entry, 'expired', 'time'));
      dropResults();
      forget(now, EXPIRE_STEP);
      return past;
    },
    renew(_now, fresh) {
      incarnation = fresh;
      return fresh;
    },
    note(now, device, what, facts, session) {
      if (!devices.has(device) && devices.size - pushedTo >= limits.strangers) return;
      const found = deviceOf(device);
      if (session) {
        const outcome = typeof facts['outcome'] === 'string' ? facts['outcome'] : what;
        found.lastSession = { at: now.wall, outcome };
      }
      const { generation } = found;
      history.push({
        seq: ++sequence,
        at: now.wall,
        device,
        message: null,
        generation,
        event: 'note',
        what,
        facts,
      });
    },
    touch: () => undefined,

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
    counts(): OutboxCounts {
      return { devices: devices.size, held: held.size, heldBytes, accepted, ended: { ...ended } };
    },
    changes(now, after, limit) {
      if (after < sequence - limits.history || after > sequence) return null;
      const notes = keptHistory()
        .filter((note) => note.seq > after)
        .slice(0, limit);
      const changes = notes.flatMap((note): Change[] => {
        const { seq, event, message: id, device, generation } = note;
        if (event === 'note' || id === null) return [];
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
        seq: sequence,
        entries: page.map((entry) => pending(entry, now)),
        cursor: last === undefined || page.length < limit ? null : { expiresAt: last.expiresAt, n: last.n },
      };
    },
  };
}
