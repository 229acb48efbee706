import { LRUCache } from 'lru-cache';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { describeError, isSallyportError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { Outbox } from '../outbox/outbox.ts';
import type { LessonFacts, LessonResult } from '../teacher/teacher.ts';
import type { PendingView } from '../pending-view.ts';
import { createQuiets, QUIET_BUDGET_MS } from './quiets.ts';
import type { Quiet, QuietLinks } from './quiets.ts';
import type { SessionListener, SessionOutcome, WatchedSession } from '../watcher/session-events.ts';

/** What the keeper tells the proxies. */
export interface SessionLinks extends QuietLinks {
  /** The service has answered a solicited session of the device: from now on the site's session gap counts. */
  gap(device: DeviceId): void;
  /** Resolves once every linked proxy answers by what is on disk now, or after a while. */
  told(): Promise<unknown>;
}

/** What of sessions is counted. */
export interface SessionMetrics {
  session(outcome: SessionOutcome): void;
  taught(result: LessonResult): void;
}

export interface SessionsOptions {
  outbox: Outbox;
  pending: Pick<PendingView, 'generation' | 'due'>;
  links: SessionLinks;
  clock: Clock;
  log: Log;
  /** Fruitless sessions after which a message ends as dead; 0 = never. */
  deadAfterSessions: number;
  /** Default: nothing is counted. */
  metrics?: SessionMetrics;
  /** Default {@link QUIET_BUDGET_MS}. */
  quietBudgetMs?: Milliseconds;
}

export interface SessionChange {
  session: WatchedSession;
  phase: 'began' | 'ended';
  outcome: SessionOutcome | null;
}

/** Keeps what sessions mean for what is pending: quiet, the session gap, clearing, dead letters, history. */
export interface Sessions extends Omit<SessionListener, 'warn'> {
  /** A phone was taught, or could not be: noted in the device's history and counted. */
  taught(device: DeviceId, result: LessonResult, facts: LessonFacts): void;
  /** The newest session running with the device; null = none known. */
  session(device: DeviceId): WatchedSession | null;
  /** Sessions running, those of unknown devices included. */
  count(): number;
  /** Marks the sessions that run now. Returns how many of them still run: phones that begin meanwhile don't matter. */
  lasting(): () => number;
  /** The wall time until which polls of the device are kept at 200 because of a session; null = they aren't. */
  quietUntil(device: DeviceId): Milliseconds | null;
  /** The wall time at which the service last began to answer a solicited session of the device; null = not in this run. */
  calledAt(device: DeviceId): Milliseconds | null;
  /** All that are quiet now, to be told again to a proxy that reconnects. */
  quiets(): Quiet[];
  /** Calls back when a session begins or ends. Returns the way to stop. */
  onChange(listener: (change: SessionChange) => void): () => void;
  /** Resolves once the outbox has settled everything that was asked of it. */
  close(): Promise<void>;
}

/** Devices whose notes are counted. */
const NOTED_DEVICES = 100_000;

/** Notes of one device within a minute; further ones are left out, as history has room for so many only. */
export const NOTES_PER_DEVICE_PER_MINUTE = 20;

/** Devices of which the last call is remembered, for people to be told of the session gap. */
const CALLED_DEVICES = 100_000;

const MINUTE_MS = 60_000;

/** Outcomes of a session that the service answered, was neither busy, overloaded nor cut, and did not complete. */
const FRUITLESS: ReadonlySet<SessionOutcome> = new Set(['refused', 'phone-clean-up', 'service-error']);

/** What a lesson is called in a device's history. */
export const LESSON_NOTES: Readonly<Record<LessonResult, string>> = {
  taught: 'taught',
  refused: 'teach-refused',
  busy: 'teach-busy',
  cut: 'teach-cut',
};

interface Running {
  readonly session: WatchedSession;
  /** The newest generation held when it began. */
  readonly generation: number;
  /** The generation of the contact-me that was offered when it began. */
  readonly due: number;
  answered: boolean;
}

export function createSessions(options: SessionsOptions): Sessions {
  const { outbox, pending, links, clock, log, deadAfterSessions, metrics } = options;
  const quiets = createQuiets({ links, pending, clock, budgetMs: options.quietBudgetMs ?? QUIET_BUDGET_MS });
  const called = new LRUCache<DeviceId, Milliseconds>({ max: CALLED_DEVICES });
  const running = new Map<string, Running>();
  const byDevice = new Map<DeviceId, Set<Running>>();
  const listeners = new Set<(change: SessionChange) => void>();
  const asked = new Set<Promise<void>>();
  const mayNote = createNoteGate(clock);

  /** Asks the outbox; where it refuses, the mark stays and the phone is offered the work again. */
  const ask = (what: string, device: DeviceId, change: Promise<unknown>): Promise<void> => {
    const settled = change.then(
      () => undefined,
      (error: unknown) => {
        const code = isSallyportError(error) ? error.code : null;
        log.error('the outbox refused what a session came to; the message stays held', {
          what,
          device,
          code,
          error: describeError(error),
        });
      },
    );
    asked.add(settled);
    void settled.finally(() => asked.delete(settled));
    return settled;
  };

  /** @returns what ended the work, to be waited for; null = it stays held */
  const settle = (
    { session, generation, due }: Running,
    device: DeviceId,
    outcome: SessionOutcome,
  ): Promise<void> | null => {
    if (session.reason !== 'solicited') return null;
    // What the courier's sessions come to, it has written down itself.
    if (session.courier === true) return outcome === 'completed' ? Promise.resolve() : null;
    if (outcome === 'completed') {
      if (due === 0) return null;
      const end = { state: 'cleared', by: 'session', generation: due, kind: 'contact-me' } as const;
      return ask('clear', device, outbox.clear(device, end));
    }
    if (session.answered && generation > 0 && FRUITLESS.has(outcome)) {
      void ask('fruitless', device, outbox.fruitless(device, generation, deadAfterSessions, 'contact-me'));
    }
    return null;
  };

  const note = (session: WatchedSession, device: DeviceId, outcome: SessionOutcome): void => {
    if (!mayNote(device)) return;
    const { reason, origin, startedAt, answered, action } = session;
    outbox.note(
      device,
      'session',
      {
        reason,
        outcome,
        answered,
        ...(session.courier === true ? { courier: true } : {}),
        action,
        duration_ms: Math.max(0, Math.round(clock.wall() - startedAt)),
        address: origin.address,
        door: origin.door,
        proxy: origin.proxy,
      },
      { session: true },
    );
  };

  const tell = (change: SessionChange): void => {
    for (const listener of [...listeners]) listener(change);
  };

  return {
    began(session) {
      const { id, device } = session;
      const entry = {
        session,
        generation: device === null ? 0 : pending.generation(device),
        due: device === null ? 0 : pending.due(device),
        answered: false,
      };
      running.set(id, entry);
      if (device !== null) {
        const sessions = byDevice.get(device);
        if (sessions === undefined) byDevice.set(device, new Set([entry]));
        else sessions.add(entry);
      }
      log.debug('a session began', {
        session: id,
        device,
        reason: session.reason,
        generation: entry.generation,
        address: session.origin.address,
      });
      tell({ session, phase: 'began', outcome: null });
    },
    answered(session, action) {
      const entry = running.get(session.id);
      const { device } = session;
      if (entry === undefined || device === null || session.reason !== 'solicited') return;
      if (!entry.answered) {
        links.gap(device);
        called.set(device, clock.wall());
      }
      entry.answered = true;
      if (action !== null && action !== 'CleanUp') quiets.hold(session.id, device, entry.generation);
    },
    ended(session, outcome) {
      const entry = running.get(session.id);
      if (entry === undefined) return;
      const { id, device } = session;
      running.delete(id);
      metrics?.session(outcome);
      if (device !== null) {
        const sessions = byDevice.get(device);
        sessions?.delete(entry);
        if (sessions?.size === 0) byDevice.delete(device);
        const ended = settle(entry, device, outcome);
        // A proxy that heard of the session's end before that of its work would call the phone once more.
        if (ended === null) quiets.release(id, device);
        else void ended.then(links.told).finally(() => quiets.release(id, device));
        note(session, device, outcome);
      }
      const { generation } = entry;
      log.debug('a session ended', { session: id, device, reason: session.reason, generation, outcome });
      tell({ session, phase: 'ended', outcome });
    },
    taught(device, result, facts) {
      metrics?.taught(result);
      log.info('teaching ended', { device, result, ...facts });
      if (mayNote(device)) outbox.note(device, LESSON_NOTES[result], facts);
    },
    session(device) {
      let newest: WatchedSession | null = null;
      for (const entry of byDevice.get(device) ?? []) newest = entry.session;
      return newest;
    },
    count: () => running.size,
    lasting() {
      const marked = new Set(running.keys());
      return () => {
        for (const id of marked) if (!running.has(id)) marked.delete(id);
        return marked.size;
      };
    },
    quietUntil: quiets.until,
    calledAt: (device) => called.get(device) ?? null,
    quiets: quiets.all,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      while (asked.size > 0) await Promise.all(asked);
    },
  };
}

/** Whether a note may be taken: of one device only so many within a minute, since anybody can make it begin sessions. */
function createNoteGate(clock: Clock): (device: DeviceId) => boolean {
  // A Map keeps the order of insertion, and unlike a cache it takes no room before it is filled.
  const noted = new Map<DeviceId, { since: Milliseconds; notes: number }>();
  return (device) => {
    const now = clock.monotonic();
    const minute = noted.get(device);
    if (minute === undefined || now - minute.since >= MINUTE_MS) {
      noted.delete(device);
      noted.set(device, { since: now, notes: 1 });
      const [oldest] = noted.keys();
      if (noted.size > NOTED_DEVICES && oldest !== undefined) noted.delete(oldest);
      return true;
    }
    minute.notes += 1;
    return minute.notes <= NOTES_PER_DEVICE_PER_MINUTE;
  };
}
