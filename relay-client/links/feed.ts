import { isSallyportError } from '../../shared/errors.ts';
import type { Clock } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { ENTRIES_PER_FRAME } from '../../shared/protocol.ts';
import type { HeldChange, HeldEntry, RelayFrame } from '../../shared/protocol.ts';
import type { Change, Outbox, PendingEntry } from '../outbox/outbox.ts';

/** Bytes that may wait on the control lane before the next part is read from the outbox. */
const FEED_BACKLOG_BYTES = 1_048_576;
/**
 * Entries in one frame. At some 150 bytes each its text stays under 128 kB: V8 puts what is larger among its large objects,
 * and only a full collection frees those at the proxy again.
 */
const PART = ENTRIES_PER_FRAME / 4;
/** Devices in one frame, at some 20 bytes each. */
const KNOWN_PART = ENTRIES_PER_FRAME / 2;

/** How long to wait for an outbox whose server is away before it is read again. */
const RETRY_MS = 1_000;

/** Keeps one proxy's copy of the outbox up to date. */
export interface Feed {
  /** Resolves after `stop`; rejects when the outbox fails. */
  readonly ended: Promise<void>;
  /** The control lane has room again. */
  drained(): void;
  stop(): void;
}

export interface FeedOptions {
  outbox: Outbox;
  clock: Clock;
  /** What the proxy still holds. */
  holds: { incarnation: string; seq: number } | null;
  send: (frame: RelayFrame) => void;
  backlog: () => number;
  /** The proxy has been sent all that was there; from now on changes follow as they come. */
  onSynced: () => void;
}

export function createFeed(options: FeedOptions): Feed {
  const { outbox, send } = options;
  let stopped = false;
  let wake: () => void = () => undefined;
  const stopListening = outbox.onCommit(() => wake());

  const woken = (ready: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      wake = () => {
        if (ready() || stopped) resolve();
      };
      wake();
    });
  const room = (): Promise<void> => woken(() => options.backlog() < FEED_BACKLOG_BYTES);

  /** While the outbox is away the proxy's copy stays as it is, and the link with it. */
  async function patiently<T>(read: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await read();
      } catch (error) {
        if (stopped || !isSallyportError(error, 'OUTBOX_UNAVAILABLE', 'OUTBOX_BUSY')) throw error;
        await new Promise<void>((resolve) => options.clock.after(RETRY_MS, resolve));
      }
    }
  }

  /** Sends everything held; returns the sequence that it is as of. */
  async function snapshot(): Promise<number> {
    const { incarnation } = outbox;
    let first = true;
    let waiting: { seq: number; entries: PendingEntry[] } = { seq: outbox.sequence(), entries: [] };
    const sendWaiting = (last: boolean): void => {
      const { seq, entries } = waiting;
      send({ type: 'snapshot', incarnation, seq, first, last, entries: entries.map(toEntry) });
      first = false;
    };
    for await (const part of outbox.snapshot(PART)) {
      if (waiting.entries.length > 0) sendWaiting(false);
      waiting = part;
      await room();
      if (stopped) return waiting.seq;
    }
    sendWaiting(true);
    return waiting.seq;
  }

  async function changes(after: number): Promise<number> {
    const found = await patiently(() => outbox.changes(after, PART));
    if (found === null) return patiently(snapshot);
    send({ type: 'changes', seq: found.seq, changes: found.changes.map(toChange) });
    return found.seq;
  }

  /** Tells of all devices; between two pages goes what has changed, since polls are answered by it already. */
  async function known(upToDate: () => Promise<void>): Promise<void> {
    const { devices: total } = await patiently(() => outbox.counts());
    let last: DeviceId | '' = '';
    for (let page = KNOWN_PART; page === KNOWN_PART && !stopped;) {
      const devices: DeviceId[] = await patiently(() => outbox.deviceIds(last, KNOWN_PART));
      if (devices.length > 0) send({ type: 'known', devices, total });
      page = devices.length;
      last = devices.at(-1) ?? last;
      await upToDate();
      await room();
    }
  }

  async function run(): Promise<void> {
    const { holds } = options;
    let sent =
      holds === null || holds.incarnation !== outbox.incarnation ? await patiently(snapshot) : holds.seq;
    const upToDate = async (): Promise<void> => {
      while (sent < outbox.sequence() && !stopped) {
        sent = await changes(sent);
        await room();
      }
    };
    await upToDate();
    if (stopped) return;
    options.onSynced();
    await known(upToDate);
    while (!stopped) {
      await woken(() => outbox.sequence() > sent);
      await upToDate();
    }
  }

  return {
    ended: run().finally(stopListening),
    drained: () => wake(),
    stop() {
      stopped = true;
      stopListening();
      wake();
    },
  };
}

function toEntry({ id, device, kind, generation, dueIn, expiresIn }: PendingEntry): HeldEntry {
  return { id, device, kind, generation, dueIn, expiresIn };
}

function toChange(change: Change): HeldChange {
  return change.op === 'hold'
    ? { op: 'hold', ...toEntry(change) }
    : { op: 'end', id: change.id, device: change.device, generation: change.generation };
}
