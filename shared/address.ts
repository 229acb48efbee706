import { isIP, isIPv4, isIPv6 } from 'node:net';
import { SallyportError } from './errors.ts';

/** Where to listen or to connect. `host` is a name, an IPv4 or an IPv6 address without brackets. */
export interface Address {
  host: string;
  /** 0 to 65535; 0 when listening = a free port of the system's choice. */
  port: number;
}

/**
 * Reads `host:port`, `1.2.3.4:port` or `[::1]:port`.
 *
 * @throws SallyportError `ADDRESS_INVALID`
 */
export function parseAddress(text: string): Address {
  const match = /^(?:\[([^\]]*)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? '';
  const port = Number(match?.[3]);
  const bracketed = match?.[1] !== undefined;
  if (match === null || port > 65_535 || (bracketed ? !isIPv6(host) : !isHost(host))) {
    throw new SallyportError(
      'ADDRESS_INVALID',
      `Address ${JSON.stringify(text)} is not understood; write host:port, 0.0.0.0:port or [::]:port, port 0 to 65535`,
    );
  }
  return { host, port };
}

/** The text that {@link parseAddress} reads back. */
export function formatAddress(address: Address): string {
  return isIPv6(address.host) ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** Whether the address means every interface of the machine, so that no peer could dial it as written. */
export function isWildcard(address: Address): boolean {
  const bytes = addressBytes(address.host);
  return (
    bytes !== null && bytes.every((byte, i) => byte === 0 || (i === 10 || i === 11 ? byte === 255 : false))
  );
}

function isHost(host: string): boolean {
  // A last label of digits only would be an address, so it has to be a good one.
  return (
    isIP(host) !== 0 || (/^[0-9A-Za-z_]([0-9A-Za-z_.-]{0,252})$/.test(host) && !/(^|\.)\d+\.?$/.test(host))
  );
}

/** Networks from which connections are taken. */
export interface AllowList {
  /** Whether every peer of a listener on `host` is allowed; then nobody needs to ask for its address. */
  allowsAll(host: string): boolean;
  /** Whether `address`, as `socket.remoteAddress` tells it, is in one of the networks; undefined never is. */
  allows(address: string | undefined): boolean;
}

interface Network {
  bytes: Uint8Array;
  bits: number;
}

/** How many bits of the 128 stand before an IPv4 address in its IPv6 form, `::ffff:0:0/96`. */
const MAPPED_BITS = 96;

/**
 * Reads networks as `10.0.0.0/8`, `2001:db8::/32` or a single address. An IPv4 network also covers its mapped
 * form (`::ffff:10.0.0.1`), which is what a socket listening on `[::]` reports. An empty list allows nobody.
 *
 * @throws SallyportError `ADDRESS_INVALID` at the first network not understood
 */
export function parseAllowList(networks: readonly string[]): AllowList {
  const list = networks.map(parseNetwork);
  return {
    allowsAll: (host) => list.some((network) => network.bits === 0 || (isIPv4(host) && coversIPv4(network))),
    allows(address) {
      const bytes = address === undefined ? null : addressBytes(address);
      return bytes !== null && list.some((network) => contains(network, bytes));
    },
  };
}

/** The list that allows every address. */
export const allowEverything: AllowList = { allowsAll: () => true, allows: () => true };

function coversIPv4(network: Network): boolean {
  return network.bits <= MAPPED_BITS && contains(network, mapped(0, 0, 0, 0));
}

function parseNetwork(text: string): Network {
  const match = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text);
  const bytes = addressBytes(match?.[1] ?? '');
  const offset = isIPv6(match?.[1] ?? '') ? 0 : MAPPED_BITS;
  const bits = match?.[2] === undefined ? 128 : offset + Number(match[2]);
  if (bytes === null || bits > 128) {
    throw new SallyportError(
      'ADDRESS_INVALID',
      `Network ${JSON.stringify(text)} is not understood; write an address or a range such as 10.0.0.0/8 or 2001:db8::/32`,
    );
  }
  return { bytes, bits };
}

function contains(network: Network, bytes: Uint8Array): boolean {
  const whole = network.bits >> 3;
  for (let i = 0; i < whole; i++) if (network.bytes[i] !== bytes[i]) return false;
  const rest = network.bits & 7;
  if (rest === 0) return true;
  const mask = (0xff << (8 - rest)) & 0xff;
  return ((network.bytes[whole] ?? 0) & mask) === ((bytes[whole] ?? 0) & mask);
}

/** The 16 bytes of an address, an IPv4 one in its mapped form; null where `text` is no address. */
export function addressBytes(text: string): Uint8Array | null {
  const bare = text.replace(/%.*$/, '');
  const version = isIP(bare);
  if (version === 0) return null;
  if (version === 4) {
    const [a = 0, b = 0, c = 0, d = 0] = bare.split('.').map(Number);
    return mapped(a, b, c, d);
  }
  const bytes = new Uint8Array(16);
  const [head = '', tail] = bare.split('::');
  const front = groups(head);
  const back = tail === undefined ? [] : groups(tail);
  front.forEach((group, i) => setGroup(bytes, i, group));
  back.forEach((group, i) => setGroup(bytes, 8 - back.length + i, group));
  return bytes;
}

/** The address as people know it: an IPv4 one that came over an IPv6 socket, however it is spelt, as four numbers. */
export function plainAddress(address: string): string {
  const bytes = isIPv6(address) ? addressBytes(address) : null;
  if (bytes === null || !mapped(0, 0, 0, 0).every((byte, i) => i >= MAPPED_BITS / 8 || byte === bytes[i])) {
    return address;
  }
  return bytes.subarray(MAPPED_BITS / 8).join('.');
}

/**
 * What counts as one peer where connections are counted by address: an IPv4 address, or the 64 bits of an IPv6 network,
 * since one host has all of those addresses (RFC 6177 §2). Text that is no address stands for itself.
 */
export function peerGroup(address: string): string {
  const plain = plainAddress(address);
  const bytes = isIPv4(plain) ? null : addressBytes(plain);
  return bytes === null ? plain : Buffer.from(bytes.subarray(0, 8)).toString('hex');
}

function mapped(a: number, b: number, c: number, d: number): Uint8Array {
  return Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d);
}

function groups(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((part) => {
    if (!part.includes('.')) return [parseInt(part, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = part.split('.').map(Number);
    return [(a << 8) | b, (c << 8) | d];
  });
}

function setGroup(bytes: Uint8Array, index: number, group: number): void {
  bytes[index * 2] = group >> 8;
  bytes[index * 2 + 1] = group & 0xff;
}

/**
 * The error to throw when listening failed: `ADDRESS_IN_USE`, or `ADDRESS_INVALID` where the system refuses the
 * address itself.
 *
 * @param who - what wanted to listen, as a sentence begins: `The poll door`
 */
export function listenError(
  who: string,
  address: Address,
  cause: { code?: string; message: string },
): SallyportError {
  const where = `${who} cannot listen on ${formatAddress(address)}`;
  switch (cause.code) {
    case 'EADDRINUSE':
      return new SallyportError(
        'ADDRESS_IN_USE',
        `${where}: another program does; stop it or choose another port`,
        { cause },
      );
    case 'EACCES':
      return new SallyportError(
        'ADDRESS_INVALID',
        `${where}: ports below 1024 need CAP_NET_BIND_SERVICE; grant it or choose another port`,
        { cause },
      );
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new SallyportError(
        'ADDRESS_INVALID',
        `${where}: this machine has no such address; choose one of its own`,
        { cause },
      );
    default:
      return new SallyportError('ADDRESS_INVALID', `${where}: ${cause.message}`, { cause });
  }
}
