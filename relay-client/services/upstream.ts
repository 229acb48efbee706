import type { Readable } from 'node:stream';
import { Client } from 'undici';
import type { Dispatcher } from 'undici';
import type { Address } from '../../shared/address.ts';
import type { Clock } from '../../shared/clock.ts';
import { SallyportError } from '../../shared/errors.ts';
import { readAuthorities } from './authorities.ts';
import type { Forwarded, UpstreamTlsConfig } from './config.ts';
import { createTlsDialler, dialTcp } from './dial.ts';
import type { Dialled, DialManner, DialTls, TlsDialler } from './dial.ts';
import type { WpiLimits } from './limits.ts';
import type { Probe } from './probe.ts';
import { createProbe } from './probe.ts';
import { encodeProxyHeader } from './proxy-header.ts';
import type { PhoneOrigin } from './service.ts';

/** A request as it goes upstream. */
export interface UpstreamRequest {
  method: string;
  target: string;
  /** End-to-end headers. No Content-Length beside a Buffer; beside a stream it tells its length. */
  headers: string[];
  body: Buffer | Readable | null;
  /** Whether upstream shall close after its answer. */
  close: boolean;
}

/** The connection to upstream that belongs to one connection of a phone. Opened by need, one request at a time. */
export interface UpstreamConnection {
  /** Sends the request once: it's never repeated, whatever becomes of it. Every outcome comes to `handler`. */
  send(request: UpstreamRequest, handler: Dispatcher.DispatchHandler): void;
  /** Whether the connection in use failed, rather than ended. */
  broken(): boolean;
  close(): void;
}

/** The one place where a `wpi` service's requests go. */
export interface Upstream {
  readonly probe: Probe;
  /** @param from - local address that it is made from, IPv4; null = the machine's ordinary one */
  connection(origin: PhoneOrigin, from: string | null): UpstreamConnection;
  /** Re-reads the authorities; throws with the old ones kept. */
  reload(): void;
  close(): void;
}

/**
 * Reads `https://host[:port]` or `http://host[:port]`.
 *
 * @throws SallyportError ADDRESS_INVALID
 */
export function parseUpstreamUrl(text: string): { secure: boolean; address: Address } {
  let url: URL | null = null;
  try {
    url = new URL(text);
  } catch {
    // Told below, with all other faults.
  }
  const secure = url?.protocol === 'https:';
  if (
    url === null ||
    (!secure && url.protocol !== 'http:') ||
    `${url.pathname}${url.search}${url.hash}${url.username}${url.password}` !== '/'
  ) {
    throw new SallyportError(
      'ADDRESS_INVALID',
      'upstream is not understood; write https://host:port or http://host:port, without a path or user',
    );
  }
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return { secure, address: { host, port: url.port === '' ? (secure ? 443 : 80) : Number(url.port) } };
}

/**
 * @param tcp - how connections without TLS are made
 * @throws SallyportError ADDRESS_INVALID, FILE_UNREADABLE, KEY_INVALID
 */
export function createUpstream(
  config: { upstream: string; upstreamTls: UpstreamTlsConfig; forwarded: Forwarded },
  limits: WpiLimits,
  clock: Clock,
  tcp: typeof dialTcp = dialTcp,
): Upstream {
  const { secure, address } = parseUpstreamUrl(config.upstream);
  const url = new URL(config.upstream).origin;
  const createDialler = (): TlsDialler | null =>
    secure ? createTlsDialler(address, readTrust(config.upstreamTls), clock, limits.connectMs) : null;
  let dialler = createDialler();
  // A bare TCP connection says nothing about a certificate: at first, after any failure, and now and then, only a whole
  // handshake is a success. Else polls would be 202 until the first phone has failed.
  let provenAt = -Infinity;
  const isProven = (): boolean => !secure || clock.monotonic() - provenAt < limits.provenMs;
  const prove = (): void => void (provenAt = clock.monotonic());
  const disprove = (): void => void (provenAt = -Infinity);

  const dial = (done: Dialled, origin: PhoneOrigin | null, from: string | null): (() => void) => {
    const source = origin === null ? null : { host: origin.address, port: origin.port };
    const manner: DialManner = {
      ...(from === null ? {} : { from }),
      ...(config.forwarded === 'proxy-v2' ? { header: (to) => encodeProxyHeader(source, to) } : {}),
    };
    return dialler === null
      ? tcp(address, clock, limits.connectMs, done, manner)
      : dialler.dial(done, manner);
  };
  const probe = createProbe({
    clock,
    periodMs: limits.probeMs,
    attempt(done) {
      const whole = !isProven();
      const tried: Dialled = (error, socket) => {
        if (error !== null) disprove();
        else if (whole) prove();
        socket?.destroy();
        done(error);
      };
      return whole ? dial(tried, null, null) : tcp(address, clock, limits.connectMs, tried);
    },
  });

  return {
    probe,
    connection(origin, from) {
      let giveUp: (() => void) | null = null;
      let failed = false;
      let client: Client | null = null;
      const open = (): Client =>
        new Client(url, {
          // Undici would take the server's name for TLS from the phone's Host header; our dialler knows it.
          connect: (_options, callback) => {
            failed = false;
            giveUp = dial(
              (error, socket) => {
                giveUp = null;
                if (socket === null) {
                  const reason =
                    error ?? new SallyportError('UPSTREAM_REFUSED', `upstream ${url} is not there`);
                  disprove();
                  probe.failed(reason);
                  return callback(reason, null);
                }
                prove();
                probe.succeeded();
                socket.on('error', () => (failed = true));
                callback(null, socket);
              },
              origin,
              from,
            );
          },
          pipelining: 1,
          allowH2: false,
          maxHeaderSize: limits.headerBytes,
          // The exchange keeps time itself, by the clock it was given.
          headersTimeout: 0,
          bodyTimeout: 0,
          keepAliveTimeout: limits.upstreamIdleMs,
        });
      return {
        send({ method, target, headers, body, close }, handler) {
          const kept = client;
          const used = (client ??= open());
          const options: Dispatcher.DispatchOptions & { servername: string } = {
            method,
            path: target,
            headers,
            body,
            idempotent: false,
            // The same for every request: undici reconnects when it changes.
            servername: address.host,
            ...(close ? { reset: true } : {}),
          };
          const dispatch = (): void => void used.dispatch(options, handler);
          // Undici lets a kept connection tell of its end before it is used again, but of one that has come while this
          // turn of the loop was at other work only the next one hears: what is sent meanwhile would be lost.
          if (kept === null) dispatch();
          else setImmediate(dispatch);
        },
        broken: () => failed,
        close() {
          giveUp?.();
          giveUp = null;
          client?.destroy(() => undefined);
        },
      };
    },
    reload() {
      dialler = createDialler();
      disprove();
    },
    close() {
      probe.close();
    },
  };
}

function readTrust({ ca, pin, verify }: UpstreamTlsConfig): DialTls {
  return {
    ca: ca === undefined ? null : readAuthorities('upstream_tls.ca', ca),
    pin: pin ?? null,
    verify: verify ?? true,
  };
}
