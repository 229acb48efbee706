/**
 * The canonical name of a device: lower case, a MAC with colons (`00:1a:e8:00:00:01`). Two spellings of one
 * device give the same `DeviceId`, so it may be compared with `===` and used as a key.
 */
export type DeviceId = string & { readonly [canonical]: true };
declare const canonical: unique symbol;

/** The longest device id in characters, before and after it is made canonical. */
export const DEVICE_ID_LIMIT = 64;

const MAC_DIGITS = 12;
const MAC_LENGTH = 17;

/** What a byte means in a device id: its canonical byte, or 0 where it is not allowed. */
const CANONICAL = new Uint8Array(256);
/** 1 for a lower-case hex digit. */
const HEX = new Uint8Array(256);
/** The value of a hex digit of either case, or 255. */
const NIBBLE = new Uint8Array(256).fill(255);
for (const char of '0123456789abcdefghijklmnopqrstuvwxyz:.-_+') {
  CANONICAL[char.charCodeAt(0)] = char.charCodeAt(0);
  CANONICAL[char.toUpperCase().charCodeAt(0)] = char.charCodeAt(0);
}
for (const char of '0123456789abcdef') {
  HEX[char.charCodeAt(0)] = 1;
  NIBBLE[char.charCodeAt(0)] = parseInt(char, 16);
  NIBBLE[char.toUpperCase().charCodeAt(0)] = parseInt(char, 16);
}

const PERCENT = 0x25;
const COLON = 0x3a;
const DASH = 0x2d;
const DOT = 0x2e;

/**
 * Reads a device id as people and programs write it.
 *
 * Twelve hex digits are a MAC, in either case and with any `:` `-` `.` between them. Anything else is 1 to 64
 * characters of `0-9 A-Z a-z : . - _ +`, of which case does not matter.
 *
 * @returns null where `raw` is no device id
 */
export function parseDeviceId(raw: string): DeviceId | null {
  if (!/^[0-9A-Za-z:.\-_+]{1,64}$/.test(raw)) return null;
  const lower = raw.toLowerCase();
  const digits = lower.replaceAll(/[:.-]/g, '');
  if (!/^[0-9a-f]{12}$/.test(digits)) return lower as DeviceId;
  return (digits.match(/../g) ?? []).join(':') as DeviceId;
}

/**
 * Reads a device id from the bytes of a URL query, percent-decoding as it goes (`+` is itself, not a space),
 * and writes its canonical form to `out` at `at`. Agrees with {@link parseDeviceId} of the decoded text; it
 * exists because a poll door does this for every poll and a string costs more than the rest of the poll.
 *
 * @param out - room for {@link DEVICE_ID_LIMIT} bytes from `at`
 * @returns the canonical form's length in bytes; 0 where the bytes are no device id
 */
export function readDeviceId(
  bytes: Uint8Array,
  start: number,
  end: number,
  out: Uint8Array,
  at: number,
): number {
  let length = 0;
  let digits = 0;
  let others = 0;
  for (let i = start; i < end; i++) {
    let byte = bytes[i] ?? 0;
    if (byte === PERCENT) {
      if (i + 2 >= end) return 0;
      const high = NIBBLE[bytes[i + 1] ?? 0] ?? 255;
      const low = NIBBLE[bytes[i + 2] ?? 0] ?? 255;
      if (high > 15 || low > 15) return 0;
      byte = (high << 4) | low;
      i += 2;
    }
    const value = CANONICAL[byte] ?? 0;
    if (value === 0 || length === DEVICE_ID_LIMIT) return 0;
    out[at + length++] = value;
    if (HEX[value] === 1) digits++;
    else if (value !== COLON && value !== DASH && value !== DOT) others++;
  }
  return digits === MAC_DIGITS && others === 0 ? spellMac(out, at, length) : length;
}

/** Brings the twelve digits among `length` bytes into the form `00:1a:e8:00:00:01`. */
function spellMac(out: Uint8Array, at: number, length: number): number {
  // Digits are first packed to the front, then spread from the back, so that no second buffer is needed.
  let packed = 0;
  for (let i = 0; i < length; i++) {
    const byte = out[at + i] ?? 0;
    if (HEX[byte] === 1) out[at + packed++] = byte;
  }
  for (let pair = MAC_DIGITS / 2 - 1; pair >= 0; pair--) {
    out[at + pair * 3 + 1] = out[at + pair * 2 + 1] ?? 0;
    out[at + pair * 3] = out[at + pair * 2] ?? 0;
    if (pair > 0) out[at + pair * 3 - 1] = COLON;
  }
  return MAC_LENGTH;
}
