import { DEVICE_ID_LIMIT, readDeviceId } from '../../shared/device-id.ts';
import { SITE_BYTES, writeSite } from '../marks-layout.ts';
import type { Routes } from './routes.ts';

/** What a request is: a poll, or the status with which it is refused. */
export type RequestKind = 'poll' | 400 | 404 | 405;

/** The most bytes of a method name; the longest registered one has 17. */
const METHOD_LIMIT = 32;

const TAB = 0x09;
const CR = 0x0d;
const SPACE = 0x20;
const HASH = 0x23;
const PERCENT_END = 0x7f;
const AMPERSAND = 0x26;
const COMMA = 0x2c;
const SLASH = 0x2f;
const ZERO = 0x30;
const ONE = 0x31;
const COLON = 0x3a;
const QUESTION = 0x3f;
const AT = 0x40;

const GET = Buffer.from('GET');
const HEAD = Buffer.from('HEAD');
const VERSION = Buffer.from('HTTP/1.');
const SCHEMES = [Buffer.from('http://'), Buffer.from('https://')];
const DEVICE_ID_KEY = Buffer.from('device-id=');
const HOST = Buffer.from('host');
const CONNECTION = Buffer.from('connection');
const CONTENT_LENGTH = Buffer.from('content-length');
const TRANSFER_ENCODING = Buffer.from('transfer-encoding');
const CLOSE = Buffer.from('close');
const KEEP_ALIVE = Buffer.from('keep-alive');

/** 1 for the characters of a token (RFC 9110 §5.6.2). */
const TOKEN = new Uint8Array(256);
for (const char of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
  TOKEN[char.charCodeAt(0)] = 1;
}

/**
 * Reads one request header, strictly: what it does not recognise it refuses. One reader serves all connections of
 * a thread; the fields tell of the request that was read last.
 */
export class RequestReader {
  /** Whether the connection may stay open by the request's own version and `Connection` field. */
  keepAlive = false;
  /** The request's version: 0 for HTTP/1.0, 1 for HTTP/1.1. */
  minor = 1;
  /** The site polled. */
  site = 0;
  /** The site's number, then the canonical device id: what the marks are asked with. */
  readonly key = Buffer.alloc(SITE_BYTES + DEVICE_ID_LIMIT);
  /** Where the device id ends in {@link key}. */
  keyEnd = SITE_BYTES;
  /** Where the secret stands in the bytes that were read, empty where it is missing; null = the site wants none. */
  secret: Routes['secret'] = null;

  readonly #routes: Routes;
  #hosts = 0;
  #hasBody = false;
  #close = false;
  #stay = false;

  constructor(routes: Routes) {
    this.#routes = routes;
  }

  /**
   * Reads the header in `bytes[start, end)`, which ends with its empty line and holds no control character but
   * tabs and the line ends.
   */
  read(bytes: Uint8Array, start: number, end: number): RequestKind {
    this.keepAlive = false;
    this.minor = 1;

    let at = start;
    while (TOKEN[bytes[at] ?? 0] === 1) at++;
    const methodEnd = at;
    if (methodEnd === start || methodEnd - start > METHOD_LIMIT || bytes[at] !== SPACE) return 400;

    const target = ++at;
    let query = -1;
    for (; ; at++) {
      const byte = bytes[at] ?? 0;
      if (byte <= SPACE || byte >= PERCENT_END || byte === HASH) break;
      if (byte === QUESTION && query === -1) query = at;
    }
    const targetEnd = at;
    if (targetEnd === target || bytes[at] !== SPACE) return 400;

    const versionEnd = at + 1 + VERSION.length;
    if (!startsWith(bytes, at + 1, VERSION) || bytes[versionEnd + 1] !== CR) return 400;
    if (bytes[versionEnd] === ZERO) this.minor = 0;
    else if (bytes[versionEnd] !== ONE) return 400;

    if (!this.#readFields(bytes, versionEnd + 3, end)) return 400;
    if (this.#hosts > 1 || (this.#hosts === 0 && this.minor === 1)) return 400;

    const pathEnd = query === -1 ? targetEnd : query;
    const path = pathStart(bytes, target, pathEnd);
    const site = path === -1 ? -1 : this.#routes.siteOf(bytes, path, pathEnd);
    if (site === -1) return 404;
    if (!equals(bytes, target - 1, start, GET) && !equals(bytes, target - 1, start, HEAD)) return 405;
    if (this.#hasBody || query === -1 || !this.#readQuery(bytes, query + 1, targetEnd)) return 400;

    this.site = site;
    this.secret = this.#routes.secret;
    writeSite(this.key, site);
    this.keepAlive = !this.#close && (this.minor === 1 || this.#stay);
    return 'poll';
  }

  /** Reads the header fields. @returns false where one is malformed */
  #readFields(bytes: Uint8Array, start: number, end: number): boolean {
    this.#hosts = 0;
    this.#hasBody = false;
    this.#close = false;
    this.#stay = false;
    let lengths = 0;
    let at = start;
    while (at < end - 2) {
      const name = at;
      while (TOKEN[bytes[at] ?? 0] === 1) at++;
      // An empty name is a folded line (RFC 9112 §5.2) or no field at all; a blank before the colon is refused by §5.1.
      if (at === name || bytes[at] !== COLON) return false;
      const nameEnd = at;
      let value = at + 1;
      while (bytes[value] === SPACE || bytes[value] === TAB) value++;
      at = value;
      while (bytes[at] !== CR) at++;
      let valueEnd = at;
      while (valueEnd > value && (bytes[valueEnd - 1] === SPACE || bytes[valueEnd - 1] === TAB)) valueEnd--;
      at += 2;

      switch (nameEnd - name) {
        case HOST.length:
          if (!startsWithAnyCase(bytes, name, HOST)) break;
          this.#hosts++;
          if (!isHostValue(bytes, value, valueEnd)) return false;
          break;
        case CONNECTION.length:
          if (startsWithAnyCase(bytes, name, CONNECTION)) this.#readConnection(bytes, value, valueEnd);
          break;
        case CONTENT_LENGTH.length:
          if (!startsWithAnyCase(bytes, name, CONTENT_LENGTH)) break;
          if (++lengths > 1 || value === valueEnd) return false;
          for (let i = value; i < valueEnd; i++) {
            const digit = (bytes[i] ?? 0) - ZERO;
            if (digit < 0 || digit > 9) return false;
            if (digit !== 0) this.#hasBody = true;
          }
          break;
        case TRANSFER_ENCODING.length:
          if (startsWithAnyCase(bytes, name, TRANSFER_ENCODING)) this.#hasBody = true;
          break;
      }
    }
    return true;
  }

  /** Reads a list of connection options; all others than these two mean nothing here. */
  #readConnection(bytes: Uint8Array, start: number, end: number): void {
    let at = start;
    while (at < end) {
      let option = at;
      while (at < end && bytes[at] !== COMMA) at++;
      let optionEnd = at++;
      while (option < optionEnd && (bytes[option] === SPACE || bytes[option] === TAB)) option++;
      while (optionEnd > option && (bytes[optionEnd - 1] === SPACE || bytes[optionEnd - 1] === TAB))
        optionEnd--;
      const length = optionEnd - option;
      if (length === CLOSE.length && startsWithAnyCase(bytes, option, CLOSE)) this.#close = true;
      else if (length === KEEP_ALIVE.length && startsWithAnyCase(bytes, option, KEEP_ALIVE))
        this.#stay = true;
    }
  }

  /** Reads the device id. @returns false where it is missing, malformed or there twice */
  #readQuery(bytes: Uint8Array, start: number, end: number): boolean {
    let found = false;
    let at = start;
    while (at < end) {
      const pair = at;
      while (at < end && bytes[at] !== AMPERSAND) at++;
      const value = pair + DEVICE_ID_KEY.length;
      if (value <= at && startsWith(bytes, pair, DEVICE_ID_KEY)) {
        if (found) return false;
        const length = readDeviceId(bytes, value, at, this.key, SITE_BYTES);
        if (length === 0) return false;
        this.keyEnd = SITE_BYTES + length;
        found = true;
      }
      at++;
    }
    return found;
  }
}

/**
 * Where the path begins in a target of origin form, or of absolute form, which a server has to accept (RFC 9112
 * §3.2.2).
 *
 * @returns -1 for any other target
 */
function pathStart(bytes: Uint8Array, target: number, end: number): number {
  if (bytes[target] === SLASH) return target;
  for (const scheme of SCHEMES) {
    if (!startsWithAnyCase(bytes, target, scheme)) continue;
    let at = target + scheme.length;
    while (at < end && bytes[at] !== SLASH) at++;
    return at === end || at === target + scheme.length ? -1 : at;
  }
  return -1;
}

/** Whether a `Host` value could be one (RFC 9110 §7.2): it may be empty, but is a single host and port. */
function isHostValue(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const byte = bytes[i] ?? 0;
    if (byte <= SPACE || byte >= PERCENT_END) return false;
    if (byte === SLASH || byte === QUESTION || byte === HASH || byte === AT || byte === COMMA) return false;
  }
  return true;
}

function equals(bytes: Uint8Array, end: number, start: number, word: Uint8Array): boolean {
  return end - start === word.length && startsWith(bytes, start, word);
}

function startsWith(bytes: Uint8Array, start: number, word: Uint8Array): boolean {
  for (let i = 0; i < word.length; i++) if (bytes[start + i] !== word[i]) return false;
  return true;
}

/** @param word - in lower case; a letter's cases differ in one bit, other characters have to be as they are */
function startsWithAnyCase(bytes: Uint8Array, start: number, word: Uint8Array): boolean {
  for (let i = 0; i < word.length; i++) {
    const wanted = word[i] ?? 0;
    const byte = bytes[start + i] ?? 0;
    if (byte !== wanted && !(wanted >= 0x61 && wanted <= 0x7a && (byte | 0x20) === wanted)) return false;
  }
  return true;
}
