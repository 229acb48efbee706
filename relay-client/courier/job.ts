import { buildServiceMessage } from '../../shared/wpi/build.ts';
import type { PhoneMessage, WpiItem } from '../../shared/wpi/message.ts';
import type { ByteBudget } from '../services/limits.ts';
import type { HeldAction, HeldItem } from './actions.ts';
import type { CourierConfig } from './config.ts';
import { COURIER_LIMITS, DOCUMENT_FRAME_BYTES } from './limits.ts';
import { isFine, itemResults, plainStatus } from './results.ts';
import type { ActionResult, Reply } from './results.ts';
import type { IsSecret } from './secrets.ts';
import { splitItems } from './split.ts';

/** One action on its way: the documents that it takes, and what the phone has said to them. */
export interface Job {
  readonly action: HeldAction;
  /** The Actions that the phone's next message may name. */
  expected(): readonly string[];
  /** The next document, in answer to a message with that nonce. */
  document(nonce: string): Buffer;
  /** Takes a reply that isn't busy. True = it is answered; false = there is another document to send. */
  take(message: PhoneMessage): boolean;
  /** What it came to, once it is answered. */
  result(at: number): ActionResult;
  /** Lets go of what the phone has said. */
  release(): void;
}

/**
 * @param maxItems - the most items that the phone takes in one document; null = any number
 * @param budget - bytes of all replies that are held at once
 */
export function createJob(
  action: HeldAction,
  maxItems: number | null,
  secrets: { isSecret: IsSecret } & Pick<CourierConfig, 'secretResults'>,
  budget: ByteBudget,
): Job {
  const documents = documentsOf(action, maxItems);
  const replies: Reply[] = [];
  let said: WpiItem[] = [];
  let sent = 0;
  let fragments = 0;
  let items = 0;
  let taken = 0;
  let fragment = false;
  let refusal: string | null = null;
  let truncated = false;

  /** Adds the items of one part; false where there are more than are read. */
  const collect = (message: PhoneMessage): boolean => {
    for (const item of message.items) {
      const bytes = Buffer.byteLength(item.name) + Buffer.byteLength(item.value);
      const fits = items < COURIER_LIMITS.replyItems && taken + bytes <= COURIER_LIMITS.replyBytes;
      if (truncated || !fits || !budget.take(bytes)) return false;
      items += 1;
      taken += bytes;
      said.push(item);
    }
    return true;
  };

  return {
    action,
    expected: () => (fragment ? [action.action, 'GetNextFragment'] : [action.action]),
    document(nonce) {
      if (fragment) return buildServiceMessage({ nonce, action: 'GetNextFragment' });
      const asked = documents[sent] ?? [];
      sent += 1;
      return buildServiceMessage({ nonce, action: action.action, items: asked });
    },
    take(message) {
      const whole = collect(message);
      if (!whole) truncated = true;
      if (!isFine(message.status)) refusal ??= plainStatus(message.status);
      fragment = whole && isFine(message.status) && message.fragment === 'next';
      if (fragment) fragments += 1;
      if (fragment && fragments < COURIER_LIMITS.fragments) return false;
      if (fragment) truncated = true;
      fragment = false;
      const asked = documents[sent - 1] ?? [];
      replies.push({ asked, refused: !isFine(message.status), said, partial: truncated });
      said = [];
      return sent >= documents.length;
    },
    result(at) {
      const failed = refusal !== null;
      return {
        action: action.action,
        status: failed ? 'failed' : 'accepted',
        at,
        ...(failed ? { why: `the phone replied ${refusal}` } : {}),
        items: itemResults(action, replies, secrets),
        ...(truncated ? { truncated: true } : {}),
      };
    },
    release() {
      budget.give(taken);
      taken = 0;
    },
  };
}

/** Whether a phone takes an action at all: what cannot be split must not have more items than it takes. */
export function tooManyItems({ action, items }: HeldAction, maxItems: number | null): boolean {
  const splits = action === 'WriteItems' || action === 'ReadItems';
  return !splits && maxItems !== null && items.length > maxItems;
}

function documentsOf({ action, items }: HeldAction, maxItems: number | null): HeldItem[][] {
  if (action !== 'WriteItems' && action !== 'ReadItems') return [items];
  return splitItems(items, maxItems, COURIER_LIMITS.documentBytes - DOCUMENT_FRAME_BYTES);
}
