import type { IncomingMessage, ServerResponse } from 'node:http';
import { formatAddress, plainAddress } from '../../shared/address.ts';
import type { Address } from '../../shared/address.ts';
import type { Milliseconds } from '../../shared/clock.ts';
import { DEVICE_ID_LIMIT } from '../../shared/device-id.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { describeError, isSallyportError, SallyportError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { CONTACT_ME_URI_LIMIT } from '../../shared/wpi/contact-me-value.ts';
import type { Outbox } from '../outbox/outbox.ts';
import { openDoors } from './doors.ts';
import type { DeviceDoors, DevicePorts } from './doors.ts';
import { DEFAULT_CATCHER_LIMITS } from './limits.ts';
import type { CatcherLimits } from './limits.ts';
import { deviceOf, PHONE_PATH, tokenOf } from './tokens.ts';

export interface CatcherOptions {
  listen: Address;
  /** What services reach it by (`http://10.0.0.5:8085`, a path may follow); default: the address that was bound. */
  advertise?: URL;
  /** Keys the addresses, so that nobody can make one up. At least 16 bytes, the same at each start. */
  secret: Buffer;
  /** The secret of before, by which addresses were made that phones still have announced. */
  formerSecret?: Buffer | undefined;
  outbox: Outbox;
  /** Where devices have addresses of their own: whose an address is, and at which ports each of them is a phone. */
  devices?: DevicePorts & { deviceAt(address: string): DeviceId | null };
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
  /** Where it listens in the place of phones' own addresses. */
  readonly devices: DeviceDoors;
  /** The contact-me-uri to be announced in place of the phone's own; at most 255 characters. */
  address(device: DeviceId): string;
  /**
   * Re-reads certificate and key of the door with TLS.
   *
   * @throws SallyportError FILE_UNREADABLE, KEY_INVALID; then the old ones are kept
   */
  reload(): void;
  /** Stops listening, waits for requests under way, then ends all connections. */
  close(): Promise<void>;
}

const WEEK_MS = 7 * 24 * 3_600_000;

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

  const doors = await openDoors({
    listen: options.listen,
    devices: options.devices ?? null,
    limits,
    log,
    take(request, response) {
      take(request, response).catch((error: unknown) => {
        // What is left to fail is the reading of the body: the service has gone away or was too slow.
        log.debug('a contact-me broke off', { error: describeError(error) });
        response.destroy();
      });
    },
    settled: () => Promise.allSettled(underWay.values()),
  });
  const { listening, devices } = doors;
  const base = (options.advertise?.href ?? `http://${formatAddress(listening)}`).replace(/\/+$/, '');
  const address = (device: DeviceId): string => `${base}/${tokenOf(device, secret)}${PHONE_PATH}`;

  const longest = address('g'.repeat(DEVICE_ID_LIMIT) as DeviceId).length;
  if (longest > CONTACT_ME_URI_LIMIT) {
    await doors.close();
    throw new SallyportError(
      'ADDRESS_INVALID',
      `The contact-me address to be advertised has ${base.length} characters; at most ` +
        `${base.length - (longest - CONTACT_ME_URI_LIMIT)} fit into a contact-me-uri of ${CONTACT_ME_URI_LIMIT}`,
    );
  }
  return { listening, devices, address, reload: doors.reload, close: doors.close };
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
