/** One DCMP poll: `GET <base>contact-me?device-id=<id>` (WIKI, DG p.15 §1.4.4.3). */
import { hostPort, type Dialer, type PhoneConnection, type Target } from './dialer.ts';
import { HttpFault, type FaultReason, type HttpAnswer } from './http-reader.ts';

/** What a poll brought: a status, or the reason why there is none. */
export type PollResult = {
  status: number | undefined;
  reason?: FaultReason;
  message?: string;
  /** From the connect attempt to the whole answer; waiting for a free place in the dialer does not count. */
  latencyMs: number;
  answer?: HttpAnswer;
};

export type PollRequest = {
  target: Target;
  /** Path and query. */
  path: string;
  keepAlive: boolean;
  /** Further header lines, `name: value`. */
  headers?: string[];
};

/**
 * The request for a poll base and a device id.
 *
 * The base is used as configured: the id is appended to it without inserting a missing `/`, since the vendor does
 * not say that a phone would. Of the id only what cannot stand in a request line is escaped.
 */
export function pollRequest(base: string, deviceId: string, keepAlive = false): PollRequest {
  const found = /^(https?):\/\/(\[[^\]]+\]|[^/:?#]+)(?::([0-9]{1,5}))?(\/[^?#]*)?$/i.exec(base);
  if (!found) throw new TypeError(`poll URL ${JSON.stringify(base)}: expected http(s)://host[:port]/path/`);
  const tls = found[1]?.toLowerCase() === 'https';
  const host = (found[2] ?? '').replace(/^\[|\]$/g, '');
  const target = { host, port: found[3] === undefined ? (tls ? 443 : 80) : Number(found[3]), tls };
  const id = deviceId.replace(/[^!$'()*+,\-./0-9:;=?@A-Z_a-z~%]/g, (c) => encodeURIComponent(c));
  return { target, path: `${found[4] ?? '/'}contact-me?device-id=${id}`, keepAlive };
}

function pollBytes(request: PollRequest): Buffer {
  const lines = [
    `GET ${request.path} HTTP/1.1`,
    `Host: ${hostPort(request.target)}`,
    ...(request.headers ?? []),
  ];
  if (!request.keepAlive) lines.push('Connection: close');
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}

/** Polls once; never rejects. A given live connection is used, otherwise one is opened and handed back if it lives. */
export async function pollOnce(
  dialer: Dialer,
  request: PollRequest,
  now: () => number,
  held: { connection?: PhoneConnection | undefined; localAddress?: string } = {},
): Promise<PollResult> {
  let started = now();
  let connection = held.connection?.alive() ? held.connection : undefined;
  held.connection = undefined;
  try {
    connection ??= await dialer.open(request.target, {
      onTurn: () => (started = now()),
      ...(held.localAddress === undefined ? {} : { localAddress: held.localAddress }),
    });
    const answer = await connection.request(pollBytes(request), { maxBody: 64 * 1024, acceptChunked: true });
    if (request.keepAlive && connection.alive() && !held.connection) held.connection = connection;
    else connection.close();
    return { status: answer.status, latencyMs: now() - started, answer };
  } catch (error) {
    connection?.close();
    const fault = error instanceof HttpFault ? error : new HttpFault('malformed', String(error));
    return { status: undefined, reason: fault.reason, message: fault.message, latencyMs: now() - started };
  }
}
