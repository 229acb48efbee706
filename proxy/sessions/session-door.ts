import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { LRUCache } from 'lru-cache';
import type { Address } from '../../shared/address.ts';
import { allowEverything, parseAllowList, peerGroup, plainAddress } from '../../shared/address.ts';
import type { CertificateUse } from '../../shared/certificates.ts';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { AWAY_MS, sessionsFinished, toldOnesFinished } from '../../shared/finish.ts';
import { listen } from '../../shared/listen.ts';
import type { Sharing } from '../../shared/listen.ts';
import type { Log } from '../../shared/log.ts';
import type { MuxStream } from '../../shared/mux-stream.ts';
import { cutOff, splice } from '../../shared/splice.ts';
import type { DoorTls, SessionDoorConfig } from '../config.ts';
import type { Pace } from './pace.ts';
import { readProxyHeader } from './proxy-header.ts';
import type { Site } from '../site.ts';
import { createProcessTlsEnd } from '../tls-end/own-process.ts';
import { createOwnTlsEnd } from '../tls-end/own-thread.ts';
import type { TlsEnd } from '../tls-end/tls-end.ts';

/** Addresses remembered for having had a connection just now. */
const LEFT_ADDRESSES = 10_000;

/** Counts connections over all session doors, so that together they stay within one limit, and each address in its. */
export interface SessionSlots {
  readonly most: number;
  /** Takes one of all slots. */
  take(): boolean;
  /** Counts it to its address, once that is known. @returns false where the address has its share */
  share(address: string): boolean;
  /** Gives a slot back. @param address - the one that it was counted to; null = none */
  give(address: string | null): void;
  used(): number;
}

/**
 * @param most - slots in all
 * @param perAddress - an address's share. It may have more while all doors together carry less than twice that: many
 *   phones stand behind one address, and as connections end the share is free again.
 */
export function createSessionSlots(most: number, perAddress: number): SessionSlots {
  const shares = new Map<string, number>();
  let used = 0;
  return {
    most,
    take() {
      if (used >= most) return false;
      used += 1;
      return true;
    },
    share(address) {
      const group = peerGroup(address);
      const share = (shares.get(group) ?? 0) + 1;
      if (share > perAddress && used > 2 * perAddress) return false;
      shares.set(group, share);
      return true;
    },
    give(address) {
      used -= 1;
      if (address === null) return;
      const group = peerGroup(address);
      const left = (shares.get(group) ?? 1) - 1;
      if (left === 0) shares.delete(group);
      else shares.set(group, left);
    },
    used: () => used,
  };
}

/** Counts the connections of one site. */
export interface Slots {
  /** @returns false where all are taken */
  take(): boolean;
  give(): void;
}

export function createSlots(most: number): Slots {
  let used = 0;
  return {
    take() {
      if (used >= most) return false;
      used += 1;
      return true;
    },
    give: () => void (used -= 1),
  };
}

/** What a session door has counted since it opened. */
export interface SessionDoorStats {
  accepted: number;
  open: number;
  /** Connections that ended by a cut on either side. */
  cut: number;
  /** Refused, by reason: `not_allowed`, `too_many`, `site_full`, `address_full`, `link_down`, `refused`, `proxy_header`, `tls_handshake`. */
  refused: Readonly<Record<string, number>>;
}

/**
 * A TCP listener whose connections go, byte for byte, through a stream lane to the relay. What passes is not parsed
 * here, and with `tls: relay` it could not be.
 */
export interface SessionDoor {
  readonly name: string;
  readonly address: Address;
  stats(): SessionDoorStats;
  /** The certificate that an inspected door shows now; null for a sealed one. */
  certificate(): CertificateUse | null;
  /** Re-reads certificate and key of an inspected door. */
  reload(): void;
  /**
   * Resolves once no session runs whose phone has a connection here, or had one just now, or at `until` at the latest. Takes
   * connections all the while: some phones open one for each message of a session.
   */
  finish(until: Milliseconds): Promise<void>;
  /** Takes no more connections. Resolves when the last one has ended. */
  drain(): Promise<void>;
  /** Cuts what is left. */
  close(): Promise<void>;
}

export async function createSessionDoor(
  config: SessionDoorConfig,
  options: {
    site: Site;
    slots: SessionSlots;
    /** The places of its site, at all its doors. */
    siteSlots?: Slots;
    /** What slows the connections of its site down, from phones and to them; left out = nothing. */
    paces?: { up: Pace; down: Pace };
    handshakeMs: Milliseconds;
    /** How long after the loss of a link a phone may wait for the next one; default 0 = it is refused at once. */
    linkWaitMs?: Milliseconds;
    sharing?: Sharing;
    clock: Clock;
    log: Log;
  },
): Promise<SessionDoor> {
  const { site, slots, siteSlots = createSlots(Infinity), linkWaitMs = 0 } = options;
  const log = options.log.child({ door: config.name });
  const allow = parseAllowList(config.allow);
  const balancers =
    config.proxyProtocolFrom === undefined ? allowEverything : parseAllowList(config.proxyProtocolFrom);
  /** Each with the address of its phone, once that is known. */
  const open = new Map<Socket, string | null>();
  /** When the last connection of an address was over. */
  const left = new LRUCache<string, Milliseconds>({ max: LEFT_ADDRESSES });
  const refused: Record<string, number> = {};
  let accepted = 0;
  let cut = 0;

  function refuse(socket: Duplex, why: string): null {
    refused[why] = (refused[why] ?? 0) + 1;
    socket.on('error', () => undefined);
    cutOff(socket);
    return null;
  }

  /** A phone's connection, as it goes to the relay: raw, or already decrypted. It may wait once, for a link that is made. */
  function lead(socket: Duplex, remote: Remote, mayWait = linkWaitMs > 0): void {
    let stream: MuxStream;
    try {
      stream = site.open({
        service: config.service,
        door: config.name,
        ...remote,
        tls: config.tls === 'relay' ? 'relay' : 'proxy',
      });
    } catch (error) {
      const down = error instanceof SallyportError && error.code === 'LINK_DOWN';
      if (down && mayWait) {
        // Until it is spliced nobody else listens, and an error without a listener would end the process.
        socket.on('error', () => undefined);
        void site.usable(linkWaitMs).then(() => {
          if (!socket.destroyed) lead(socket, remote, false);
        });
        return;
      }
      log.warn('phone connection refused', { address: remote.address, why: describeError(error) });
      refuse(socket, down ? 'link_down' : 'refused');
      return;
    }
    const { paces } = options;
    const flows = paces === undefined ? undefined : { a: paces.up.flow(), b: paces.down.flow() };
    splice(
      socket,
      stream,
      (wasCut) => {
        if (wasCut) cut += 1;
      },
      flows,
    );
  }

  /** First sight of a TCP connection: allowed, and within the limit? Resolves to the phone's end of it. */
  async function admit(socket: Socket): Promise<Remote | null> {
    accepted += 1;
    if (!slots.take()) return refuse(socket, 'too_many');
    if (!siteSlots.take()) {
      slots.give(null);
      return refuse(socket, 'site_full');
    }
    open.set(socket, null);
    let counted: string | null = null;
    socket.once('close', () => {
      open.delete(socket);
      if (counted !== null) left.set(counted, options.clock.monotonic());
      slots.give(counted);
      siteSlots.give();
      if (open.size === 0) emptied?.();
    });
    socket.setNoDelay(true);
    let remote = remoteOf(socket);
    if (config.proxyProtocol) {
      if (remote === null || !balancers.allows(remote.address)) return refuse(socket, 'not_allowed');
      try {
        remote = (await readProxyHeader(socket, options.clock, options.handshakeMs)) ?? remote;
      } catch (error) {
        log.debug('PROXY header refused', { why: describeError(error) });
        return refuse(socket, 'proxy_header');
      }
    }
    if (remote === null || !allow.allows(remote.address)) return refuse(socket, 'not_allowed');
    if (socket.destroyed) return null;
    if (!slots.share(remote.address)) return refuse(socket, 'address_full');
    counted = remote.address;
    open.set(socket, counted);
    return remote;
  }

  let emptied: (() => void) | null = null;
  const secure = config.tls === 'relay' ? null : await endTls(config.tls, { ...options, log });
  // A connection that is not yet admitted must not be read, or its first bytes would go nowhere.
  const server = createServer(
    // Of a phone that ends during its TLS handshake nothing may be left; afterwards it may end one direction alone.
    { allowHalfOpen: secure === null, pauseOnConnect: true, highWaterMark: 65_536 },
    (socket) => {
      void admit(socket).then((remote) => {
        if (remote === null) return;
        if (secure === null) return lead(socket, remote);
        let led = false;
        // Counted here, as Node says nothing of a certificate that it doesn't trust.
        socket.once('close', () => {
          if (!led) refused['tls_handshake'] = (refused['tls_handshake'] ?? 0) + 1;
        });
        // Until the handshake has listeners of its own, an error without one would end the process.
        socket.on('error', () => socket.destroy());
        secure.accept(socket, (clear) => {
          led = true;
          lead(clear, remote);
        });
      });
    },
  );

  const address = await listen(server, config.listen, `Session door ${config.name}`, options.sharing).catch(
    (error: unknown) => {
      secure?.close();
      throw error;
    },
  );
  server.on('error', (error) => log.error('session door failed', { why: describeError(error) }));
  let closing: Promise<void> | null = null;
  const stop = (): Promise<void> =>
    (closing ??= new Promise((resolve) => {
      server.close(() => {
        secure?.close();
        resolve();
      });
    }));

  return {
    name: config.name,
    address,
    stats: () => ({ accepted, open: open.size, cut, refused }),
    certificate: () =>
      secure === null ? null : { name: `door ${config.name}`, notAfter: secure.notAfter() },
    reload: () => secure?.reload(),
    async finish(until) {
      const now = options.clock.monotonic();
      const here = new Set(open.values());
      for (const [address, at] of left.entries()) if (now - at < AWAY_MS) here.add(address);
      const connections = (): number => {
        let count = 0;
        for (const address of open.values()) if (address !== null && here.has(address)) count += 1;
        return count;
      };
      const finished = here.size === 0 ? sessionsFinished : toldOnesFinished;
      await finished({ sessions: site.sessions, connections }, options.clock, until);
    },
    async drain() {
      void stop();
      if (open.size > 0) await new Promise<void>((resolve) => (emptied = resolve));
    },
    close() {
      // Phones must not take it for the end of what they were being sent.
      for (const socket of open.keys()) cutOff(socket);
      return stop();
    },
  };
}

/** Phones of old firmware speak a TLS of old, which is kept apart from everything else. */
function endTls(
  tls: DoorTls,
  options: { slots: SessionSlots; handshakeMs: number; clock: Clock; log: Log },
): TlsEnd | Promise<TlsEnd> {
  const { slots, ...more } = options;
  return tls.profile === 'legacy'
    ? createProcessTlsEnd(tls, { ...more, most: slots.most })
    : createOwnTlsEnd(tls, more);
}

/** Where a phone is. */
interface Remote {
  address: string;
  port: number;
}

function remoteOf(socket: Socket): Remote | null {
  const { remoteAddress, remotePort } = socket;
  if (remoteAddress === undefined || remotePort === undefined) return null;
  return { address: plainAddress(remoteAddress), port: remotePort };
}
