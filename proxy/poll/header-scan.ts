import type { PollLimits } from './limits.ts';

/** How far the header of a connection's present request has been looked at. Offsets are from the request's start. */
export interface ScanState {
  /** Bytes looked at. */
  seen: number;
  /** Where the line begins that is being looked at. */
  line: number;
  /** Bytes of the empty line before the request line, if there was one: 0 or 2. */
  blank: number;
}

/** What a scan has found: the header's length, or {@link MORE}, or one of the refusals. */
export type ScanResult = number;
/** The header goes on beyond the bytes at hand. */
export const MORE = 0;
/** A byte that no header has, or a line that does not end in CR LF. */
export const MALFORMED = -400;
/** A request line or a header over its limit. */
export const TOO_LONG = -503;

const TAB = 9;
const LF = 10;
const CR = 13;
const DEL = 127;

/** 1 for CR, LF and the control characters, which all need a closer look. */
const SPECIAL = new Uint8Array(256);
SPECIAL.fill(1, 0, 32);
SPECIAL[TAB] = 0;
SPECIAL[DEL] = 1;

/**
 * Looks for the end of the header that begins at `start`, going on where the last call for it stopped, so that
 * input in any number of pieces gives the same result and each byte is looked at once.
 *
 * Lines end in CR LF and nothing else (RFC 9112 §2.2 lets a server refuse a bare LF, and demands it for a bare CR);
 * one empty line before the request line is passed over (same section).
 */
export function scanHeader(
  bytes: Uint8Array,
  start: number,
  state: ScanState,
  limits: PollLimits,
): ScanResult {
  const length = bytes.length - start;
  let at = state.seen;
  let line = state.line;
  // The last place for the CR that ends the present line.
  let last = line === state.blank ? line + limits.requestLineBytes : limits.headerBytes - 2;
  let result: ScanResult = MORE;
  for (; at < length; at++) {
    const byte = bytes[start + at] ?? 0;
    if (at >= last && (at > last || byte !== CR)) {
      result = TOO_LONG;
      break;
    }
    if (SPECIAL[byte] === 0) continue;
    if (byte !== CR) {
      result = MALFORMED;
      break;
    }
    if (at + 1 === length) break;
    if (bytes[start + at + 1] !== LF) {
      result = MALFORMED;
      break;
    }
    const empty = at === line;
    at++;
    line = at + 1;
    if (empty) {
      if (line === 2 && state.blank === 0) {
        state.blank = 2;
        last = line + limits.requestLineBytes;
      } else {
        result = line - 2 === state.blank ? MALFORMED : line;
        break;
      }
    } else last = limits.headerBytes - 2;
  }
  state.seen = at;
  state.line = line;
  return result;
}
