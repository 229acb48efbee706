import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { isIPv4 } from 'node:net';
import { formatAddress, isWildcard, plainAddress } from '../shared/address.ts';
import type { Address } from '../shared/address.ts';
import type { Milliseconds } from '../shared/clock.ts';
import { DEVICE_ID_LIMIT, parseDeviceId } from '../shared/device-id.ts';
import type { DeviceId } from '../shared/device-id.ts';
import { describeError, isSallyportError, SallyportError } from '../shared/errors.ts';
import { listen } from '../shared/listen.ts';
import type { Log } from '../shared/log.ts';
import { CONTACT_ME_URI_LIMIT } from '../shared/wpi/contact-me-value.ts';
import type { Outbox } from './outbox/outbox.ts';

/** What the catcher grants to services. */
export interface CatcherLimits {
  /** Bytes of a request's body; more is a 413. Default 4 KiB. */
  bodyBytes: number;
  /** Bytes of a request's line and headers. Default 8 KiB. */
  headerBytes: number;
  /** Connections at once; further ones are refused. Default 200. */
  connections: number;
  /** Requests that wait for the outbox at once; more is a 503. Default 1 000. */
  waiting: number;
  /** From a request's first byte to its last, in ms. Default 10 000. */
  requestMs: Milliseconds;
}

export const DEFAULT_CATCHER_LIMITS: CatcherLimits = {
  bodyBytes: 4_096,
  headerBytes: 8_192,
  connections: 200,
  waiting: 1_000,
  requestMs: 10_000,
};

export interface CatcherOptions {
  listen: Address;
  /** What services reach it by (`http://10.0.0.5:8085`, a path may follow); default: the address that was bound. */
  advertise?: URL;
  /** Keys the addresses, so that nobody can make one up. At least 16 bytes, the same at each start. */
  secret: Buffer;
  /** The secret of before, by which addresses were made that phones still have announced. */
  formerSecret?: Buffer | undefined;
  outbox: Outbox;
  /** Where devices have addresses of their own: whose an address is, and the port at which each of them is a phone. */
  devices?: { port: number; deviceAt(address: string): DeviceId | null };
  /** Told of each contact that is taken, before it is durable. */
  onContact?: (device: DeviceId) => void;
  /** Time to live of a caught contact-me. Default 7 days. */
  ttl?: Milliseconds;
  log: Log;
  limits?: Partial<CatcherLimits>;
}

/** Stands for the phones towards services that know nothing of us: takes the contact-me meant for a phone. */
export interface Catcher {
  /** Where it listens. */
  readonly listening: Address;
  /** Where it listens in the place of phones' own addresses; null = nowhere. */
  readonly devices: Address | null;
  /** The contact-me-uri to be announced in place of the phone's own; at most 255 characters. */
  address(device: DeviceId): string;
  /** Stops listening, waits for requests under way, then ends all connections. */
  close(): Promise<void>;
}

const WEEK_MS = 7 * 24 * 3_600_000;

/** The path of a phone (Developer's Guide p. 14); services may look for it. */
const PHONE_PATH = '/contact_dls.html/ContactDLS';
const CAUGHT_PATH = /\/([0-9a-f]{12}|x(?:[0-9a-f]{2}){1,64})-([0-9a-f]{20})\/contact_dls\.html\/ContactDLS$/;

/** Characters of an address's proof: 80 bits. */
const PROOF_DIGITS = 20;
const SECRET_BYTES = 16;
const RETRY_AFTER_S = 10;

/** A phone's answer (Developer's Guide p. 15), letter case included. */
const PHONE_HEADERS = ['Server', 'DlsClient', 'Content-Length', '0', 'Content-type', 'text/html'];

/**
 * Starts a catcher.
 *
 * @throws SallyportError ADDRESS_IN_USE, ADDRESS_INVALID (also where `advertise` is too long to be announced),
 *   KEY_INVALID for a short secret
 */
export async function createCatcher(options: CatcherOptions): Promise<Catcher> {
  const { secret, formerSecret, outbox, ttl = WEEK_MS, log } = options;
  const limits = { ...DEFAULT_CATCHER_LIMITS, ...options.limits };
  if (secret.length < SECRET_BYTES) {
    throw new SallyportError(
      'KEY_INVALID',
      `The contact-me catcher needs a secret of ${SECRET_BYTES} bytes or more, this one has ${secret.length}`,
    );
  }
  /** Pushes under way: a second contact for a device whose first isn't durable yet is the same contact. */
  const underWay = new Map<DeviceId, Promise<void>>();
  let waiting = 0;

  const push = (device: DeviceId): Promise<void> => {
    const known = underWay.get(device);
    if (known !== undefined) return known;
    const pushed = outbox.push({ device, kind: 'contact-me', ttl, delay: 0 }).then(() => undefined);
    underWay.set(device, pushed);
    const done = (): void => void underWay.delete(device);
    pushed.then(done, done);
    return pushed;
  };

  /** Whose the address is that was asked, as one asks a phone. */
  const ownerOf = (address: string | undefined, path: string): DeviceId | null =>
    path === PHONE_PATH && address !== undefined
      ? (options.devices?.deviceAt(plainAddress(address)) ?? null)
      : null;

  const take = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const [path = '', query = null] = (request.url ?? '').split('?', 2);
    const device =
      deviceOf(path, secret) ??
      (formerSecret === undefined ? null : deviceOf(path, formerSecret)) ??
      ownerOf(request.socket.localAddress, path);
    if (device === null) return refuse(request, response, 404);
    if (request.method !== 'POST' && request.method !== 'GET') {
      response.setHeader('Allow', 'GET, POST');
      return refuse(request, response, 405);
    }
    const body = await readBody(request, limits.bodyBytes);
    if (body === null) return refuse(request, response, 413);
    // One known service sends a GET without anything: to a phone, the path alone says it.
    const bare = request.method === 'GET' && query === null && body === '';
    if (!bare && !says(query ?? '') && !says(body)) return refuse(request, response, 400);
    if (waiting >= limits.waiting) return busy(request, response);
    options.onContact?.(device);
    waiting += 1;
    try {
      await push(device);
    } catch (error) {
      const code = isSallyportError(error) ? error.code : null;
      log.error('a caught contact-me was refused by the outbox', {
        device,
        code,
        error: describeError(error),
      });
      return busy(request, response);
    } finally {
      waiting -= 1;
    }
    log.debug('caught a contact-me', { device });
    response.writeHead(204, PHONE_HEADERS).end();
  };

  const servers: Server[] = [];
  const open = async (address: Address): Promise<Address> => {
    const server = createServer(
      {
        maxHeaderSize: limits.headerBytes,
        headersTimeout: limits.requestMs,
        requestTimeout: limits.requestMs,
        connectionsCheckingInterval: Math.min(limits.requestMs, 1_000),
        noDelay: true,
      },
      (request, response) => {
        response.sendDate = false;
        take(request, response).catch((error: unknown) => {
          // What is left to fail is the reading of the body: the service has gone away or was too slow.
          log.debug('a contact-me broke off', { error: describeError(error) });
          response.destroy();
        });
      },
    );
    server.maxConnections = limits.connections;
    const bound = await listen(server, address, 'The contact-me catcher');
    server.on('error', (error) =>
      log.error('the contact-me catcher has a fault', { error: describeError(error) }),
    );
    servers.push(server);
    return bound;
  };

  const close = async (): Promise<void> => {
    const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    for (const server of servers) server.closeIdleConnections();
    await Promise.allSettled(underWay.values());
    // One more turn, so that the answers to them are written.
    await new Promise((resolve) => setImmediate(resolve));
    for (const server of servers) server.closeAllConnections();
    await Promise.all(closed);
  };

  const openAll = async (): Promise<{ listening: Address; devices: Address | null }> => {
    if (options.devices === undefined) return { listening: await open(options.listen), devices: null };
    const everywhere = { host: '0.0.0.0', port: options.devices.port };
    if (!isCovered(options.listen, everywhere)) {
      return { listening: await open(options.listen), devices: await open(everywhere) };
    }
    const devices = await open(isWildcard(options.listen) ? options.listen : everywhere);
    return { listening: options.listen, devices };
  };
  const { listening, devices } = await openAll().catch(async (error: unknown) => {
    await close();
    throw error;
  });
  const base = (options.advertise?.href ?? `http://${formatAddress(listening)}`).replace(/\/+$/, '');
  const address = (device: DeviceId): string => `${base}/${tokenOf(device, secret)}${PHONE_PATH}`;

  const longest = address('g'.repeat(DEVICE_ID_LIMIT) as DeviceId).length;
  if (longest > CONTACT_ME_URI_LIMIT) {
    await close();
    throw new SallyportError(
      'ADDRESS_INVALID',
      `The contact-me address to be advertised has ${base.length} characters; at most ` +
        `${base.length - (longest - CONTACT_ME_URI_LIMIT)} fit into a contact-me-uri of ${CONTACT_ME_URI_LIMIT}`,
    );
  }
  return { listening, devices, address, close };
}

/** Whether whoever listens on `everywhere` gets what is meant for `address` too, so that nobody else can listen there. */
function isCovered(address: Address, everywhere: Address): boolean {
  return (
    address.port === everywhere.port && address.port !== 0 && (isIPv4(address.host) || isWildcard(address))
  );
}

/**
 * What stands for a device in a path: lower-case hex only, since nobody knows what services do to letter case, and
 * a proof that we made it.
 */
function tokenOf(device: DeviceId, secret: Buffer): string {
  const digits = device.replaceAll(':', '');
  const isMac = /^[0-9a-f]{12}$/.test(digits) && device.length === 17;
  return `${isMac ? digits : `x${Buffer.from(device).toString('hex')}`}-${proofOf(device, secret)}`;
}

function proofOf(device: DeviceId, secret: Buffer): string {
  return createHmac('sha256', secret).update(`contact-me\0${device}`).digest('hex').slice(0, PROOF_DIGITS);
}

/** The device that a path was advertised for; null for any other path. */
function deviceOf(path: string, secret: Buffer): DeviceId | null {
  const [, name, proof] = CAUGHT_PATH.exec(path) ?? [];
  if (name === undefined || proof === undefined) return null;
  const device = parseDeviceId(
    name.startsWith('x') ? Buffer.from(name.slice(1), 'hex').toString('latin1') : name,
  );
  if (device === null) return null;
  return timingSafeEqual(Buffer.from(proof), Buffer.from(proofOf(device, secret))) ? device : null;
}

/** Whether a query or form says `ContactMe=true`. */
function says(form: string): boolean {
  return new URLSearchParams(form.trim()).get('ContactMe')?.toLowerCase() === 'true';
}

/** The body as text; null where it's over `limit`. Rejects where it breaks off. */
function readBody(request: IncomingMessage, limit: number): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > limit) resolve(null);
      else chunks.push(chunk);
    });
    request.on('end', () => resolve(Buffer.concat(chunks).toString('latin1')));
    request.on('error', reject);
    request.on('close', () => reject(new Error('the request broke off')));
  });
}

/** Refuses; what is left of the request is of no interest, so the connection ends. */
function refuse(request: IncomingMessage, response: ServerResponse, status: number): void {
  response.writeHead(status, { Server: 'DlsClient', 'Content-Length': '0', Connection: 'close' }).end();
  request.resume();
}

function busy(request: IncomingMessage, response: ServerResponse): void {
  response.setHeader('Retry-After', String(RETRY_AFTER_S));
  refuse(request, response, 503);
}
