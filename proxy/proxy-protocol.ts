import { plainAddress } from '../shared/address.ts';

/**
 * The PROXY protocol, version 2 (haproxy `proxy-protocol.txt` §2.2): a balancer's first bytes on a connection, which
 * tell the address of the real peer. Version 1, the line of text, is not taken.
 */

/** The 12 bytes that every header begins with. */
const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
/** The signature, version and command, family, and the length of what follows. */
const FIXED_BYTES = 16;
/** The most bytes after the fixed part: addresses and additions (TLVs), which are passed over. */
export const PROXY_HEADER_LIMIT = 1_024;

const VERSION_2 = 0x20;
const LOCAL = 0;
const PROXY = 1;
const TCP4 = 0x11;
const TCP6 = 0x21;
const UNSPECIFIED = 0x00;

/** What a connection's first bytes say. */
export type ProxyHeader =
  /** There is more of it to come. */
  | { result: 'more' }
  /** This is no header that we take; the connection is to be cut. */
  | { result: 'refused'; reason: string }
  /**
   * It took `bytes` bytes. `source` is the real peer; null where the balancer speaks for itself (its own checks) or
   * does not tell, and the connection's own address counts.
   */
  | { result: 'header'; bytes: number; source: { address: string; port: number } | null };

const MORE: ProxyHeader = { result: 'more' };

/** Reads the header at the beginning of `bytes`, all that has come so far. */
export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  const common = Math.min(bytes.length, SIGNATURE.length);
  if (bytes.compare(SIGNATURE, 0, common, 0, common) !== 0) return refused('no PROXY v2 signature');
  if (bytes.length < FIXED_BYTES) return MORE;
  const versionAndCommand = bytes.readUInt8(12);
  const family = bytes.readUInt8(13);
  const length = bytes.readUInt16BE(14);
  if ((versionAndCommand & 0xf0) !== VERSION_2) return refused('another version than 2');
  const command = versionAndCommand & 0x0f;
  if (command !== LOCAL && command !== PROXY) return refused(`unknown command ${command}`);
  if (length > PROXY_HEADER_LIMIT) return refused(`${length} bytes, more than ${PROXY_HEADER_LIMIT}`);
  if (bytes.length < FIXED_BYTES + length) return MORE;

  const end = FIXED_BYTES + length;
  if (command === LOCAL || family === UNSPECIFIED) return { result: 'header', bytes: end, source: null };
  if (family === TCP4 && length >= 12) {
    const address = [...bytes.subarray(16, 20)].join('.');
    return { result: 'header', bytes: end, source: { address, port: bytes.readUInt16BE(24) } };
  }
  if (family === TCP6 && length >= 36) {
    const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(16 + i * 2).toString(16));
    // What a balancer tells of an IPv4 phone that it took on an IPv6 socket.
    const address = plainAddress(groups.join(':'));
    return { result: 'header', bytes: end, source: { address, port: bytes.readUInt16BE(48) } };
  }
  return refused(`family ${family} with ${length} bytes is not TCP over IPv4 or IPv6`);
}

function refused(reason: string): ProxyHeader {
  return { result: 'refused', reason };
}
