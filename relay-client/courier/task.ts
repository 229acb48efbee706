import type { Milliseconds } from '../../shared/clock.ts';
import type { Message, Outbox } from '../outbox/outbox.ts';
import { storedActions } from './actions.ts';
import type { HeldAction } from './actions.ts';
import { readResults, summary, writeResults } from './results.ts';
import type { ActionResult } from './results.ts';

/** One held message, and how far it has come: the action at `results.length` is the next one. */
export interface Task {
  message: Message;
  actions: HeldAction[];
  results: ActionResult[];
}

/** What is left of a wait before the message itself expires, so that it does not end as expired in the middle of it. */
const BEFORE_EXPIRY_MS: Milliseconds = 3_000;

export function taskOf(message: Message): Task {
  return {
    message,
    actions: storedActions(message.actions ?? '[]'),
    results: readResults(message.results),
  };
}

/** The action whose outcome is awaited; null = none is. */
export function waitingAction({ actions, results }: Task): HeldAction | null {
  return results.at(-1)?.status === 'waiting' ? (actions[results.length - 1] ?? null) : null;
}

/**
 * Writes down what a task has come to: its end where nothing is left to do, in the same commit. The message in the task
 * is then as it is in the outbox; somebody else may have ended it.
 *
 * @param wait - how long the phone's word about the last result is awaited; 0 = it isn't
 * @throws SallyportError as {@link Outbox}
 */
export async function saveTask(outbox: Outbox, task: Task, wait: Milliseconds): Promise<void> {
  const { message, actions, results } = task;
  const text = writeResults(results);
  if (results.length >= actions.length && wait === 0) {
    const facts = summary(results);
    const failed = facts.actions_failed + facts.actions_unconfirmed + facts.items_refused > 0;
    const end = { state: 'cleared', by: 'courier', results: text, facts, failed } as const;
    task.message = await outbox.end(message.id, end);
    return;
  }
  const most = Math.max(1, message.expiresIn - BEFORE_EXPIRY_MS);
  task.message = await outbox.advance(message.id, { results: text, wait: Math.min(wait, most) });
}

/** Says how a waiting action came out. */
export function settleWait(task: Task, status: 'done' | 'failed' | 'unconfirmed', at: number): void {
  const last = task.results.at(-1);
  if (last?.status !== 'waiting') return;
  task.results[task.results.length - 1] = { ...last, status, at };
}
