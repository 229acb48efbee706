import type { IncomingMessage, ServerResponse } from 'node:http';
import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../shared/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../../shared/errors.ts';
import type { Pin } from '../../shared/key-pair.ts';
import type { Log } from '../../shared/log.ts';
import { PATHS } from '../../shared/protocol.ts';
import type { JoinAnswer } from '../../shared/protocol.ts';
import { readInvite } from './invite.ts';
import type { Registry } from './registry.ts';

/** Bytes of a join request. */
const JOIN_BYTES = 4_096;

/** Answers what is asked at the relay door by plain HTTP: that a key be registered, by an invite. */
export type JoinDesk = (request: IncomingMessage, response: ServerResponse, pin: Pin | undefined) => void;

/**
 * @param options - `key`: the proxy's own, by which invites are signed; `count`: told why a request is refused
 */
export function createJoinDesk(options: {
  registry: Registry;
  siteExists: (site: string) => boolean;
  key: () => KeyObject;
  clock: Clock;
  log: Log;
  count: (why: string) => void;
}): JoinDesk {
  const { registry, clock, log, count } = options;

  async function join(
    request: IncomingMessage,
    response: ServerResponse,
    pin: Pin | undefined,
  ): Promise<void> {
    if (request.method !== 'POST' || request.url !== PATHS.join) {
      count('path');
      return answer(response, 404, 'relays dial here, by WebSocket');
    }
    if (request.headers.origin !== undefined) {
      count('browser');
      return answer(response, 403, 'relays are no browsers');
    }
    const token = await readToken(request);
    const invite = readInvite(options.key(), token, clock.wall());
    if (pin === undefined) throw new SallyportError('INVITE_INVALID', 'no key was shown');
    if (!options.siteExists(invite.site)) {
      throw new SallyportError('INVITE_INVALID', `site ${invite.site} of the invite is not configured here`);
    }
    if (invite.made <= registry.removedAt(invite.relay)) {
      throw new SallyportError(
        'INVITE_INVALID',
        `relay ${invite.relay} was revoked after this invite was made; make a new one`,
      );
    }
    const owner = registry.byPin(pin);
    if (owner !== null && owner.name !== invite.relay) {
      throw new SallyportError('INVITE_INVALID', `this key is that of relay ${owner.name} already`);
    }
    const namesake = registry.list().find(({ name }) => name === invite.relay);
    if (namesake !== undefined && namesake.site !== invite.site) {
      throw new SallyportError(
        'INVITE_INVALID',
        `relay ${invite.relay} is one of site ${namesake.site} already; invite this one by another name, or revoke that one first`,
      );
    }
    if (!registry.use(token)) {
      throw new SallyportError('INVITE_USED', 'the invite was used already; make a new one');
    }
    registry.put({ name: invite.relay, site: invite.site, pin, added: new Date(clock.wall()).toISOString() });
    log.info('relay joined', { relay: invite.relay, site: invite.site, pin });
    const told: JoinAnswer = { relay: invite.relay, site: invite.site, pin };
    answer(response, 200, JSON.stringify(told));
  }

  return (request, response, pin) =>
    void join(request, response, pin).catch((error: unknown) => {
      const status = isSallyportError(error, 'FILE_UNWRITABLE', 'FILE_UNREADABLE') ? 500 : 403;
      count('join');
      log.warn('join refused', { why: describeError(error) });
      answer(
        response,
        status,
        isSallyportError(error) ? error.message : 'the join request is not understood',
      );
    });
}

async function readToken(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    chunks.push(chunk as Buffer);
    length += (chunk as Buffer).length;
    if (length > JOIN_BYTES) throw new SallyportError('INVITE_INVALID', 'the join request is too large');
  }
  let value: unknown;
  try {
    value = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    // What the parser says would quote the token.
    throw new SallyportError('INVITE_INVALID', 'the join request is not JSON');
  }
  const { token } = (value ?? {}) as { token?: unknown };
  if (typeof token !== 'string') throw new SallyportError('INVITE_INVALID', 'the join request has no token');
  return token;
}

function answer(response: ServerResponse, status: number, text: string): void {
  if (response.headersSent) return;
  const type = status === 200 ? 'application/json' : 'text/plain';
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(text),
    connection: 'close',
  });
  response.end(text);
}
