import type { Clock, Milliseconds } from '../shared/clock.ts';
import type { DeviceId } from '../shared/device-id.ts';
import { describeError, isSallyportError } from '../shared/errors.ts';
import type { Log } from '../shared/log.ts';
import type { Change, Outbox, PendingEntry, Sequence } from './outbox/outbox.ts';

/** What is held for a device, in memory. It may lag behind the outbox by a moment, never run ahead of it. */
export interface PendingView {
  /** The newest generation held for the device, of any kind; 0 = nothing is held. */
  generation(device: DeviceId): number;
  /** The generation of the contact-me that is held and may be offered now; 0 = none. */
  due(device: DeviceId): number;
  /** Whether actions (`dls`) are held for the device, due or not. */
  holdsActions(device: DeviceId): boolean;
  /** Whether actions are held that may be delivered now. */
  actionsDue(device: DeviceId): boolean;
  /** For how long the device could have been offered the oldest of what is held; null = nothing is due. */
  dueFor(device: DeviceId): Milliseconds | null;
  /** Devices for which something is held. */
  count(): number;
}

export interface LivePendingView extends PendingView {
  /** Resolves once the view holds what the outbox held at its making; rejects where that can't be read. */
  readonly ready: Promise<void>;
  close(): void;
}

interface Held {
  readonly generation: number;
  readonly kind: PendingEntry['kind'];
  /** When it may be offered, by the monotonic clock. */
  readonly dueAt: number;
  /** The next older one of the device. */
  next: Held | null;
}

/** Entries read at a time. */
const STEP = 1_000;

/** How long to wait after a failed reading. */
const RETRY_MS = 1_000;

/** Follows an outbox: a snapshot, then its changes after each commit. */
export function createPendingView(options: {
  outbox: Outbox;
  clock: Clock;
  log: Log;
  /** Told of each device for which something is held anew. */
  onHeld?: (device: DeviceId) => void;
}): LivePendingView {
  const { outbox, clock, log, onHeld } = options;
  let held = new Map<DeviceId, Held>();
  let reached: Sequence | null = null;
  /** Incarnations that began since; what was read in one tells nothing of another. */
  let renewals = 0;
  let running = false;
  let again = false;
  let closed = false;

  const takeSnapshot = async (): Promise<void> => {
    const fresh = new Map<DeviceId, Held>();
    const began = renewals;
    let at: Sequence = outbox.sequence();
    for await (const { seq, entries } of outbox.snapshot(STEP)) {
      at = seq;
      for (const entry of entries) hold(fresh, entry, clock);
    }
    if (renewals !== began) return;
    held = fresh;
    reached = at;
  };

  const catchUp = async (): Promise<void> => {
    while (reached === null && !closed) await takeSnapshot();
    while (!closed && reached !== null && reached < outbox.sequence()) {
      const part = await outbox.changes(reached, STEP);
      if (part === null) {
        await takeSnapshot();
        continue;
      }
      // A new incarnation began meanwhile: what was read is of another past.
      if (reached === null) return catchUp();
      for (const change of part.changes) {
        apply(held, change, clock);
        const { op, id, device, generation } = change;
        if (op === 'hold') onHeld?.(device);
        log.debug(op === 'hold' ? 'message held' : 'message ended', { message: id, device, generation });
      }
      if (part.seq <= reached && part.changes.length === 0) return;
      reached = part.seq;
    }
  };

  /** One reading at a time; a commit meanwhile makes it read on. */
  const follow = async (): Promise<void> => {
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      do {
        again = false;
        await catchUp();
      } while (again && !closed);
    } finally {
      running = false;
    }
  };

  const followOn = (): void => {
    if (closed) return;
    follow().catch((error: unknown) => {
      if (closed || isSallyportError(error, 'CLOSED')) return;
      log.error('the outbox could not be read for what is pending; trying again', {
        error: describeError(error),
      });
      clock.after(RETRY_MS, followOn);
    });
  };

  /** The newest of a kind that is due at `now`. */
  const find = (device: DeviceId, kind: Held['kind'], now: number): Held | null => {
    for (let entry = held.get(device) ?? null; entry !== null; entry = entry.next) {
      if (entry.kind === kind && entry.dueAt <= now) return entry;
    }
    return null;
  };

  const stops = [
    outbox.onCommit(followOn),
    outbox.onRenewed(() => {
      reached = null;
      renewals++;
      followOn();
    }),
  ];
  const ready = follow();
  // Who doesn't wait for it learns of a failure by the next commit's reading.
  ready.catch(() => undefined);

  return {
    ready,
    generation: (device) => held.get(device)?.generation ?? 0,
    due: (device) => find(device, 'contact-me', clock.monotonic())?.generation ?? 0,
    holdsActions: (device) => find(device, 'dls', Infinity) !== null,
    actionsDue: (device) => find(device, 'dls', clock.monotonic()) !== null,
    dueFor(device) {
      const now = clock.monotonic();
      let longest: Milliseconds | null = null;
      for (let entry = held.get(device) ?? null; entry !== null; entry = entry.next) {
        if (entry.dueAt <= now) longest = Math.max(longest ?? 0, now - entry.dueAt);
      }
      return longest;
    },
    count: () => held.size,
    close() {
      closed = true;
      for (const stop of stops) stop();
    },
  };
}

function apply(held: Map<DeviceId, Held>, change: Change, clock: Clock): void {
  release(held, change.device, change.generation);
  if (change.op === 'hold') hold(held, change, clock);
}

/** Keeps a device's entries newest first. */
function hold(held: Map<DeviceId, Held>, entry: PendingEntry, clock: Clock): void {
  const dueAt = clock.monotonic() + entry.dueIn;
  const added: Held = { generation: entry.generation, kind: entry.kind, dueAt, next: null };
  let newer: Held | null = null;
  let older = held.get(entry.device) ?? null;
  while (older !== null && older.generation > added.generation) {
    newer = older;
    older = older.next;
  }
  added.next = older;
  if (newer === null) held.set(entry.device, added);
  else newer.next = added;
}

function release(held: Map<DeviceId, Held>, device: DeviceId, generation: number): void {
  const first = held.get(device);
  if (first === undefined) return;
  if (first.generation === generation) {
    if (first.next === null) held.delete(device);
    else held.set(device, first.next);
    return;
  }
  for (let entry = first; entry.next !== null; entry = entry.next) {
    if (entry.next.generation !== generation) continue;
    entry.next = entry.next.next;
    return;
  }
}
