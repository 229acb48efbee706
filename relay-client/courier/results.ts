import type { WpiItem } from '../../shared/wpi/message.ts';
import type { HeldAction, HeldActionName, HeldItem } from './actions.ts';
import type { SecretResults } from './config.ts';
import { COURIER_LIMITS } from './limits.ts';
import { MASK } from './secrets.ts';
import type { IsSecret } from './secrets.ts';

/**
 * How an action came out: `accepted` by the phone; `failed`, as it refused; `waiting`, accepted and its outcome still to
 * come; `done`, its outcome came and was good; `unconfirmed`, its outcome did not come in time.
 */
export type ActionStatus = 'accepted' | 'failed' | 'waiting' | 'done' | 'unconfirmed';

/** How one item came out. */
export interface ItemResult {
  name: string;
  index?: string;
  /**
   * `accepted`, or what the phone says: `failed`, `unknown item`, `read only`, `missing item content`, …; `missing` where
   * it was asked for and the phone did not say anything about it.
   */
  status: string;
  /** What was read. */
  value?: string;
  /** The value was a secret and is not kept. */
  withheld?: true;
  /** The value was longer than what is kept of one. */
  truncated?: true;
}

/** How one action came out. */
export interface ActionResult {
  action: HeldActionName;
  status: ActionStatus;
  /** Wall time of the phone's last word about it. */
  at: number;
  /** Why, where the status does not say it. */
  why?: string;
  items: ItemResult[];
  /** Items are missing here: the phone sent, or the message has, more than is kept. */
  truncated?: true;
}

/** Results as the outbox keeps them. Empty and null alike: there are none. */
export function readResults(text: string | null): ActionResult[] {
  return text === null || text === '' ? [] : (JSON.parse(text) as ActionResult[]);
}

/** Results for the outbox. Where they are too long, items are left out where there are most of them, last ones first. */
export function writeResults(results: readonly ActionResult[]): string {
  let text = JSON.stringify(results);
  const fitting = [...results];
  while (Buffer.byteLength(text) > COURIER_LIMITS.resultBytes) {
    const sizes = fitting.map(({ items }) => Buffer.byteLength(JSON.stringify(items)));
    const longest = sizes.indexOf(Math.max(...sizes));
    const result = fitting[longest];
    if (result === undefined || result.items.length === 0) break;
    const items = result.items.slice(0, Math.floor(result.items.length / 2));
    fitting[longest] = { ...result, items, truncated: true };
    text = JSON.stringify(fitting);
  }
  return text;
}

/** What a phone has said to one document: what was asked in it, and all parts of the reply. */
export interface Reply {
  asked: readonly HeldItem[];
  /** The reply's status was neither `accepted` nor left out. */
  refused: boolean;
  said: readonly WpiItem[];
  /** The phone has said more than was read. */
  partial: boolean;
}

/** Whether a status word means that all is well. */
export function isFine(status: string | null): boolean {
  return status === null || status === '' || status === 'accepted';
}

/** A status word of a phone, which may be anything. */
export function plainStatus(status: string | null): string {
  if (isFine(status)) return 'accepted';
  return /^[a-z][a-z -]{0,31}$/.test(status ?? '') ? (status ?? '') : 'odd status';
}

/** What the phone's replies to one action come to, item by item. */
export function itemResults(
  { action }: HeldAction,
  replies: readonly Reply[],
  secrets: { isSecret: IsSecret; secretResults: SecretResults },
): ItemResult[] {
  const reads = action === 'ReadItems' || action === 'ReadAllItems';
  return replies.flatMap((reply) => (reads ? readItems(reply, secrets) : toldItems(reply)));
}

/** Of items that were told, the phone lists those that it refuses. */
function toldItems({ asked, said, refused, partial }: Reply): ItemResult[] {
  const byName = groupByName(said);
  return asked.map(({ name, index }) => {
    const about = byName.get(name.toLowerCase())?.find((item) => isAbout(item, index));
    const otherwise = refused ? 'failed' : partial ? 'missing' : 'accepted';
    const status = about === undefined ? otherwise : plainStatus(about.status);
    return { name, ...(index === undefined ? {} : { index }), status };
  });
}

const isAbout = (item: WpiItem, index: string | undefined): boolean =>
  item.index === null || item.index === (index ?? null);

function groupByName(items: readonly WpiItem[]): Map<string, WpiItem[]> {
  const groups = new Map<string, WpiItem[]>();
  for (const item of items) {
    const name = item.name.toLowerCase();
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [item]);
    else group.push(item);
  }
  return groups;
}

function readItems(
  { asked, said, refused }: Reply,
  secrets: { isSecret: IsSecret; secretResults: SecretResults },
): ItemResult[] {
  const found = said.map((item) => readItem(item, secrets));
  const byName = groupByName(said);
  const missing = asked.filter(
    // A name without an index asks for all there are.
    ({ name, index }) =>
      byName
        .get(name.toLowerCase())
        ?.some((item) => index === undefined || item.index === null || item.index === index) !== true,
  );
  return [
    ...found,
    ...missing.map(({ name, index }) => ({
      name,
      ...(index === undefined ? {} : { index }),
      status: refused ? 'failed' : 'missing',
    })),
  ];
}

function readItem(
  { name, index, status, value }: WpiItem,
  { isSecret, secretResults }: { isSecret: IsSecret; secretResults: SecretResults },
): ItemResult {
  const result: ItemResult = {
    name: clip(name, 200).text,
    ...(index === null ? {} : { index: clip(index, 20).text }),
    status: plainStatus(status),
  };
  if (!isFine(status)) return result;
  if (isSecret(name) && value !== '' && secretResults !== 'show') {
    return secretResults === 'mask' ? { ...result, value: MASK } : { ...result, withheld: true };
  }
  const { text, cut } = clip(value, COURIER_LIMITS.resultValueBytes);
  return { ...result, value: text, ...(cut ? { truncated: true } : {}) };
}

/** Text that fits into so many bytes, cut between characters, and without half ones. */
function clip(text: string, bytes: number): { text: string; cut: boolean } {
  const whole = text.toWellFormed();
  if (Buffer.byteLength(whole) <= bytes) return { text: whole, cut: false };
  let length = 0;
  let used = 0;
  for (const character of whole) {
    used += Buffer.byteLength(character);
    if (used > bytes) break;
    length += character.length;
  }
  return { text: whole.slice(0, length), cut: true };
}

/** What a message's results come to, for its history. */
export function summary(results: readonly ActionResult[]) {
  const refused = (status: string): boolean => status !== 'accepted';
  return {
    actions: results.length,
    actions_failed: results.filter(({ status }) => status === 'failed').length,
    actions_unconfirmed: results.filter(({ status }) => status === 'unconfirmed').length,
    items: results.reduce((sum, { items }) => sum + items.length, 0),
    items_refused: results.reduce(
      (sum, { items }) => sum + items.filter(({ status }) => refused(status)).length,
      0,
    ),
  };
}
