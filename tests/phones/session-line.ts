/** One session at a time: the others wait their turn, and those that would do the same are shared. */
import type { ContactReason, Item } from './message.ts';
import type { SessionResult } from './session.ts';

type Waiting = {
  reason: ContactReason;
  extra: Item[];
  done: { resolve: (result: SessionResult) => void; reject: (error: Error) => void }[];
};

export type SessionLine = {
  readonly working: boolean;
  /** Puts a session in line without waiting for it. @throws Error above {@link MAX_WAITING_SESSIONS} */
  join(reason: ContactReason, extra?: Item[]): void;
  /** The same, and resolves with its result. */
  run(reason: ContactReason, extra?: Item[]): Promise<SessionResult>;
  /** Resolves once nothing is running or waiting. */
  idle(): Promise<void>;
  /** Rejects those still waiting; resolves when the running one has ended. */
  close(): Promise<void>;
};

/** Sessions waiting behind the running one; more is a mistake in the test. */
export const MAX_WAITING_SESSIONS = 16;

/**
 * @param perform - runs one session
 * @param settle - what follows it, before the next one; may put further sessions in line
 */
export function createSessionLine<Ran extends { result: SessionResult }>(
  who: string,
  perform: (reason: ContactReason, extra: Item[]) => Promise<Ran>,
  settle: (ran: Ran) => Promise<void>,
): SessionLine {
  const waiting: Waiting[] = [];
  let running: Promise<void> | undefined;
  let working = false;
  let closed = false;

  async function work(): Promise<void> {
    working = true;
    try {
      while (!closed) {
        const next = waiting.shift();
        if (!next) break;
        const ran = await perform(next.reason, next.extra);
        for (const { resolve } of next.done) resolve(ran.result);
        if (!closed) await settle(ran);
      }
    } finally {
      working = false;
    }
  }

  function put(reason: ContactReason, extra: Item[], done: Waiting['done']): void {
    const shareable = reason === 'solicited' || reason === 'start-up';
    const alike = shareable ? waiting.find((one) => one.reason === reason) : undefined;
    if (alike) alike.done.push(...done);
    else if (waiting.length >= MAX_WAITING_SESSIONS) {
      throw new Error(`phone ${who}: ${MAX_WAITING_SESSIONS} sessions are waiting already`);
    } else if (reason === 'start-up') waiting.unshift({ reason, extra, done });
    else waiting.push({ reason, extra, done });
    if (!working) running = work();
  }

  return {
    get working() {
      return working;
    },
    join(reason, extra = []) {
      if (!closed) put(reason, extra, []);
    },
    run: (reason, extra = []) =>
      new Promise((resolve, reject) => {
        if (closed) reject(new Error(`phone ${who} is closed`));
        else put(reason, extra, [{ resolve, reject }]);
      }),
    async idle() {
      while (working) await running;
    },
    async close() {
      closed = true;
      for (const { reject } of waiting.splice(0).flatMap((one) => one.done)) {
        reject(new Error(`phone ${who} was closed before the session began`));
      }
      await running;
    },
  };
}
