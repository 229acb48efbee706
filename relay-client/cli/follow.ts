import type { DeskClient } from '../api/client.ts';
import { SallyportError } from '../../shared/errors.ts';
import type { DeskEvent } from '../api/event-stream.ts';

/** What a followed message came to; null = not ended in time. */
export type Ended = { state: string; by: string | null } | null;

const END_STATES = new Set(['cleared', 'superseded', 'expired', 'cancelled', 'dead']);

/**
 * Pushes while events are followed already, then waits until every pushed message has ended.
 *
 * @param push - resolves to the ids to follow
 * @param ended - called once for each message as it ends
 * @returns ids that had not ended when `signal` aborted
 * @throws SallyportError API_UNREACHABLE when it aborted before anything was pushed
 */
export async function followToEnd(
  client: DeskClient,
  signal: AbortSignal,
  push: () => Promise<string[]>,
  ended: (id: string, how: NonNullable<Ended>) => void,
): Promise<string[]> {
  let open: Set<string> | null = null;
  let incarnation = '';
  const close = (id: string | null, how: NonNullable<Ended>): void => {
    if (id !== null && open?.delete(id) === true) ended(id, how);
  };
  const lookAgain = async (): Promise<void> => {
    for (const id of open ?? []) {
      const message = await client.message(id);
      if (END_STATES.has(message.state)) close(id, { state: message.state, by: message.ended_by });
    }
  };
  // Events come in order from the greeting on, also over a lost stream, so nothing that happens to the pushed messages is missed.
  for await (const event of client.events({ signal })) {
    if (event.type === 'hello') {
      if (open === null) open = new Set(await push());
      else if (event.incarnation !== incarnation) await lookAgain();
      incarnation = event.incarnation;
    } else if (event.type === 'reset') await lookAgain();
    else if (event.type === 'history' && isEnd(event))
      close(event.entry.message, { state: event.entry.event, by: event.entry.what });
    if (open !== null && open.size === 0) return [];
  }
  if (open !== null) return [...open];
  throw new SallyportError(
    'API_UNREACHABLE',
    "The relay's events did not begin in time, so nothing was pushed; give it more time",
  );
}

function isEnd(event: Extract<DeskEvent, { type: 'history' }>): boolean {
  return END_STATES.has(event.entry.event);
}
