import type { Now, PushRequest, Refusal } from './ledger.ts';
import type { Accepted, MessageKind } from './outbox.ts';
import type { RecordedChange } from './recent-changes.ts';
import { freshMessage } from './rules/rows.ts';

/*
 * What crosses between the threads for each of many messages, as values in a row. An object is copied together with the
 * names of all its fields; at thousands of pushes a second that is a third of the time that passing them takes.
 */

type Value = string | number | boolean | null;

/** Values of all requests, one after another. */
export type PackedRequests = readonly Value[];
/** Values of all changes, one after another. */
export type PackedChanges = readonly Value[];
/** The generation of each message that is held now; of any other push what the ledger said. */
export type PackedAccepted = readonly (number | Accepted | Refusal)[];

const REQUEST_VALUES = 12;
const CHANGE_VALUES = 7;

export function packRequests(requests: readonly PushRequest[]): PackedRequests {
  const packed: Value[] = [];
  for (const {
    id,
    device,
    kind,
    ttl,
    delay,
    key,
    content,
    replace,
    actions,
    bytes,
    campaign,
    parked,
  } of requests)
    packed.push(id, device, kind, ttl, delay, key, content, replace, actions, bytes, campaign, parked);
  return packed;
}

/** How many requests were packed. */
export const countRequests = (packed: PackedRequests): number => packed.length / REQUEST_VALUES;

export function unpackRequests(packed: PackedRequests): PushRequest[] {
  const requests: PushRequest[] = [];
  for (let at = 0; at < packed.length; at += REQUEST_VALUES) {
    requests.push({
      id: packed[at] as string,
      device: packed[at + 1] as PushRequest['device'],
      kind: packed[at + 2] as MessageKind,
      ttl: packed[at + 3] as number,
      delay: packed[at + 4] as number,
      key: packed[at + 5] as string | null,
      content: packed[at + 6] as string | null,
      replace: packed[at + 7] as boolean,
      actions: packed[at + 8] as string | null,
      bytes: packed[at + 9] as number,
      campaign: packed[at + 10] as string | null,
      parked: packed[at + 11] as boolean,
    });
  }
  return requests;
}

export function packAccepted(results: readonly (Accepted | Refusal)[]): PackedAccepted {
  return results.map((result) =>
    'message' in result && 'known' in result && !result.known ? result.message.generation : result,
  );
}

/** @param requests - the pushes that were made, at `now` */
export function unpackAccepted(
  packed: PackedAccepted,
  requests: readonly PushRequest[],
  now: Now,
): (Accepted | Refusal)[] {
  return packed.map((result, i) =>
    typeof result === 'number'
      ? { message: freshMessage(now, requests[i] as PushRequest, result), known: false }
      : result,
  );
}

export function packChanges(changes: readonly RecordedChange[]): PackedChanges {
  const packed: Value[] = [];
  for (const change of changes) {
    const { seq, id, device, generation } = change;
    if (change.op === 'end') packed.push(seq, id, device, generation, null, 0, 0);
    else packed.push(seq, id, device, generation, change.kind, change.dueAt, change.expiresAt);
  }
  return packed;
}

export function unpackChanges(packed: PackedChanges): RecordedChange[] {
  const changes: RecordedChange[] = [];
  for (let at = 0; at < packed.length; at += CHANGE_VALUES) {
    const seq = packed[at] as number;
    const id = packed[at + 1] as string;
    const device = packed[at + 2] as RecordedChange['device'];
    const generation = packed[at + 3] as number;
    const kind = packed[at + 4] as MessageKind | null;
    if (kind === null) changes.push({ op: 'end', seq, id, device, generation });
    else {
      const [dueAt, expiresAt] = [packed[at + 5] as number, packed[at + 6] as number];
      changes.push({ op: 'hold', seq, id, device, kind, generation, dueAt, expiresAt });
    }
  }
  return changes;
}
