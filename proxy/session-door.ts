import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Address } from '../shared/address.ts';
import { parseAllowList } from '../shared/address.ts';
import type { Clock } from '../shared/clock.ts';
import { describeError, SallyportError } from '../shared/errors.ts';
import { listen } from '../shared/listen.ts';
import type { Log } from '../shared/log.ts';
import type { MuxStream } from '../shared/mux-stream.ts';
import { cutOff, splice } from '../shared/splice.ts';
import { tlsProfileOptions } from '../shared/tls-profile.ts';
import type { DoorTls, SessionDoorConfig } from './config.ts';
import type { Site } from './site.ts';

/** Counts connections over all session doors, so that together they stay within one limit. */
export interface SessionSlots {
  take(): boolean;
  give(): void;
  used(): number;
}

export function createSessionSlots(most: number): SessionSlots {
  let used = 0;
  return {
    take() {
      if (used >= most) return false;
      used += 1;
      return true;
    },
    give() {
      used -= 1;
    },
    used: () => used,
  };
}

/** What a session door has counted since it opened. */
export interface SessionDoorStats {
  accepted: number;
  open: number;
  /** Connections that ended by a cut on either side. */
  cut: number;
  /** Refused, by reason: `not_allowed`, `too_many`, `link_down`, `refused`, `tls_handshake`. */
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
  /** Re-reads certificate and key of an inspected door. */
  reload(): void;
  /** Takes no more connections. Resolves when the last one has ended. */
  drain(): Promise<void>;
  /** Cuts what is left. */
  close(): Promise<void>;
}

export async function createSessionDoor(
  config: SessionDoorConfig,
  options: { site: Site; slots: SessionSlots; handshakeMs: number; clock: Clock; log: Log },
): Promise<SessionDoor> {
  const { site, slots } = options;
  const log = options.log.child({ door: config.name });
  const allow = parseAllowList(config.allow);
  const open = new Set<Socket>();
  const refused: Record<string, number> = {};
  let accepted = 0;
  let cut = 0;

  function refuse(socket: Socket, why: string): void {
    refused[why] = (refused[why] ?? 0) + 1;
    socket.on('error', () => undefined);
    cutOff(socket);
  }

  /** A phone's connection, as it goes to the relay: raw, or already decrypted. */
  function lead(socket: Socket, remote: { address: string; port: number }): void {
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
      log.warn('phone connection refused', { address: remote.address, why: describeError(error) });
      return refuse(socket, down ? 'link_down' : 'refused');
    }
    splice(socket, stream, (wasCut) => {
      if (wasCut) cut += 1;
    });
  }

  function remoteOf(socket: Socket): { address: string; port: number } | null {
    const { remoteAddress, remotePort } = socket;
    if (remoteAddress === undefined || remotePort === undefined) return null;
    return { address: remoteAddress.replace(/^::ffff:(?=\d+\.)/, ''), port: remotePort };
  }

  /** First sight of a TCP connection: allowed, and within the limit? */
  function admit(socket: Socket): boolean {
    accepted += 1;
    if (!allow.allows(socket.remoteAddress)) {
      refuse(socket, 'not_allowed');
      return false;
    }
    if (!slots.take()) {
      refuse(socket, 'too_many');
      return false;
    }
    open.add(socket);
    socket.once('close', () => {
      open.delete(socket);
      slots.give();
      if (open.size === 0) emptied?.();
    });
    socket.setNoDelay(true);
    return true;
  }

  let emptied: (() => void) | null = null;
  const { server, reload } = config.tls === 'relay' ? sealed() : inspected(config.tls);

  function sealed(): { server: Server; reload: () => void } {
    const tcp = createServer({ allowHalfOpen: true, highWaterMark: 65_536 }, (socket) => {
      const remote = remoteOf(socket);
      if (remote !== null && admit(socket)) lead(socket, remote);
    });
    return { server: tcp, reload: () => undefined };
  }

  function inspected(tls: DoorTls): { server: Server; reload: () => void } {
    const material = () => ({
      cert: readFileSync(tls.cert),
      key: readFileSync(tls.key),
      ...(tls.clientCa === null ? {} : { ca: readFileSync(tls.clientCa) }),
      ...tlsProfileOptions(tls.profile),
    });
    const secure = createTlsServer({
      ...material(),
      requestCert: tls.clientCa !== null,
      rejectUnauthorized: tls.clientCa !== null,
      handshakeTimeout: options.handshakeMs,
      allowHalfOpen: true,
      ALPNProtocols: ['http/1.1'],
    });
    secure.on('connection', (socket: Socket) => void admit(socket));
    secure.on('tlsClientError', (error, socket) => {
      refused['tls_handshake'] = (refused['tls_handshake'] ?? 0) + 1;
      log.debug('phone handshake failed', { why: describeError(error) });
      socket.destroy();
    });
    secure.on('secureConnection', (socket) => {
      const remote = remoteOf(socket);
      if (remote === null || socket.destroyed) return void socket.destroy();
      lead(socket, remote);
    });
    return { server: secure, reload: () => secure.setSecureContext(material()) };
  }

  const address = await listen(server, config.listen, `session door ${config.name}`);
  server.on('error', (error) => log.error('session door failed', { why: describeError(error) }));
  let closing: Promise<void> | null = null;
  const stop = (): Promise<void> =>
    (closing ??= new Promise((resolve) => {
      server.close(() => resolve());
    }));

  return {
    name: config.name,
    address,
    stats: () => ({ accepted, open: open.size, cut, refused }),
    reload,
    async drain() {
      void stop();
      if (open.size > 0) await new Promise<void>((resolve) => (emptied = resolve));
    },
    close() {
      for (const socket of open) socket.destroy();
      return stop();
    },
  };
}
