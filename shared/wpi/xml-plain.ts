import { AWKWARD_NAMES, localName, XML_DEPTH_LIMIT } from './element.ts';
import type { XmlElement, XmlText } from './element.ts';

const DECLARATION = /<\?xml(?:\s+[a-z]+\s*=\s*(?:"[\w.-]*"|'[\w.-]*'))*\s*\?>/y;
const NAME = /[A-Za-z_][\w.-]*(?::[A-Za-z_][\w.-]*)?/y;
const ATTRIBUTE =
  /[ \t\r\n]+([A-Za-z_][\w.-]*(?::[A-Za-z_][\w.-]*)?)[ \t\r\n]*=[ \t\r\n]*(?:"([^"<]*)"|'([^'<]*)')/y;
const WHITE_SPACE = /[ \t\r\n]*/y;
/** Attributes of one element; above it, looking for doubles would cost too much. */
const ATTRIBUTES_LIMIT = 32;
const LOOSE_AMPERSAND = /&(?!(?:\w{1,19}|#[0-9]{1,7}|#x[0-9a-fA-F]{1,6});)/;

interface OpenElement extends XmlElement {
  /** As written, with its prefix. */
  readonly tag: string;
  readonly children: XmlElement[];
  readonly text: XmlText[];
}

/**
 * Reads a plain document: a declaration at most, elements, attributes, text. Comments, CDATA, processing
 * instructions and everything doubtful are left to {@link readXmlWithLibrary}, with which this agrees on every
 * document that it reads (a property test holds them together). It exists because nearly all messages are plain
 * and it takes a small part of the time.
 *
 * @param text - the document's bytes as Latin-1, without a byte order mark
 * @returns the root, or null where the document is not plain, which says nothing about whether it's well-formed
 */
export function readPlainXml(text: string): XmlElement | null {
  const open: OpenElement[] = [];
  let root: XmlElement | null = null;
  let at = text.startsWith('<?xml') ? match(DECLARATION, text, 0) : 0;
  if (at < 0) return null;

  while (at < text.length) {
    const next = text.indexOf('<', at);
    const end = next < 0 ? text.length : next;
    const parent = open.at(-1);
    if (end > at && !takeText(text.slice(at, end), parent)) return null;
    if (next < 0) break;
    if (text.charCodeAt(next + 1) === 0x2f) {
      at = parent === undefined ? -1 : closeTag(text, next, parent.tag);
      if (at < 0) return null;
      open.pop();
      continue;
    }
    const tag = openTag(text, next);
    if (tag === null || (parent === undefined && root !== null) || open.length === XML_DEPTH_LIMIT)
      return null;
    if (parent === undefined) root = tag.element;
    else parent.children.push(tag.element);
    if (!tag.empty) open.push(tag.element);
    at = tag.end;
  }
  return open.length === 0 ? root : null;
}

/** Adds a run of text to its element; false where it may not stand there or isn't plain. */
function takeText(raw: string, parent: OpenElement | undefined): boolean {
  if (parent === undefined) return match(WHITE_SPACE, raw, 0) === raw.length;
  if (raw.includes('&') && LOOSE_AMPERSAND.test(raw)) return false;
  parent.text.push({ raw: withLineFeeds(raw), cdata: false });
  return true;
}

function openTag(text: string, start: number): { element: OpenElement; end: number; empty: boolean } | null {
  let at = match(NAME, text, start + 1);
  if (at < 0) return null;
  const tag = text.slice(start + 1, at);
  if (AWKWARD_NAMES.has(tag)) return null;
  const attributes: (readonly [string, string])[] = [];
  for (;;) {
    ATTRIBUTE.lastIndex = at;
    const found = ATTRIBUTE.exec(text);
    if (found === null) break;
    const name = found[1] ?? '';
    if (AWKWARD_NAMES.has(name) || attributes.some(([known]) => known === name)) return null;
    if (attributes.length === ATTRIBUTES_LIMIT) return null;
    attributes.push([name, withLineFeeds(found[2] ?? found[3] ?? '')]);
    at = ATTRIBUTE.lastIndex;
  }
  at = match(WHITE_SPACE, text, at);
  const empty = text.charCodeAt(at) === 0x2f;
  if (text.charCodeAt(empty ? at + 1 : at) !== 0x3e) return null;
  const element = { name: localName(tag), tag, attributes, children: [], text: [], start };
  return { element, end: at + (empty ? 2 : 1), empty };
}

/** Where the closing tag of `tag` at `start` ends; -1 where it isn't one. */
function closeTag(text: string, start: number, tag: string): number {
  if (!text.startsWith(tag, start + 2)) return -1;
  const end = match(WHITE_SPACE, text, start + 2 + tag.length);
  return text.charCodeAt(end) === 0x3e ? end + 1 : -1;
}

/** The end of what `pattern` (sticky) matches at `at`; -1 where it doesn't. */
function match(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : -1;
}

/** XML 1.0 §2.11: every line break reads as a line feed. */
function withLineFeeds(raw: string): string {
  return raw.includes('\r') ? raw.replace(/\r\n?/g, '\n') : raw;
}
