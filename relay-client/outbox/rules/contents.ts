import { SallyportError } from '../../../shared/errors.ts';
import type { Now, PushRequest } from '../ledger.ts';
import type { Message } from '../outbox.ts';
import type { SealedUse, Sealer } from '../sealer.ts';
import { messageOf } from './rows.ts';
import type { Contents, MessageRow } from './rows.ts';

/** What a message carries besides its state: sealed on its way into a row, and opened on its way back. */
export interface ContentsOfRows {
  /** What a fresh row holds of a push. */
  sealed(request: PushRequest): Pick<MessageRow, 'actions' | 'content'>;
  /** Whether a push under a known key has the content that the row was accepted with. */
  isSame(row: MessageRow, request: PushRequest): boolean;
  /** Puts results into the row in memory, and gives by how many bytes there are more now. */
  putResults(row: MessageRow, results: string): number;
  /** @throws SallyportError OUTBOX_KEY_MISSING, OUTBOX_DAMAGED */
  open(row: MessageRow): Contents;
  /** Null where it cannot be opened: that must keep neither a message from ending, nor others from being looked at. */
  readable(row: MessageRow): Contents;
  /** @throws SallyportError OUTBOX_KEY_MISSING, OUTBOX_DAMAGED */
  shown(row: MessageRow, now: Now): Message;
}

export function createContents(sealer: Sealer): ContentsOfRows {
  const opened = (use: SealedUse, { id, [use]: sealed }: MessageRow): string | null =>
    sealed === null || sealed === '' ? sealed : sealer.open(use, id, sealed);
  const open = (row: MessageRow): Contents => ({
    actions: opened('actions', row),
    results: opened('results', row),
  });
  return {
    sealed({ id, actions, content }) {
      return {
        actions: actions === null ? null : sealer.seal('actions', id, actions),
        content: actions !== null && content !== null ? sealer.digest(content) : content,
      };
    },
    isSame({ content: stored }, { content }) {
      return stored === null || content === null ? stored === content : sealer.matches(stored, content);
    },
    putResults(row, results) {
      const bytes = Buffer.byteLength(results);
      const more = bytes - row.result_bytes;
      row.results = results === '' ? '' : sealer.seal('results', row.id, results);
      row.result_bytes = bytes;
      return more;
    },
    open,
    readable(row) {
      try {
        return open(row);
      } catch (error) {
        if (!(error instanceof SallyportError)) throw error;
        return { actions: null, results: row.results === null ? null : '' };
      }
    },
    shown: (row, now) => messageOf(row, now, open(row)),
  };
}
