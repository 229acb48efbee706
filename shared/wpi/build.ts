import { SallyportError } from '../errors.ts';
import { escapeAttribute, escapeText, fitsXml } from './escape.ts';

/** An item to be written. */
export interface NewItem {
  name: string;
  /** Left out where absent. */
  index?: string | number;
  /** Left out where absent. */
  status?: string;
  /** Default: empty, which in ReadItems asks for the value. */
  value?: string;
}

/** An answer to a phone. */
export interface NewServiceMessage {
  /** The nonce of the message that is answered, exactly. */
  nonce: string;
  action: string;
  items?: readonly NewItem[];
}

/** A message of a phone. */
export interface NewPhoneMessage {
  nonce: string;
  reason: string;
  /** For `reply-to`. */
  action?: string;
  /** For `reply-to`. */
  status?: string;
  /** Default: none. */
  fragment?: 'next' | 'final';
  /** Default: -1, no limit. */
  maxItems?: number;
  items?: readonly NewItem[];
}

const DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n';
const NAMESPACE = 'http://www.siemens.com/DLS';

/**
 * Writes a service's answer: UTF-8, one line per element, attributes in the order in which known phones and
 * services expect them.
 *
 * @throws SallyportError REQUEST_INVALID for a character that XML cannot hold; the value isn't quoted
 */
export function buildServiceMessage(message: NewServiceMessage): Buffer {
  return build('DLSMessage', [
    `<Message nonce="${attribute('nonce', message.nonce)}">`,
    `<Action>${content('Action', message.action)}</Action>`,
    ...itemList(message.items),
  ]);
}

/**
 * Writes a phone's message: `nonce` first and `action` before `status`, since there are services that search
 * for them as text.
 *
 * @throws SallyportError REQUEST_INVALID for a character that XML cannot hold; the value isn't quoted
 */
export function buildPhoneMessage(message: NewPhoneMessage): Buffer {
  const { nonce, reason, action, status, fragment, maxItems = -1, items } = message;
  const reply = optional('action', action) + optional('status', status);
  return build('WorkpointMessage', [
    `<Message nonce="${attribute('nonce', nonce)}" maxItems="${maxItems}"${optional('fragment', fragment)}>`,
    `<ReasonForContact${reply}>${content('ReasonForContact', reason)}</ReasonForContact>`,
    ...itemList(items),
  ]);
}

function build(root: string, lines: readonly string[]): Buffer {
  const body = [`<${root} xmlns="${NAMESPACE}">`, ...lines, '</Message>', `</${root}>`].join('\n');
  return Buffer.from(`${DECLARATION}${body}\n`, 'utf8');
}

/**
 * Bytes that an item takes in a message, its line break included.
 *
 * @throws SallyportError REQUEST_INVALID for a character that XML cannot hold; the value isn't quoted
 */
export function itemBytes(item: NewItem): number {
  return Buffer.byteLength(itemLine(item)) + 1;
}

function itemList(items: readonly NewItem[] | undefined): string[] {
  if (items === undefined || items.length === 0) return [];
  return ['<ItemList>', ...items.map(itemLine), '</ItemList>'];
}

function itemLine({ name, index, status, value = '' }: NewItem): string {
  const attributes =
    optional('index', index === undefined ? undefined : String(index)) + optional('status', status);
  return `<Item name="${attribute('name', name)}"${attributes}>${content(name, value)}</Item>`;
}

function optional(name: string, value: string | undefined): string {
  return value === undefined ? '' : ` ${name}="${attribute(name, value)}"`;
}

function attribute(what: string, value: string): string {
  check(what, value);
  return escapeAttribute(value);
}

function content(what: string, value: string): string {
  check(what, value);
  return escapeText(value);
}

function check(what: string, value: string): void {
  if (fitsXml(value)) return;
  const name = fitsXml(what) ? what : 'an item name';
  throw new SallyportError(
    'REQUEST_INVALID',
    `A WPI message can't be built: the value of ${name} has a control character that XML can't hold; remove it`,
  );
}
