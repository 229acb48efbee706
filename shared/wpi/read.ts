import { readDocument } from './document.ts';
import type { Unreadable, XmlDocument } from './document.ts';
import { attributeOf, childrenOf, isNamed, textOf } from './element.ts';
import type { XmlElement, XmlEncoding } from './element.ts';
import { usualAction } from './message.ts';
import type { PhoneMessage, ServiceMessage, WpiItem } from './message.ts';

/**
 * Reads what a phone sent: root WorkpointMessage (DLSMessage is taken too), in any namespace or none, any letter
 * case, the ItemList inside or beside the Message, blanks around values. Never throws, and what it returns for a
 * bad message holds nothing of it.
 */
export function readPhoneMessage(body: Buffer): PhoneMessage | Unreadable {
  const parts = readParts(body);
  return 'unreadable' in parts ? parts : phoneMessageOf(parts);
}

/**
 * Reads what a service answered: root DLSMessage in any spelling, bare or as the Object of an XML signature, of
 * which closing tags too many are forgiven (Developer's Guide p. 60 prints one). Never throws.
 */
export function readServiceMessage(body: Buffer): ServiceMessage | Unreadable {
  const parts = readParts(body);
  if (!('unreadable' in parts)) return serviceMessage(parts);
  const kernel = parts.unreadable === 'not well-formed' ? signedKernel(body) : null;
  if (kernel === null) return parts;
  const inner = readParts(kernel);
  return 'unreadable' in inner ? inner : serviceMessage(inner);
}

/**
 * Reads what somebody wants phones to be told: one DLSMessage, or an element of any name that holds several. Never
 * throws. An entry that is no message of a service says why in its place.
 */
export function readServiceMessages(body: Buffer): (ServiceMessage | Unreadable)[] | Unreadable {
  const document = readDocument(body);
  if ('unreadable' in document) return document;
  const { root } = document;
  const tops = isRoot(root) ? [root] : root.children;
  if (tops.length === 0) return { unreadable: 'unknown root' };
  return tops.map((top) => {
    const parts = isRoot(top) ? partsOf(document, top) : ({ unreadable: 'unknown root' } as const);
    return 'unreadable' in parts ? parts : serviceMessage(parts);
  });
}

/** Whether a service's answer is wrapped in an XML signature, which it may be even where it's not well-formed. */
export function isSigned(body: Buffer): boolean {
  const document = readDocument(body);
  if (!('unreadable' in document)) return isNamed(document.root, 'Signature');
  return document.unreadable === 'not well-formed' && signedKernel(body) !== null;
}

/** A readable document's places of interest. */
export interface MessageParts {
  readonly document: XmlDocument;
  readonly message: XmlElement;
  /** All Items of all ItemLists, in document order. */
  readonly items: readonly XmlElement[];
}

/** Finds the one Message of a document and its items. */
export function readParts(body: Buffer): MessageParts | Unreadable {
  const document = readDocument(body);
  if ('unreadable' in document) return document;
  const root = isNamed(document.root, 'Signature')
    ? childrenOf(document.root, 'Object').flatMap((object) => object.children.filter(isRoot))
    : [document.root].filter(isRoot);
  const [top] = root;
  if (top === undefined || root.length > 1) return { unreadable: 'unknown root' };
  return partsOf(document, top);
}

function partsOf(document: XmlDocument, top: XmlElement): MessageParts | Unreadable {
  const messages = childrenOf(top, 'Message');
  const [message] = messages;
  if (message === undefined || messages.length > 1) return { unreadable: 'not one Message' };
  const lists = top.children.flatMap((child) =>
    child === message ? childrenOf(child, 'ItemList') : isNamed(child, 'ItemList') ? [child] : [],
  );
  return { document, message, items: lists.flatMap((list) => childrenOf(list, 'Item')) };
}

function isRoot(element: XmlElement): boolean {
  return isNamed(element, 'WorkpointMessage') || isNamed(element, 'DLSMessage');
}

/** What a phone's message says, from its parts. */
export function phoneMessageOf({
  document: { encoding },
  message,
  items,
}: MessageParts): PhoneMessage | Unreadable {
  const reasons = childrenOf(message, 'ReasonForContact');
  const [reason] = reasons;
  if (reason === undefined || reasons.length > 1) return { unreadable: 'not one ReasonForContact' };
  const text = textOf(reason, encoding).toLowerCase();
  if (text === '') return { unreadable: 'not one ReasonForContact' };
  const maxItems = Number(attributeOf(message, 'maxItems', encoding) ?? -1);
  const action = attributeOf(reason, 'action', encoding);
  return {
    nonce: attributeOf(message, 'nonce', encoding) ?? '',
    maxItems: Number.isInteger(maxItems) && maxItems >= 0 ? maxItems : null,
    fragment: lower(attributeOf(message, 'fragment', encoding) ?? attributeOf(reason, 'fragment', encoding)),
    reason: text,
    action: action === null || action === '' ? null : usualAction(action),
    status: lower(attributeOf(reason, 'status', encoding)),
    items: items.map((item) => readItem(item, encoding)),
  };
}

function serviceMessage({
  document: { encoding },
  message,
  items,
}: MessageParts): ServiceMessage | Unreadable {
  const actions = childrenOf(message, 'Action');
  const [action] = actions;
  const text = action === undefined ? '' : textOf(action, encoding);
  if (text === '' || actions.length > 1) return { unreadable: 'not one Action' };
  return {
    nonce: attributeOf(message, 'nonce', encoding) ?? '',
    action: usualAction(text),
    items: items.map((item) => readItem(item, encoding)),
  };
}

function readItem(element: XmlElement, encoding: XmlEncoding): WpiItem {
  return {
    name: attributeOf(element, 'name', encoding) ?? '',
    index: attributeOf(element, 'index', encoding),
    status: lower(attributeOf(element, 'status', encoding)),
    value: textOf(element, encoding),
  };
}

function lower(text: string | null): string | null {
  return text === null ? null : text.toLowerCase();
}

/** The bytes of the one DLSMessage inside a signature that isn't well-formed around it; null where that's unclear. */
function signedKernel(body: Buffer): Buffer | null {
  const text = body.toString('latin1');
  // A comment or CDATA section could hold a second document: then nothing here is certain.
  if (!/<(?:[\w.-]+:)?Signature[\s>]/.test(text) || text.includes('<!')) return null;
  const starts = [...text.matchAll(/<((?:[\w.-]+:)?DLSMessage)[\s>]/gi)];
  const ends = [...text.matchAll(/<\/((?:[\w.-]+:)?DLSMessage)\s*>/gi)];
  const [start] = starts;
  const [end] = ends;
  if (start === undefined || end === undefined || starts.length > 1 || ends.length > 1) return null;
  return end.index < start.index ? null : body.subarray(start.index, end.index + end[0].length);
}
