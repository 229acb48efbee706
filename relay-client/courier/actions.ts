import { SallyportError } from '../../shared/errors.ts';
import { itemBytes } from '../../shared/wpi/build.ts';
import { fitsXml } from '../../shared/wpi/escape.ts';
import { usualAction } from '../../shared/wpi/message.ts';
import { readServiceMessages } from '../../shared/wpi/read.ts';
import { COURIER_LIMITS, DOCUMENT_FRAME_BYTES } from './limits.ts';
import { groupItems } from './split.ts';

/** What a held message may ask of a phone (Developer's Guide p. 30); how a session goes on and ends is the courier's. */
export const HELD_ACTIONS = [
  'WriteItems',
  'ReadItems',
  'ReadAllItems',
  'Restart',
  'FileDeployment',
  'SoftwareDeployment',
] as const;
export type HeldActionName = (typeof HELD_ACTIONS)[number];

export interface HeldItem {
  name: string;
  /** 0-based or 1-based, depending on the item. */
  index?: string;
  /** Left out in ReadItems. */
  value?: string;
}

/** One action of a held message. */
export interface HeldAction {
  action: HeldActionName;
  items: HeldItem[];
}

/** What is wrong with actions, and where: `actions.1.items.0.name`. Quotes no value. */
export class ActionFault extends SallyportError {
  readonly field: string;

  constructor(field: string, message: string) {
    super('REQUEST_INVALID', `${field}: ${message}`);
    this.field = field;
  }
}

const ITEM_NAME = /^[A-Za-z][\w.-]{0,63}$/;
const INDEX = /^(?:0|[1-9]\d{0,4})$/;

/**
 * Reads what somebody wants a phone to do, strictly: a list of `{action, items}`, a list of WPI documents, or one WPI
 * document (a DLSMessage, or an element that holds several).
 *
 * @param field - how the input is called in errors
 * @throws ActionFault naming the first thing that is wrong
 */
export function readActions(input: unknown, field = 'actions'): HeldAction[] {
  const written = typeof input === 'string' ? fromXml(input, field) : fromList(input, field);
  if (written.length === 0) throw new ActionFault(field, 'expected at least one action');
  if (written.length > COURIER_LIMITS.actions) {
    throw new ActionFault(
      field,
      `${written.length} actions; one message takes ${COURIER_LIMITS.actions}, so push several`,
    );
  }
  const actions = written.map(({ at, action, items }) => readAction(at, action, items));
  const items = actions.reduce((sum, each) => sum + each.items.length, 0);
  if (items > COURIER_LIMITS.items) {
    throw new ActionFault(
      field,
      `${items} items; one message takes ${COURIER_LIMITS.items}, so push several`,
    );
  }
  const bytes = Buffer.byteLength(JSON.stringify(actions));
  if (bytes > COURIER_LIMITS.actionsBytes) {
    throw new ActionFault(
      field,
      `${bytes} bytes; one message takes ${COURIER_LIMITS.actionsBytes}, so push several`,
    );
  }
  return actions;
}

/** Actions as the outbox gave them back. They were checked when they were pushed. */
export function storedActions(text: string): HeldAction[] {
  return JSON.parse(text) as HeldAction[];
}

/** An action as it was written, with the place where. */
interface Written {
  at: string;
  action: unknown;
  items: unknown;
}

function fromList(input: unknown, field: string): Written[] {
  if (!Array.isArray(input)) {
    throw new ActionFault(
      field,
      'expected a list such as [{"action":"ReadItems","items":[{"name":"e164"}]}], or a WPI document',
    );
  }
  return input.flatMap((each: unknown, i) => {
    const at = `${field}.${i}`;
    if (typeof each === 'string') return fromXml(each, at);
    if (typeof each !== 'object' || each === null || Array.isArray(each)) {
      throw new ActionFault(at, 'expected {"action": …, "items": […]} or a WPI document');
    }
    refuseOthers(at, each, ['action', 'items']);
    const { action, items = [] } = each as { action?: unknown; items?: unknown };
    return [{ at, action, items }];
  });
}

function fromXml(text: string, field: string): Written[] {
  if (!text.isWellFormed())
    throw new ActionFault(field, 'half a character (a lone surrogate) in the document');
  const messages = readServiceMessages(Buffer.from(text, 'utf8'));
  if ('unreadable' in messages) {
    throw new ActionFault(field, `the WPI document is not taken: ${messages.unreadable}`);
  }
  return messages.map((message, i) => {
    const at = messages.length === 1 ? field : `${field}.${i}`;
    if ('unreadable' in message) {
      throw new ActionFault(at, `the WPI document is not taken: ${message.unreadable}`);
    }
    const items = message.items.map(({ name, index, status, value }) => ({
      name,
      ...(index === null ? {} : { index }),
      ...(status === null ? {} : { status }),
      ...(value === '' && isRead(message.action) ? {} : { value }),
    }));
    return { at, action: message.action, items };
  });
}

const isRead = (action: string): boolean => action === 'ReadItems' || action === 'ReadAllItems';

function readAction(at: string, word: unknown, items: unknown): HeldAction {
  const usual = typeof word === 'string' ? usualAction(word) : '';
  const action = HELD_ACTIONS.find((each) => each === usual);
  if (action === undefined) {
    throw new ActionFault(`${at}.action`, `expected one of ${HELD_ACTIONS.join(', ')}`);
  }
  if (!Array.isArray(items)) throw new ActionFault(`${at}.items`, 'expected a list of items');
  const read = items.map((item: unknown, i) => readItem(`${at}.items.${i}`, action, item));
  const held = { action, items: read };
  checkShape(at, held);
  checkSize(at, held);
  return held;
}

function readItem(at: string, action: HeldActionName, item: unknown): HeldItem {
  // The name alone is enough where it is only to be read.
  const fields = typeof item === 'string' && isRead(action) ? { name: item } : item;
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
    throw new ActionFault(at, 'expected {"name": …, "index"?: …, "value"?: …}');
  }
  refuseOthers(at, fields, ['name', 'index', 'value']);
  const { name, index, value } = fields as Record<string, unknown>;
  if (typeof name !== 'string' || !ITEM_NAME.test(name)) {
    throw new ActionFault(
      `${at}.name`,
      'expected an item name: a letter, then up to 63 letters, digits, . _ or -',
    );
  }
  return {
    name,
    ...(index === undefined ? {} : { index: readIndex(`${at}.index`, index) }),
    ...(value === undefined ? {} : { value: readValue(`${at}.value`, action, value) }),
  };
}

function readIndex(at: string, index: unknown): string {
  const text = typeof index === 'number' ? String(index) : index;
  if (typeof text === 'string' && INDEX.test(text) && Number(text) <= COURIER_LIMITS.index) return text;
  throw new ActionFault(at, `expected a whole number from 0 to ${COURIER_LIMITS.index}`);
}

function readValue(at: string, action: HeldActionName, value: unknown): string {
  if (isRead(action)) throw new ActionFault(at, 'expected none: the item is only read');
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') {
    throw new ActionFault(at, 'expected text, a number, true or false');
  }
  const text = String(value);
  if (!fitsXml(text)) throw new ActionFault(at, 'has a character that XML cannot hold; remove it');
  if (Buffer.byteLength(text) > COURIER_LIMITS.valueBytes) {
    throw new ActionFault(at, `is longer than ${COURIER_LIMITS.valueBytes} bytes`);
  }
  return text;
}

/** What each action needs so that a phone could do anything with it (Developer's Guide p. 42–56). */
function checkShape(at: string, { action, items }: HeldAction): void {
  const has = (...names: string[]): boolean => items.some(({ name }) => names.includes(name.toLowerCase()));
  const demand = (fulfilled: boolean, expected: string): void => {
    if (!fulfilled) throw new ActionFault(`${at}.items`, expected);
  };
  switch (action) {
    case 'ReadAllItems':
      return demand(items.length === 0, 'expected none: ReadAllItems reads everything');
    case 'WriteItems':
    case 'ReadItems':
      return demand(items.length > 0, 'expected at least one item');
    case 'FileDeployment':
      return demand(
        has('file-name', 'file-https-base-url'),
        'expected file-name or file-https-base-url among them',
      );
    case 'SoftwareDeployment':
      return demand(
        has('file-name', 'file-https-base-url', 'file-sw-version'),
        'expected file-name, file-https-base-url or file-sw-version among them',
      );
    case 'Restart':
      return;
  }
}

/** Items that belong together travel in one document, so each group of them has to fit into one. */
function checkSize(at: string, { action, items }: HeldAction): void {
  const room = COURIER_LIMITS.documentBytes - DOCUMENT_FRAME_BYTES;
  const splittable = action === 'WriteItems' || action === 'ReadItems';
  for (const group of splittable ? groupItems(items) : [items]) {
    const bytes = group.reduce((sum, item) => sum + itemBytes(item), 0);
    if (bytes <= room) continue;
    const which =
      splittable && group[0]?.index !== undefined ? `the items with index ${group[0].index}` : 'the items';
    throw new ActionFault(
      `${at}.items`,
      `${which} take ${bytes} bytes and travel in one document; ${room} fit into it`,
    );
  }
}

function refuseOthers(at: string, fields: object, known: string[]): void {
  const other = Object.keys(fields).find((name) => !known.includes(name));
  if (other === undefined) return;
  const field = ITEM_NAME.test(other) ? `${at}.${other}` : at;
  throw new ActionFault(field, `no such field; expected ${known.join(', ')}`);
}
