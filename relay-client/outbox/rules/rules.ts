import type { OutboxLimits } from '../outbox.ts';
import type { Sealer } from '../sealer.ts';
import { createBookkeeping } from './bookkeeping.ts';
import type { Bookkeeping, Writer } from './bookkeeping.ts';
import { createCampaigning } from './campaigns.ts';
import { createContents } from './contents.ts';
import { createEnding } from './ending.ts';
import { createPushing } from './pushing.ts';
import type { Pushing } from './pushing.ts';
import { createLooking } from './reading.ts';
import { createRoom } from './room.ts';
import type { Room } from './room.ts';
import type { Books } from './rows.ts';
import type { LedgerWork } from './work.ts';

/** What every ledger in a database does, whichever database it is. */
export interface LedgerRules {
  calls: LedgerWork;
  accept: Pushing['accept'];
  keeping: Bookkeeping;
  lookAgain: Room['lookAgain'];
}

/**
 * @param found - what the store's row says; the rules keep it
 * @param sealer - seals actions and results on their way to the store, and opens them on their way back
 */
export function createLedgerRules(
  writer: Writer,
  limits: OutboxLimits,
  sealer: Sealer,
  found: Books,
): LedgerRules {
  const contents = createContents(sealer);
  const keeping = createBookkeeping(writer, limits, contents, found);
  const room = createRoom(writer, limits, keeping);
  const { accept, ...pushing } = createPushing(writer, limits, contents, keeping, room);
  const { finishAll, ...ending } = createEnding(writer, contents, keeping, room);
  const calls: LedgerWork = {
    ...pushing,
    ...ending,
    ...createCampaigning(writer, keeping, { finishAll }),
    ...createLooking(contents, keeping),
    *renew(now, incarnation) {
      keeping.books.incarnation = incarnation;
      keeping.changed(now);
      return incarnation;
    },
    *touch(now) {
      const { store_time: time, wall_ahead: ahead } = keeping.books;
      if (now.at > time || now.ahead > ahead) keeping.changed(now);
    },
  };
  return { calls, accept, keeping, lookAgain: room.lookAgain };
}
