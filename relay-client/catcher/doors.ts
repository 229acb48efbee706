import { createServer } from 'node:http';
import type { RequestListener, Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { Server as TlsServer } from 'node:https';
import { isIPv4 } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { SecureContextOptions } from 'node:tls';
import { isWildcard } from '../../shared/address.ts';
import type { Address } from '../../shared/address.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { listen } from '../../shared/listen.ts';
import type { Log } from '../../shared/log.ts';
import { tlsProfileOptions } from '../../shared/tls-profile.ts';
import type { TlsProfile } from '../../shared/tls-profile.ts';
import { readNamedFile } from '../services/authorities.ts';
import type { CatcherLimits } from './limits.ts';

/** What a device's own address shows of itself by HTTPS, as a phone's web server does. */
export interface DeviceTls {
  /** 0 = a free one. */
  port: number;
  /** Certificate chain, PEM file. */
  cert: string;
  /** Its private key, PEM file. */
  key: string;
  profile: TlsProfile;
}

/** The ports at which devices' own addresses are phones. */
export interface DevicePorts {
  /** A phone's contact-me port; 0 = a free one. */
  port: number;
  /** The port of a phone's web server, which answers the same path; 0 = a free one, null or left out = none. */
  webPort?: number | null;
  /** The same by HTTPS; null or left out = none. */
  tls?: DeviceTls | null;
}

/** Where the catcher listens in the place of phones' own addresses; null = not there. */
export interface DeviceDoors {
  contact: Address | null;
  web: Address | null;
  tls: Address | null;
}

export interface DoorsOptions {
  /** The catcher's own address. */
  listen: Address;
  devices: DevicePorts | null;
  limits: CatcherLimits;
  log: Log;
  take: RequestListener;
  /** Resolves once what is under way is decided. */
  settled: () => Promise<unknown>;
}

/** Where contact-me requests come in. */
export interface Doors {
  readonly listening: Address;
  readonly devices: DeviceDoors;
  /** Re-reads certificate and key; throws with the old ones kept. */
  reload(): void;
  /** Stops listening, lets requests under way be answered, ends all connections. */
  close(): Promise<void>;
}

/**
 * Opens all doors, or none.
 *
 * @throws SallyportError ADDRESS_IN_USE, ADDRESS_INVALID, FILE_UNREADABLE, KEY_INVALID
 */
export async function openDoors(options: DoorsOptions): Promise<Doors> {
  const { limits, log, settled } = options;
  const servers: (Server | TlsServer)[] = [];
  let shown: { server: TlsServer; tls: DeviceTls } | null = null;

  const serve = async (server: Server | TlsServer, address: Address): Promise<Address> => {
    server.maxConnections = limits.connections;
    const bound = await listen(server, address, 'The contact-me catcher');
    server.on('error', (error) =>
      log.error('the contact-me catcher has a fault', { error: describeError(error) }),
    );
    servers.push(server);
    return bound;
  };
  const http = {
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.requestMs,
    requestTimeout: limits.requestMs,
    connectionsCheckingInterval: Math.min(limits.requestMs, 1_000),
    noDelay: true,
  };
  const take: RequestListener = (request, response) => {
    response.sendDate = false;
    options.take(request, response);
  };
  const open = (address: Address): Promise<Address> => serve(createServer(http, take), address);
  const openTls = (tls: DeviceTls): Promise<Address> => {
    const server = createTlsServer(
      { ...http, ...readContext(tls), handshakeTimeout: limits.requestMs },
      take,
    );
    shown = { server, tls };
    return serve(server, everywhere(tls.port));
  };

  const close = async (): Promise<void> => {
    const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    for (const server of servers) server.closeIdleConnections();
    await settled();
    // One more turn, so that the answers to them are written.
    await new Promise((resolve) => setImmediate(resolve));
    for (const server of servers) server.closeAllConnections();
    await Promise.all(closed);
  };

  /** The catcher's own address and the devices' contact-me port, which one listener serves where they are one. */
  const openContact = async (
    port: number | null,
  ): Promise<{ listening: Address; contact: Address | null }> => {
    if (port === null) return { listening: await open(options.listen), contact: null };
    if (!isCovered(options.listen, everywhere(port))) {
      return { listening: await open(options.listen), contact: await open(everywhere(port)) };
    }
    const contact = await open(isWildcard(options.listen) ? options.listen : everywhere(port));
    return { listening: options.listen, contact };
  };
  const openAll = async (): Promise<Pick<Doors, 'listening' | 'devices'>> => {
    const { port = null, webPort = null, tls = null } = options.devices ?? {};
    const { listening, contact } = await openContact(port);
    const web = webPort === null ? null : await open(everywhere(webPort));
    return { listening, devices: { contact, web, tls: tls === null ? null : await openTls(tls) } };
  };

  const opened = await openAll().catch(async (error: unknown) => {
    await close();
    throw error;
  });
  return {
    ...opened,
    reload: () => shown?.server.setSecureContext(readContext(shown.tls)),
    close,
  };
}

/** No system lets a program listen on a range: it listens everywhere, and looks which address was asked. */
function everywhere(port: number): Address {
  return { host: '0.0.0.0', port };
}

/** Whether whoever listens on `everywhere` gets what is meant for `address` too, so that nobody else can listen there. */
function isCovered(address: Address, everywhere: Address): boolean {
  return (
    address.port === everywhere.port && address.port !== 0 && (isIPv4(address.host) || isWildcard(address))
  );
}

function readContext({ cert, key, profile }: DeviceTls): SecureContextOptions {
  const options: SecureContextOptions = {
    ...tlsProfileOptions(profile),
    cert: readNamedFile('contact_me.device_tls.cert', cert),
    key: readNamedFile('contact_me.device_tls.key', key),
  };
  try {
    createSecureContext(options);
  } catch (cause) {
    throw new SallyportError(
      'KEY_INVALID',
      `contact_me.device_tls: ${cert} and ${key} are no usable pair for profile ${profile}: ${describeError(cause)}`,
      { cause },
    );
  }
  return options;
}
