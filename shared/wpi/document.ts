import type { XmlElement, XmlEncoding } from './element.ts';
import { readPlainXml } from './xml-plain.ts';
import { readXmlWithLibrary } from './xml-library.ts';

/** The longest message that is read, in bytes. Phones split theirs at 50 kB (Developer's Guide p. 69). */
export const WPI_SIZE_LIMIT = 2 ** 20;

/**
 * The longest message that is read, in bytes, where it has comments, CDATA sections, processing instructions or
 * faults. Such a message takes the slow way, and anybody may send one.
 */
export const WPI_UNUSUAL_SIZE_LIMIT = 2 ** 17;

/** Why a message could not be read. Fixed words, because the message itself may hold secrets. */
export type UnreadableReason =
  | 'empty'
  | 'too large'
  | 'faulty or unusual, and large'
  | 'unknown encoding'
  | 'DOCTYPE'
  | 'not well-formed'
  | 'unknown root'
  | 'not one Message'
  | 'not one ReasonForContact'
  | 'not one Action';

export interface Unreadable {
  readonly unreadable: UnreadableReason;
}

export interface XmlDocument {
  readonly root: XmlElement;
  readonly encoding: XmlEncoding;
  /** The body's bytes as Latin-1, one character each, without a byte order mark. */
  readonly text: string;
  /** How many bytes of the body stand before `text`. */
  readonly offset: number;
}

const DECLARATION = /^<\?xml(?:\s[^]{0,200}?)?\?>/;
const DECLARED_ENCODING = /\sencoding\s*=\s*["']([\w.-]*)["']/;
const ENCODINGS: ReadonlyMap<string, XmlEncoding> = new Map([
  ['utf-8', 'utf-8'],
  ['utf8', 'utf-8'],
  ['us-ascii', 'utf-8'],
  ['ascii', 'utf-8'],
  ['iso-8859-1', 'latin1'],
  ['iso8859-1', 'latin1'],
  ['latin1', 'latin1'],
  ['latin-1', 'latin1'],
  ['windows-1252', 'latin1'],
]);
const UTF8_MARK = '\xef\xbb\xbf';

/** Reads a body as XML. Never throws. */
export function readDocument(body: Buffer): XmlDocument | Unreadable {
  if (body.length === 0) return { unreadable: 'empty' };
  if (body.length > WPI_SIZE_LIMIT) return { unreadable: 'too large' };
  const whole = body.toString('latin1');
  const offset = whole.startsWith(UTF8_MARK) ? UTF8_MARK.length : 0;
  const text = whole.slice(offset);
  const encoding = encodingOf(text);
  if (encoding === null) return { unreadable: 'unknown encoding' };
  const root = readRoot(text);
  return typeof root === 'string' ? { unreadable: root } : { root, encoding, text, offset };
}

function encodingOf(text: string): XmlEncoding | null {
  // UTF-16 and UTF-32, with a byte order mark or seen by the zero beside the `<`.
  if (/^(?:\xff\xfe|\xfe\xff|\0|<\0)/.test(text)) return null;
  const declaration = DECLARATION.exec(text)?.[0] ?? '';
  const declared = DECLARED_ENCODING.exec(declaration)?.[1];
  if (declared !== undefined) return ENCODINGS.get(declared.toLowerCase()) ?? null;
  // A service might find an encoding where none was found here, and read another message.
  const doubtful = declaration === '' ? /^<\?xml[\s?]/.test(text) : declaration.includes('encoding');
  return doubtful ? null : 'utf-8';
}

function readRoot(text: string): XmlElement | UnreadableReason {
  const plain = readPlainXml(text);
  if (plain !== null) return plain;
  for (let at = text.indexOf('<!'); at >= 0; at = text.indexOf('<!', at + 2)) {
    // Only a DOCTYPE can declare entities, and no phone or service needs one.
    if (!text.startsWith('--', at + 2) && !text.startsWith('[CDATA[', at + 2)) {
      return /^doctype/i.test(text.slice(at + 2, at + 9)) ? 'DOCTYPE' : 'not well-formed';
    }
  }
  if (text.length > WPI_UNUSUAL_SIZE_LIMIT) return 'faulty or unusual, and large';
  return readXmlWithLibrary(text) ?? 'not well-formed';
}
