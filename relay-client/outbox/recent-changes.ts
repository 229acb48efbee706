import type { Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { Change, MessageId, MessageKind, Sequence } from './outbox.ts';

/** A change as it was recorded, its times those of the store. */
export type RecordedChange =
  | ({ op: 'hold'; seq: Sequence } & RecordedHold)
  | { op: 'end'; seq: Sequence; id: MessageId; device: DeviceId; generation: number };

interface RecordedHold {
  id: MessageId;
  device: DeviceId;
  kind: MessageKind;
  generation: number;
  dueAt: Milliseconds;
  expiresAt: Milliseconds;
}

/** A change as it is kept: all holds of a message's one generation share what is known of it. */
interface Kept {
  seq: Sequence;
  message: (RecordedHold & { held: boolean }) | Extract<RecordedChange, { op: 'end' }>;
}

/** Changes kept at least; twice as many at most. */
const KEPT = 4_000;

/**
 * The newest changes, in memory. Whoever follows an outbox reads each commit as soon as it is there; asked of the store
 * that would wait for the next commit's sync, and cost as much as the commit itself.
 */
export interface RecentChanges {
  /** Takes what a commit recorded, up to its sequence. */
  add(upTo: Sequence, changes: readonly RecordedChange[]): void;
  /** There were changes up to this sequence that nobody told: what was before it has to be asked of the store. */
  skip(upTo: Sequence): void;
  /**
   * What the store would tell of the changes after `after`: holds as they are now, none that has ended since.
   *
   * @param now - the store's sequence, and its time
   * @returns null where the store has to be asked
   */
  read(
    after: Sequence,
    limit: number,
    now: { seq: Sequence; at: Milliseconds },
  ): { changes: Change[]; seq: Sequence } | null;
}

/**
 * @param from - the store's sequence at its opening
 * @param history - how many entries back the store itself could tell
 */
export function createRecentChanges(from: Sequence, history: number): RecentChanges {
  let kept: Kept[] = [];
  const held = new Map<MessageId, RecordedHold & { held: boolean }>();
  /** Nothing after it is missing. */
  let since = from;
  let reached = from;

  function keep(change: RecordedChange): void {
    const { seq, id } = change;
    const known = held.get(id);
    if (change.op === 'end') {
      if (known !== undefined && known.generation <= change.generation) known.held = false;
      kept.push({ seq, message: change });
      return;
    }
    const { kind, device, generation, dueAt, expiresAt } = change;
    if (known?.generation === generation) {
      known.dueAt = dueAt;
      known.expiresAt = expiresAt;
      kept.push({ seq, message: known });
      return;
    }
    const message = { id, device, kind, generation, dueAt, expiresAt, held: true };
    held.set(id, message);
    kept.push({ seq, message });
  }

  function forget(): void {
    const gone = kept.slice(0, -KEPT);
    kept = kept.slice(-KEPT);
    since = gone.at(-1)?.seq ?? since;
    for (const { message } of gone) if (held.get(message.id) === message) held.delete(message.id);
  }

  /** Where the first change after `after` is kept. */
  function placeAfter(after: Sequence): number {
    let [low, high] = [0, kept.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((kept[middle]?.seq ?? 0) > after) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  return {
    add(upTo, changes) {
      for (const change of changes) keep(change);
      reached = upTo;
      if (kept.length > 2 * KEPT) forget();
    },
    skip(upTo) {
      kept = [];
      held.clear();
      since = reached = upTo;
    },
    read(after, limit, { seq: newest, at }) {
      if (reached !== newest || after < since || after < reached - history || after > reached) return null;
      const first = placeAfter(after);
      const part = kept.slice(first, first + limit);
      const whole = first + part.length === kept.length;
      return {
        changes: part.flatMap(({ seq, message }) => toChange(seq, message, at)),
        seq: whole ? reached : (part.at(-1)?.seq ?? after),
      };
    },
  };
}

function toChange(seq: Sequence, message: Kept['message'], at: Milliseconds): Change[] {
  const { id, device, generation } = message;
  if ('op' in message) return [{ op: 'end', seq, id, device, generation }];
  if (!message.held) return [];
  const { kind, dueAt, expiresAt } = message;
  const [dueIn, expiresIn] = [dueAt - at, Math.max(0, expiresAt - at)];
  return [{ op: 'hold', seq, id, device, kind, generation, dueIn, expiresIn }];
}
