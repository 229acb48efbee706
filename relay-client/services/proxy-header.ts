import { isIPv4 } from 'node:net';
import type { Address } from '../../shared/address.ts';
import { addressBytes, plainAddress } from '../../shared/address.ts';

/** The 12 bytes that every header begins with (PROXY protocol, version 2: haproxy `proxy-protocol.txt` §2.2). */
const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const LOCAL = 0x20;
const PROXY = 0x21;
const UNSPECIFIED = 0x00;
const TCP4 = 0x11;
const TCP6 = 0x21;

/**
 * The first bytes of a connection that is made for somebody else, and tells for whom.
 *
 * @param source - for whom; null = we speak for ourselves. A host that is no address is told as unknown
 * @param destination - what the connection was made to; told only beside a source of the same family
 */
export function encodeProxyHeader(source: Address | null, destination: Address): Buffer {
  if (source === null) return header(LOCAL, UNSPECIFIED, []);
  const from = addressBytes(source.host);
  const to = addressBytes(destination.host);
  if (from === null) return header(PROXY, UNSPECIFIED, []);
  const isV4 = isIPv4(plainAddress(source.host));
  const sameFamily = to !== null && isIPv4(plainAddress(destination.host)) === isV4;
  // An address in its 16 bytes ends in its IPv4 ones.
  const shown = (bytes: Uint8Array): Uint8Array => (isV4 ? bytes.subarray(12) : bytes);
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(source.port, 0);
  ports.writeUInt16BE(sameFamily ? destination.port : 0, 2);
  const target = sameFamily ? to : new Uint8Array(16);
  return header(PROXY, isV4 ? TCP4 : TCP6, [shown(from), shown(target), ports]);
}

function header(command: number, family: number, parts: readonly Uint8Array[]): Buffer {
  const rest = Buffer.concat(parts);
  const fixed = Buffer.from([command, family, rest.length >> 8, rest.length & 0xff]);
  return Buffer.concat([SIGNATURE, fixed, rest]);
}
