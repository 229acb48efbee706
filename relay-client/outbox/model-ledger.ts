import type { DeviceId } from '../../shared/device-id.ts';
import { SallyportError } from '../../shared/errors.ts';
import { DROP_PER_END, EXPIRE_STEP, FORGET_PER_PUSH } from './ledger.ts';
import type { EndRequest, Ledger, Now, PushRequest } from './ledger.ts';
import { ENDED_MEMORY_MS, KEY_MEMORY_MS } from './outbox.ts';
import type {
  DeviceRecord,
  EndState,
  HistoryEntry,
  Incarnation,
  Message,
  MessageId,
  OutboxCounts,
  OutboxLimits,
  Sequence,
} from './outbox.ts';
import { createModelCampaigns } from './model-campaigns.ts';
import { byExpiry, byGeneration, isHeld, view } from './model-entries.ts';
import type { Entry } from './model-entries.ts';
import { createModelReading } from './model-reading.ts';
import { full, keyReused, notDead, unknownMessage } from './refusals.ts';

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
  const kept = (): number => endedWithKey.size + endedWithoutKey.size;
  const firstForgetting = (): number =>
    Math.min(
      ...[endedWithKey, endedWithoutKey].map((set) => set.values().next().value?.forgetAt ?? Infinity),
    );

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

  const counts = (): OutboxCounts => ({
    devices: devices.size,
    held: held.size,
    heldBytes,
    accepted,
    ended: { ...ended },
  });

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
      told: (now, { what, facts }) =>
        void history.push({
          seq: ++sequence,
          at: now.wall,
          device: null,
          message: null,
          generation: 0,
          event: 'campaign',
          what,
          facts,
        }),
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
    ...createModelReading({ entries, of, devices, held, history, limits, sequence: () => sequence, counts }),
  };
}
