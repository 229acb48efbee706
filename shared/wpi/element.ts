/**
 * One element of a WPI document. Made from the document's bytes read as Latin-1, so that a position in the text
 * is a position in the bytes; {@link decodeText} gives the characters that were meant.
 */
export interface XmlElement {
  /** Name without its namespace prefix, as written. */
  readonly name: string;
  /** Attributes in order, their values still raw. */
  readonly attributes: readonly (readonly [name: string, raw: string])[];
  readonly children: readonly XmlElement[];
  /** Character data of its own, in order: raw text, and CDATA sections, in which nothing is escaped. */
  readonly text: readonly XmlText[];
  /** Where its `<` stands. */
  readonly start: number;
}

export interface XmlText {
  readonly raw: string;
  readonly cdata: boolean;
}

/** How a document's bytes mean characters. */
export type XmlEncoding = 'utf-8' | 'latin1';

/**
 * Deepest nesting that is read. A signed answer needs six levels (Signature, Object, DLSMessage, Message,
 * ItemList, Item).
 */
export const XML_DEPTH_LIMIT = 16;

/** Names that JavaScript objects give a meaning to; the library renames or refuses them. */
export const AWKWARD_NAMES: ReadonlySet<string> = new Set([
  '__proto__',
  'constructor',
  'prototype',
  'hasOwnProperty',
  'toString',
  'valueOf',
  '__defineGetter__',
  '__defineSetter__',
  '__lookupGetter__',
  '__lookupSetter__',
]);

const NAMED_ENTITIES: ReadonlyMap<string, string> = new Map([
  ['lt', '<'],
  ['gt', '>'],
  ['amp', '&'],
  ['quot', '"'],
  ['apos', "'"],
]);

const BEYOND_ASCII = /[\x80-\xff]/;

/** The characters of raw character data: bytes decoded, then the five named and all numeric references replaced. */
export function decodeText(raw: string, encoding: XmlEncoding, escaped = true): string {
  const text =
    encoding === 'utf-8' && BEYOND_ASCII.test(raw) ? Buffer.from(raw, 'latin1').toString('utf8') : raw;
  return escaped && text.includes('&') ? text.replace(/&(#?\w{1,20});/g, decodeReference) : text;
}

/** What an unknown reference means is not ours to guess: it stays as written. */
function decodeReference(whole: string, name: string): string {
  if (!name.startsWith('#')) return NAMED_ENTITIES.get(name) ?? whole;
  const digits = /^#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}))$/.exec(name);
  const code =
    digits === null ? 0 : parseInt(digits[1] ?? digits[2] ?? '', digits[1] === undefined ? 10 : 16);
  const character = code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
  return character ? String.fromCodePoint(code) : whole;
}

/** The element's own character data, decoded and trimmed. */
export function textOf(element: XmlElement, encoding: XmlEncoding): string {
  let text = '';
  for (const piece of element.text) text += decodeText(piece.raw, encoding, !piece.cdata);
  return text.trim();
}

/** An attribute's value, decoded and trimmed; null where it is missing. Prefixed attributes don't count. */
export function attributeOf(element: XmlElement, name: string, encoding: XmlEncoding): string | null {
  for (const [key, raw] of element.attributes) {
    if (key.length === name.length && key.toLowerCase() === name.toLowerCase()) {
      return decodeText(raw, encoding).trim();
    }
  }
  return null;
}

/** The children of that name; letter case is ignored because roots and elements are spelled both ways in the field. */
export function childrenOf(element: XmlElement, name: string): XmlElement[] {
  return element.children.filter((child) => isNamed(child, name));
}

export function isNamed(element: XmlElement, name: string): boolean {
  return element.name.length === name.length && element.name.toLowerCase() === name.toLowerCase();
}

/** A name without its namespace prefix. */
export function localName(name: string): string {
  return name.slice(name.indexOf(':') + 1);
}
