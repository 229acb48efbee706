import { isSallyportError } from '../../shared/errors.ts';
import type { Outbox } from './outbox.ts';

/** Codes by which an outbox refuses a push that was all right: it has no room, or no time. */
export const REFUSALS = ['OUTBOX_FULL', 'OUTBOX_BUSY', 'OUTBOX_STORAGE', 'OUTBOX_UNAVAILABLE'] as const;
export type RefusalCode = (typeof REFUSALS)[number];

/** The same outbox, which tells of each push that it refuses for want of room or time, whoever pushed. */
export function countRefusals(outbox: Outbox, refused: (code: RefusalCode) => void): Outbox {
  const tell = (error: unknown): void => {
    const code = REFUSALS.find((each) => isSallyportError(error, each));
    if (code !== undefined) refused(code);
  };
  const counted: Pick<Outbox, 'push' | 'pushMany'> = {
    async push(push) {
      try {
        return await outbox.push(push);
      } catch (error) {
        tell(error);
        throw error;
      }
    },
    async pushMany(pushes) {
      const results = await outbox.pushMany(pushes);
      results.forEach(tell);
      return results;
    },
  };
  // What changes while it runs, such as its incarnation, is still read from the outbox itself.
  return Object.assign(Object.create(outbox) as Outbox, counted);
}
