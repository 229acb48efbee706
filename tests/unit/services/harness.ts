import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, connect as connectTcp } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import type { ConnectionOptions, TlsOptions } from 'node:tls';
import type { Test } from 'tap';
import type { SourceAddresses } from '../../../relay-client/addresses/book.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { systemClock } from '../../../shared/clock.ts';
import type { Clock } from '../../../shared/clock.ts';
import { silentLog } from '../../../shared/log.ts';
import type {
  PhoneTlsConfig,
  UpstreamTlsConfig,
  WpiServiceConfig,
} from '../../../relay-client/services/config.ts';
import type { WpiLimits } from '../../../relay-client/services/limits.ts';
import type { ServiceEvent } from '../../../relay-client/services/metrics.ts';
import type { ConnectionObserver, Exchange, Observer } from '../../../relay-client/services/observer.ts';
import type { Service } from '../../../relay-client/services/service.ts';
import { passiveObserver } from '../../../relay-client/services/passive-observer.ts';
import { createWpiService } from '../../../relay-client/services/wpi.ts';
import { createAuthority } from '../../fixtures/certificates.ts';
import type { Authority, Credentials } from '../../fixtures/certificates.ts';
import { openPhoneDoor } from '../../fixtures/phone-door.ts';
import type { PhoneDoor } from '../../fixtures/phone-door.ts';
import { until } from '../../fixtures/until.ts';

/** Resolves when the condition holds; rejects, with its text, where it never does. */
export const eventually = (condition: () => boolean): Promise<void> => until(String(condition), condition);

/** A directory of the test's own. */
export function temporaryDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'services-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export function writeCredentials(
  directory: string,
  name: string,
  { cert, key }: Credentials,
): { cert: string; key: string } {
  const files = { cert: join(directory, `${name}.pem`), key: join(directory, `${name}.key`) };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  return files;
}

/** One connection on which upstream got something. */
export interface UpstreamSocket {
  socket: Socket;
  /** All bytes it has received, as Latin-1. */
  received(): string;
  /** Resolves when `received` holds all of `text`. */
  until(text: string): Promise<void>;
  /** Resolves when the connection is over. */
  closed: Promise<void>;
}

/** An upstream that shows every byte and answers as the test says. */
export interface RawUpstream {
  port: number;
  url: string;
  connections: UpstreamSocket[];
  /** Resolves to the connection number `index`, from 0, once it is there. */
  connection(index: number): Promise<UpstreamSocket>;
  /** Calls back on each TCP connection, a mere try included. */
  onConnection(listener: () => void): void;
}

/** @param script - what to do with each connection, called at its first byte */
export async function startRawUpstream(
  t: Test,
  script: (connection: UpstreamSocket, index: number) => void | Promise<void> = () => undefined,
  tls?: TlsOptions,
): Promise<RawUpstream> {
  const connections: UpstreamSocket[] = [];
  const arrivals = new Set<() => void>();
  const take = (socket: Socket): void => {
    let text = '';
    const changes = new Set<() => void>();
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      for (const changed of [...changes]) changed();
    });
    socket.on('error', () => undefined);
    const connection: UpstreamSocket = {
      socket,
      received: () => text,
      closed: new Promise((resolve) => socket.once('close', () => resolve())),
      until: (wanted) =>
        new Promise((resolve) => {
          const look = (): void => {
            if (!text.includes(wanted)) return;
            changes.delete(look);
            resolve();
          };
          changes.add(look);
          look();
        }),
    };
    // A connection without a byte is a try whether we're there, and none of a phone's.
    socket.once('data', () => {
      connections.push(connection);
      for (const arrived of [...arrivals]) arrived();
      void script(connection, connections.length - 1);
    });
  };
  const server = tls === undefined ? createServer(take) : createTlsServer(tls, take);
  const raw = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    raw.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => raw.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    server.close();
    for (const socket of raw) socket.destroy();
    await once(server, 'close');
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    connections,
    onConnection: (listener) => void server.on('connection', listener),
    connection: (index) =>
      new Promise((resolve) => {
        const look = (): void => {
          const found = connections[index];
          if (found === undefined) return;
          arrivals.delete(look);
          resolve(found);
        };
        arrivals.add(look);
        look();
      }),
  };
}

/**
 * Answers each whole request with the next of `answers`, whatever connection it comes by; the last one repeats.
 */
export function answering(...answers: string[]): (connection: UpstreamSocket) => void {
  let count = 0;
  return ({ socket, received }) => {
    let seen = 0;
    const look = (): void => {
      while (!socket.destroyed) {
        const rest = received().slice(seen);
        const head = rest.indexOf('\r\n\r\n');
        if (head === -1) return;
        const length = Number(/^content-length: *(\d+)/im.exec(rest.slice(0, head))?.[1] ?? 0);
        if (rest.length < head + 4 + length) return;
        seen += head + 4 + length;
        socket.write(answers[Math.min(count, answers.length - 1)] ?? '', 'latin1');
        count += 1;
      }
    };
    socket.on('data', look);
    look();
  };
}

export const ok = (body = 'ok', headers = ''): string =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${Buffer.byteLength(body, 'latin1')}\r\n${headers}\r\n${body}`;

/** What an observer was told, in order. */
export type Seen =
  | { call: 'connection' }
  | { call: 'message'; path: string; headers: readonly string[]; body: string }
  | { call: 'unread'; method: string; path: string; headers: readonly string[]; reason: string }
  | { call: 'answered'; status: number; headers: readonly string[]; body: string }
  | { call: 'answeredUnread'; status: number; headers: readonly string[] }
  | { call: 'delivered' }
  | { call: 'cut'; by: string }
  | { call: 'closed'; how: string };

export interface RecordingObserver extends Observer {
  seen: Seen[];
  calls(): string[];
  /** Resolves when `call` has come `times` times. */
  until(call: Seen['call'], times?: number): Promise<void>;
}

/** Writes down what it is told; `change` may put another body and headers in place, and add lines to the answer. */
export function recordingObserver(
  change: {
    request?: (body: Buffer, headers: readonly string[]) => Partial<Pick<Exchange, 'body' | 'headers'>>;
    answer?: () => readonly string[];
    /** Whose message it is; default nobody knows. */
    device?: (body: Buffer) => DeviceId | null;
  } = {},
): RecordingObserver {
  const seen: Seen[] = [];
  const waiting = new Set<() => void>();
  const note = (entry: Seen): void => {
    seen.push(entry);
    for (const look of [...waiting]) look();
  };
  const connection = (): ConnectionObserver => {
    note({ call: 'connection' });
    return {
      message({ path, headers, body }) {
        note({ call: 'message', path, headers, body: body.toString('latin1') });
        return {
          device: change.device?.(body) ?? null,
          body,
          headers,
          ...change.request?.(body, headers),
          answered(response) {
            note({ call: 'answered', ...response, body: response.body.toString('latin1') });
            return change.answer?.() ?? [];
          },
          answeredUnread: (response) => note({ call: 'answeredUnread', ...response }),
          delivered: () => note({ call: 'delivered' }),
          cut: (by) => note({ call: 'cut', by }),
        };
      },
      unread(request) {
        note({ call: 'unread', ...request });
        return { headers: request.headers, answered: () => undefined };
      },
      inSession: () => false,
      closed: (how) => note({ call: 'closed', how }),
    };
  };
  return {
    connection,
    seen,
    calls: () => seen.map(({ call }) => call),
    until: (call, times = 1) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (seen.filter((entry) => entry.call === call).length < times) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
  };
}

export interface WpiUnderTest {
  service: Service;
  door: PhoneDoor;
  observer: RecordingObserver;
  counted: ServiceEvent[];
  authority: Authority;
  /** A phone's connection: TLS when the door is sealed. */
  phone(options?: ConnectionOptions): Promise<Phone>;
}

export interface WpiOptions {
  upstream: string;
  upstreamTls?: UpstreamTlsConfig;
  tls?: Partial<PhoneTlsConfig> | null;
  forwarded?: WpiServiceConfig['forwarded'];
  limits?: Partial<WpiLimits>;
  observer?: Observer & Partial<RecordingObserver>;
  addresses?: SourceAddresses | null;
  clock?: Clock;
}

let sharedAuthority: Promise<Authority> | null = null;
/** One authority for the whole test process: making keys takes time. */
export const authority = (): Promise<Authority> => (sharedAuthority ??= createAuthority());

/** A `wpi` service behind a door of its own. Sealed when `tls` is given. */
export async function startWpi(t: Test, options: WpiOptions): Promise<WpiUnderTest> {
  const ca = await authority();
  const counted: ServiceEvent[] = [];
  const observer = options.observer ?? recordingObserver();
  const sealed = options.tls !== undefined && options.tls !== null;
  const tls: PhoneTlsConfig | null = sealed
    ? {
        ...writeCredentials(temporaryDirectory(t), 'phone-side', await ca.issue(['wpi.test', '127.0.0.1'])),
        profile: 'intermediate',
        clientCa: null,
        ...options.tls,
      }
    : null;
  const service = createWpiService(
    {
      name: 'wpi',
      kind: 'wpi',
      tls,
      upstream: options.upstream,
      upstreamTls: options.upstreamTls ?? {},
      forwarded: options.forwarded ?? 'none',
      rewriteContactMe: true,
      limits: { probeMs: 3_600_000, ...options.limits },
    },
    {
      observer,
      addresses: options.addresses ?? null,
      clock: options.clock ?? systemClock,
      log: silentLog,
      metrics: { count: (_service, event) => void counted.push(event) },
    },
  );
  const door = await openPhoneDoor(sealed ? 'relay' : 'proxy', (stream, origin) =>
    service.accept(stream, origin),
  );
  t.teardown(async () => {
    await service.close();
    await door.close();
  });
  return {
    service,
    door,
    observer: observer as RecordingObserver,
    counted,
    authority: ca,
    phone: (tlsOptions = {}) =>
      sealed
        ? connectPhone(
            t,
            connectTls({ port: door.port, host: '127.0.0.1', ca: ca.cert, ...tlsOptions }),
            'secureConnect',
          )
        : connectPhone(t, connectTcp({ port: door.port, host: '127.0.0.1' }), 'connect'),
  };
}

/** A phone's end of a connection, byte for byte. */
export interface Phone {
  socket: Socket;
  send(text: string): void;
  received(): string;
  /** Resolves to the next whole answer, head and body, judged by its Content-Length. */
  answer(options?: { head?: boolean }): Promise<{ head: string; body: string }>;
  /** Resolves when the connection is over: `ended` by the other side in order, or `cut`. */
  over: Promise<'ended' | 'cut'>;
}

export async function connectPhone(t: Test, socket: Socket, event: string): Promise<Phone> {
  let text = '';
  let read = 0;
  const changes = new Set<() => void>();
  let ended = false;
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
    for (const changed of [...changes]) changed();
  });
  socket.on('end', () => (ended = true));
  socket.on('error', () => undefined);
  const over = new Promise<'ended' | 'cut'>((resolve) =>
    socket.once('close', () => {
      resolve(ended ? 'ended' : 'cut');
      for (const changed of [...changes]) changed();
    }),
  );
  t.teardown(() => socket.destroy());
  await once(socket, event);
  return {
    socket,
    over,
    send: (request) => void socket.write(request, 'latin1'),
    received: () => text,
    answer: ({ head: headOnly = false } = {}) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const rest = text.slice(read);
          const end = rest.indexOf('\r\n\r\n');
          const head = rest.slice(0, end);
          const length = headOnly ? 0 : Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
          if (end !== -1 && rest.length >= end + 4 + length) {
            read += end + 4 + length;
            changes.delete(look);
            resolve({ head, body: rest.slice(end + 4, end + 4 + length) });
          } else if (socket.destroyed) {
            changes.delete(look);
            reject(new Error(`the connection closed before a whole answer: ${JSON.stringify(rest)}`));
          }
        };
        changes.add(look);
        look();
      }),
  };
}

export const post = (body: string, headers = ''): string =>
  `POST /DeploymentService/LoginService HTTP/1.1\r\nHost: dls.example:18443\r\n${headers}Content-Length: ${Buffer.byteLength(body, 'latin1')}\r\n\r\n${body}`;

export { passiveObserver };
