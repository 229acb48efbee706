import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';
import { peerGroup } from '../../shared/address.ts';
import type { Address } from '../../shared/address.ts';
import { checkPair, endOfChain } from '../../shared/certificates.ts';
import type { CertificateUse } from '../../shared/certificates.ts';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { pinOf, readPrivateKey } from '../../shared/key-pair.ts';
import type { Pin } from '../../shared/key-pair.ts';
import { laneOptions, laneOverWebSocket } from '../../shared/lane-ws.ts';
import { listen } from '../../shared/listen.ts';
import type { Sharing } from '../../shared/listen.ts';
import type { Log } from '../../shared/log.ts';
import { MUX_MESSAGE_BYTES } from '../../shared/mux-frames.ts';
import { CLOSE, CONTROL_FRAME_BYTES, GREETING_MS, PATHS, SUBPROTOCOL } from '../../shared/protocol.ts';
import { createJoinDesk } from './join.ts';
import { createLoopShare } from './loop-share.ts';
import type { LoopShare } from './loop-share.ts';
import { createGuests } from './relay-door-guests.ts';
import type { Registry, RelayRecord } from './registry.ts';
import { createRelayKeys } from './relay-keys.ts';
import { createRelayLink } from './relay-link.ts';
import type { RelayLink, RelayLinkOptions } from './relay-link.ts';

/** Bytes of a request's header. */
const HEADER_BYTES = 8_192;
/** Stream lanes of one link. */
const STREAM_LANES = 8;
/** Connections with one relay's key: the lanes of its link, and of the one that takes its place. */
const KEY_CONNECTIONS = 2 * (1 + STREAM_LANES);

/** How long relays have to hear that the proxy goes away. */
const CLOSE_MS = 2_000;

export interface RelayDoorOptions {
  listen: Address;
  sharing?: Sharing;
  tls: { cert: string; key: string };
  /** Connections that have not shown a relay's key, at once, and of them from one address. */
  guests: { most: number; perAddress: number };
  /** Of each second, what one relay's control frames may take of the main thread in the long run; its stream lanes, likewise. */
  relayMsPerSecond: number;
  registry: Registry;
  /** Makes a link for a relay; null when its site does not exist here. */
  link: (record: RelayRecord) => LinkMaking | null;
  siteExists: (site: string) => boolean;
  /** A relay that has linked since the proxy started was revoked, whether it is linked now or not. */
  onRevoked: (record: RelayRecord) => void;
  clock: Clock;
  log: Log;
}

/** What a link needs besides what the door knows. */
export type LinkMaking = Omit<
  RelayLinkOptions,
  'id' | 'record' | 'clock' | 'share' | 'streamShare' | 'onFenced'
>;

/** Where relays dial in: TLS 1.3 with a key on both sides, then WebSockets. */
export interface RelayDoor {
  readonly address: Address;
  readonly pin: Pin;
  links(): number;
  /** The certificate that it shows now. */
  certificate(): CertificateUse;
  refused(): Readonly<Record<string, number>>;
  /** How often a link was closed because another one with the same relay's key came while it was alive. */
  fenced(): number;
  /** What the control frames of each relay that has linked since the start took, and how long any of its lanes had to wait. */
  taken(): { site: string; relay: string; busyMs: Milliseconds; heldBackMs: Milliseconds }[];
  /** Re-reads certificate and key. */
  reload(): void;
  /** Takes no more connections; those that are there stay. */
  retire(): void;
  close(): Promise<void>;
}

/** What frames of one relay may take of the loop. */
type RelayShares = { site: string } & Pick<RelayLinkOptions, 'share' | 'streamShare'>;

export async function createRelayDoor(options: RelayDoorOptions): Promise<RelayDoor> {
  const { registry, clock, log } = options;
  const links = new Map<string, RelayLink>();
  /** By name, over all links and keys of the relay: as many as have linked. */
  const shares = new Map<string, RelayShares>();
  const refused: Record<string, number> = {};
  const pins = new WeakMap<Duplex, Pin>();
  /** From the first packet on: who never makes its TLS handshake must not hold up the end either. */
  const connections = new Set<Duplex>();
  /** Connections that have shown a relay's key, by its pin. */
  const keyed = new Map<Pin, number>();
  let fenced = 0;
  let material = readMaterial(options.tls);

  const server = createServer({
    ...material.tls,
    minVersion: 'TLSv1.3',
    requestCert: true,
    // Keys are pinned, not signed for: what counts is compared below.
    rejectUnauthorized: false,
    handshakeTimeout: GREETING_MS,
    headersTimeout: GREETING_MS,
    requestTimeout: GREETING_MS,
    connectionsCheckingInterval: 1_000,
    keepAliveTimeout: 1,
    maxHeaderSize: HEADER_BYTES,
  });
  server.maxRequestsPerSocket = 1;
  const webSockets = {
    control: new WebSocketServer({ noServer: true, ...laneOptions(CONTROL_FRAME_BYTES) }),
    stream: new WebSocketServer({ noServer: true, ...laneOptions(MUX_MESSAGE_BYTES) }),
  };

  function refuse(socket: Duplex, why: string, status: string, text: string): void {
    count(why);
    socket.end(
      `HTTP/1.1 ${status}\r\nDate: ${new Date(clock.wall()).toUTCString()}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`,
      () => socket.destroy(),
    );
  }

  function count(why: string): void {
    refused[why] = (refused[why] ?? 0) + 1;
    log.warn('relay door refused', { why });
  }

  const keys = createRelayKeys({
    registry,
    clock,
    log,
    onGone(record) {
      for (const link of links.values())
        if (link.record.pin === record.pin) link.close(CLOSE.revoked, 'this relay was revoked');
    },
    onRevoked: options.onRevoked,
  });
  const join = createJoinDesk({
    registry,
    siteExists: options.siteExists,
    key: () => material.key,
    clock,
    log,
    count,
  });
  const guests = createGuests({ ...options.guests, within: GREETING_MS, clock, onCut: count });
  /** The TCP connection under each TLS one, by its peer, which both tell. */
  const raw = new Map<string, Socket>();

  server.on('connection', (socket: Socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
    const peer = peerOf(socket);
    if (socket.remoteAddress === undefined) return void socket.destroy();
    raw.set(peer, socket);
    // The system may have given the same port to a newcomer before this one's end was told here.
    socket.once('close', () => void (raw.get(peer) === socket && raw.delete(peer)));
    guests.add(socket, peerGroup(socket.remoteAddress));
  });
  // Before HTTP is spoken: who shows no key is cut, and who shows a relay's has a place of its own.
  server.prependListener('secureConnection', (socket: TLSSocket) => {
    socket.setNoDelay(true);
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) {
      count('no-certificate');
      return void socket.destroy();
    }
    const pin = pinOf(certificate);
    pins.set(socket, pin);
    const owner = keys.ownerOf(pin);
    if (owner === null || owner === 'unreadable') return;
    const taken = keyed.get(pin) ?? 0;
    if (taken >= KEY_CONNECTIONS) {
      count('key-full');
      return void socket.destroy();
    }
    keyed.set(pin, taken + 1);
    socket.once('close', () => {
      const left = (keyed.get(pin) ?? 1) - 1;
      if (left === 0) keyed.delete(pin);
      else keyed.set(pin, left);
    });
    const below = raw.get(peerOf(socket));
    if (below !== undefined) guests.leave(below);
  });
  server.on('tlsClientError', (error) =>
    log.debug('relay door handshake failed', { why: describeError(error) }),
  );

  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.on('error', (error) => log.debug('relay connection failed', { why: describeError(error) }));
    const url = URL.parse(request.url ?? '', 'wss://door');
    if (request.headers.origin !== undefined) {
      return refuse(socket, 'browser', '403 Forbidden', 'relays are no browsers');
    }
    const kind =
      url?.pathname === PATHS.control ? 'control' : url?.pathname === PATHS.stream ? 'stream' : null;
    if (url === null || kind === null) return refuse(socket, 'path', '404 Not Found', 'no such lane');
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((word) => word.trim());
    if (!offered.includes(SUBPROTOCOL)) {
      const text = `this proxy speaks ${SUBPROTOCOL}, the relay offered ${offered.join(', ') || 'nothing'}; update the older one`;
      return refuse(socket, 'version', '426 Upgrade Required', text);
    }
    const pin = pins.get(socket);
    const record = pin === undefined ? null : keys.ownerOf(pin);
    if (record === 'unreadable') {
      const text = 'the proxy cannot read its registry of relays; its log says why';
      return refuse(socket, 'registry', '503 Service Unavailable', text);
    }
    if (record === null) {
      return refuse(
        socket,
        'unknown-key',
        '403 Forbidden',
        'this key is not known here: join with a new invite',
      );
    }
    if (kind === 'control') {
      const making = options.link(record);
      if (making === null) {
        return refuse(socket, 'no-site', '403 Forbidden', `site ${record.site} is no longer configured here`);
      }
      webSockets.control.handleUpgrade(request, socket, head, (ws) => control(ws, socket, record, making));
      return;
    }
    const link = links.get(url.searchParams.get('link') ?? '');
    if (link === undefined || link.record.pin !== record.pin) {
      return refuse(socket, 'no-link', '409 Conflict', 'no such link: open its control lane first');
    }
    if (lanes.get(link) === STREAM_LANES) {
      return refuse(
        socket,
        'lanes',
        '429 Too Many Requests',
        `a link has at most ${STREAM_LANES} stream lanes`,
      );
    }
    webSockets.stream.handleUpgrade(request, socket, head, (ws) => stream(ws, socket, link));
  });

  const lanes = new Map<RelayLink, number>();

  function sharesOf({ name, site }: RelayRecord): RelayShares {
    const present = shares.get(name);
    if (present?.site === site) return present;
    const create = (lane: 'control' | 'stream'): LoopShare =>
      createLoopShare({
        msPerSecond: options.relayMsPerSecond,
        clock,
        onHeldBack: () =>
          log.warn('relay held back: its frames take more of the proxy than relay_ms_per_s', {
            relay: name,
            site,
            lane,
            most: options.relayMsPerSecond,
          }),
      });
    const made = { site, share: create('control'), streamShare: create('stream') };
    shares.set(name, made);
    return made;
  }

  function control(ws: WebSocket, socket: Duplex, record: RelayRecord, making: LinkMaking): void {
    const onFenced = (): void => void (fenced += 1);
    const id = randomBytes(16).toString('hex');
    const { share, streamShare } = sharesOf(record);
    const link = createRelayLink({ ...making, id, record, clock, share, streamShare, onFenced });
    links.set(link.id, link);
    keys.watch(record);
    ws.once('close', () => links.delete(link.id));
    link.start(laneOverWebSocket(ws, socket, { binary: false, masks: false }, link.events));
  }

  function stream(ws: WebSocket, socket: Duplex, link: RelayLink): void {
    lanes.set(link, (lanes.get(link) ?? 0) + 1);
    ws.once('close', () => {
      const left = (lanes.get(link) ?? 1) - 1;
      if (left === 0) lanes.delete(link);
      else lanes.set(link, left);
    });
    const place = link.addStreamLane();
    place.start(laneOverWebSocket(ws, socket, { binary: true, masks: false }, place.events));
  }

  server.on('request', (request, response) => join(request, response, pins.get(request.socket)));

  let closing: Promise<void> | null = null;
  const stop = (): Promise<void> =>
    (closing ??= new Promise((resolve) => {
      server.close(() => resolve());
    }));

  const address = await listen(server, options.listen, 'The relay door', options.sharing);
  server.on('error', (error) => log.error('relay door failed', { why: describeError(error) }));

  return {
    address,
    get pin() {
      return pinOf(material.key);
    },
    links: () => links.size,
    certificate: () => ({ name: 'relay', notAfter: endOfChain(material.tls.cert) }),
    refused: () => refused,
    fenced: () => fenced,
    taken: () =>
      [...shares].map(([relay, { site, share, streamShare }]) => {
        const { busyMs, heldBackMs } = share.total();
        return { site, relay, busyMs, heldBackMs: heldBackMs + streamShare.total().heldBackMs };
      }),
    reload() {
      const fresh = readMaterial(options.tls);
      server.setSecureContext({ ...fresh.tls, minVersion: 'TLSv1.3' });
      material = fresh;
    },
    retire: () => void stop(),
    async close() {
      keys.stop();
      const closed = stop();
      for (const link of [...links.values()]) link.close(CLOSE.going, 'the proxy is going away');
      const late = clock.after(CLOSE_MS, () => connections.forEach((socket) => socket.destroy()));
      server.closeIdleConnections();
      await closed;
      late.cancel();
    },
  };
}

const peerOf = (socket: Socket): string => `${socket.remoteAddress} ${socket.remotePort}`;

function readMaterial(tls: { cert: string; key: string }) {
  const cert = readFileSync(tls.cert, 'utf8');
  const key = readFileSync(tls.key, 'utf8');
  const own = readPrivateKey(key, tls.key);
  try {
    checkPair(cert, key, 'modern');
  } catch (cause) {
    throw new SallyportError(
      'KEY_INVALID',
      `relay.tls: ${tls.cert} and ${tls.key} are no pair: ${describeError(cause)}`,
      { cause },
    );
  }
  return { tls: { cert, key }, key: own };
}
