import { attributeOf, decodeText, textOf } from './element.ts';
import type { XmlElement } from './element.ts';
import { escapeText } from './escape.ts';
import { phoneMessageOf, readParts, readPhoneMessage } from './read.ts';
import type { MessageParts } from './read.ts';

/** The item in which a phone announces where it can be called (Developer's Guide p. 35). */
export const CONTACT_ME_ITEM = 'contact-me-uri';

/** Developer's Guide p. 35. */
export const CONTACT_ME_URI_LIMIT = 255;

export type ContactMeReplacement =
  /** The body with the new value; every byte outside the old value is as it was. `was` is the old value. */
  | { readonly body: Buffer; readonly was: string }
  /** There is no value to replace. */
  | { readonly unchanged: 'none' }
  /** There is one, but not in a shape in which it can be replaced for certain. */
  | { readonly unchanged: 'unsure' };

/**
 * Replaces the value of the item `contact-me-uri` in a phone's message, in place: consumers compare messages as
 * text, so nothing else may change, not even white space around the value. Never throws.
 *
 * @param address - the new value, at most {@link CONTACT_ME_URI_LIMIT} characters of printable ASCII, else `unsure`
 */
export function replaceContactMe(body: Buffer, address: string): ContactMeReplacement {
  const parts = readParts(body);
  if ('unreadable' in parts) return { unchanged: 'none' };
  const place = findValue(parts);
  if (place === 'none' || place === 'unsure') return { unchanged: place };
  if (!/^[!-~]+$/.test(address) || address.length > CONTACT_ME_URI_LIMIT) return { unchanged: 'unsure' };
  const changed = Buffer.concat([
    body.subarray(0, place.start),
    Buffer.from(escapeText(address), 'latin1'),
    body.subarray(place.end),
  ]);
  return sameButFor(parts, changed, address) ? { body: changed, was: place.value } : { unchanged: 'unsure' };
}

/** Where the value stands in the body, in bytes, without the white space around it. */
function findValue(parts: MessageParts): { start: number; end: number; value: string } | 'none' | 'unsure' {
  const { document } = parts;
  const items = parts.items.filter(
    (item) =>
      attributeOf(item, 'name', document.encoding) === CONTACT_ME_ITEM &&
      attributeOf(item, 'status', document.encoding)?.toLowerCase() !== 'failed' &&
      (item.children.length > 0 || textOf(item, document.encoding) !== ''),
  );
  const [item] = items;
  if (item === undefined) return 'none';
  const [run] = item.text;
  if (items.length > 1 || item.children.length > 0 || item.text.length > 1 || run?.cdata !== false)
    return 'unsure';
  const start = contentStart(document.text, item);
  const end = document.text.indexOf('<', start);
  if (start < 0 || !document.text.startsWith('</', end)) return 'unsure';
  const raw = document.text.slice(start, end);
  const value = raw.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '');
  const blanks = raw.indexOf(value);
  return {
    start: document.offset + start + blanks,
    end: document.offset + start + blanks + value.length,
    value: decodeText(value, document.encoding),
  };
}

/** Where an element's content begins: after the `>` that stands in no attribute's value. */
function contentStart(text: string, element: XmlElement): number {
  const tag = /<[^\s"'<>/]+(?:\s+[^\s"'<>=/]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*\s*>/y;
  tag.lastIndex = element.start;
  return element.start >= 0 && tag.test(text) ? tag.lastIndex : -1;
}

/** Proof by reading again: the two messages differ in that item's value and in nothing else. */
function sameButFor(before: MessageParts, after: Buffer, address: string): boolean {
  const old = phoneMessageOf(before);
  const now = readPhoneMessage(after);
  if ('unreadable' in old || 'unreadable' in now) return false;
  const expected = {
    ...old,
    items: old.items.map((item) =>
      item.name === CONTACT_ME_ITEM && item.status !== 'failed' && item.value !== ''
        ? { ...item, value: address }
        : item,
    ),
  };
  return JSON.stringify(expected) === JSON.stringify(now);
}
