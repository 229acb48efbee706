/** One WPI session: the phone opens it, answers action after action, until the service ends it (DG p.32). */
import type { Actor } from './actions.ts';
import { hostPort, type Dialer, type PhoneConnection, type Target } from './dialer.ts';
import { HttpFault, header, type FaultReason, type HttpAnswer } from './http-reader.ts';
import {
  itemValue,
  readServiceMessage,
  writePhoneMessage,
  type ContactReason,
  type Item,
  type MessageStyle,
  type PhoneMessage,
  type ServiceMessage,
} from './message.ts';

/** Path that real phones post to. */
export const SERVICE_PATH = '/DeploymentService/LoginService';
/** Requests after which a phone gives a session up; a service that never ends one must not hold the test. */
export const MAX_REQUESTS = 1000;

/** `whole`: the Set-Cookie value with its attributes, as captured from real phones; `pair`: name=value; `none`. */
export type CookieEcho = 'whole' | 'pair' | 'none';

export type SessionFailure =
  FaultReason | 'http-status' | 'invalid-xml' | 'unsigned' | 'nonce' | 'overload' | 'too-many-requests';

export type SessionResult = {
  reason: ContactReason;
  /** `completed`: the service ended it. `failed`: see `failure`. */
  outcome: 'completed' | 'failed';
  failure?: SessionFailure;
  /** What failed, for people. */
  message?: string;
  /** HTTP status that ended a failed session. */
  status?: number;
  endedBy?: 'clean-up' | 'empty-200' | '204';
  /** Actions the service sent, CleanUp included, in order. */
  actions: string[];
  /** Status of each reply given, in order. */
  replies: string[];
  /** The last reply said `busy`. */
  busy: boolean;
  /** The ending CleanUp asked the phone to call again once idle. */
  sendSolicited: boolean;
  cleanupReason?: string;
  /** Times the service shed load and the last message was repeated. */
  overloads: number;
  requests: number;
  /** Connections used. */
  connections: number;
  /** Any answer came back at all. */
  contacted: boolean;
  /** From the first connect attempt; waiting for a free place in a shared dialer does not count. */
  durationMs: number;
};

/** One request and its answer, byte for byte. */
export type Exchange = { request: Buffer; answer: Buffer; status: number };

export type SessionSettings = {
  dialer: Dialer;
  target: Target;
  /** Default {@link SERVICE_PATH}. */
  path?: string;
  localAddress?: string;
  cookie: CookieEcho;
  /** False: `Connection: close` and a new connection for each request, as a CP210 does. */
  keepAlive: boolean;
  acceptChunked: boolean;
  acceptUnsigned: boolean;
  style: MessageStyle;
  /** Further header lines of each request. */
  headers: string[];
  /** Repeat `mac-addr` in each reply; real phones often do not. */
  replyDeviceId?: string;
  /** Times the last message is repeated after an overload answer before giving up. */
  overloadRetries: number;
  overloadWait: () => Promise<void>;
  /** A pause before each reply. */
  think: () => Promise<void>;
  newNonce: () => string;
  now: () => number;
  /** Called at each answer of the service. */
  onContact: () => void;
  onExchange?: (exchange: Exchange) => void;
};

/** Runs one session to its end; never rejects. */
export async function runSession(
  reason: ContactReason,
  items: Item[],
  actor: Actor,
  settings: SessionSettings,
): Promise<SessionResult> {
  let started = settings.now();
  const result: SessionResult = {
    reason,
    outcome: 'failed',
    actions: [],
    replies: [],
    busy: false,
    sendSolicited: false,
    overloads: 0,
    requests: 0,
    connections: 0,
    contacted: false,
    durationMs: 0,
  };
  let connection: PhoneConnection | undefined;
  let cookie: string | undefined;

  async function exchange(message: PhoneMessage, nonce: string): Promise<HttpAnswer> {
    result.requests += 1;
    if (!connection?.alive()) {
      const { localAddress } = settings;
      connection = await settings.dialer.open(settings.target, {
        ...(localAddress === undefined ? {} : { localAddress }),
        first: true,
        onTurn: () => {
          if (result.connections === 0) started = settings.now();
        },
      });
      result.connections += 1;
    }
    const request = requestBytes(message, nonce, cookie, settings);
    const answer = await connection.request(request, { acceptChunked: settings.acceptChunked });
    if (!settings.keepAlive) connection.close();
    result.contacted = true;
    settings.onContact();
    settings.onExchange?.({ request, answer: answer.raw, status: answer.status });
    cookie = echoed(answer, settings.cookie) ?? cookie;
    return answer;
  }

  function fail(failure: SessionFailure, message: string): void {
    result.failure = failure;
    result.message = message;
  }

  /** The phone's own end of a session (DG p.13). */
  async function sayFarewell(why: string): Promise<void> {
    const items: Item[] = [{ name: 'cleanup-reason', value: why }];
    await exchange({ reason: 'clean-up', items }, settings.newNonce());
  }

  async function converse(): Promise<void> {
    let message: PhoneMessage = { reason, items };
    while (result.requests < MAX_REQUESTS) {
      const nonce = settings.newNonce();
      const answer = await exchange(message, nonce);
      if (answer.status === 204 || (answer.status === 200 && answer.body.length === 0)) {
        result.outcome = 'completed';
        result.endedBy = answer.status === 204 ? '204' : 'empty-200';
        return;
      }
      if (answer.status !== 200) {
        result.status = answer.status;
        return fail('http-status', `the service answered ${answer.status}`);
      }
      let order: ServiceMessage;
      try {
        order = readServiceMessage(answer.body);
      } catch (error) {
        fail('invalid-xml', error instanceof Error ? error.message : String(error));
        return sayFarewell('invalid XML');
      }
      if (!settings.acceptUnsigned && !isSigned(answer.body)) {
        fail('unsigned', 'the answer is not signed');
        return sayFarewell('not signed');
      }
      result.actions.push(order.action);
      if (order.nonce !== nonce) return fail('nonce', 'the answer does not repeat the nonce of its request');
      if (order.action !== 'CleanUp') {
        await settings.think();
        message = actor.perform(order);
        if (settings.replyDeviceId !== undefined) {
          message.items.unshift({ name: 'mac-addr', value: settings.replyDeviceId });
        }
        result.replies.push(message.status ?? '');
        result.busy = message.status === 'busy';
        continue;
      }
      const why = itemValue(order.items, 'cleanup-reason');
      if (why?.toLowerCase() === 'overload') {
        result.overloads += 1;
        if (result.overloads > settings.overloadRetries)
          return fail('overload', 'the service kept shedding load');
        connection?.close();
        await settings.overloadWait();
        continue;
      }
      result.outcome = 'completed';
      result.endedBy = 'clean-up';
      result.sendSolicited = itemValue(order.items, 'send-solicited')?.toLowerCase() === 'true';
      if (why !== undefined && why !== '') result.cleanupReason = why;
      return;
    }
    fail('too-many-requests', `no end after ${MAX_REQUESTS} requests`);
  }

  try {
    await converse();
  } catch (error) {
    if (result.failure === undefined) {
      if (error instanceof HttpFault) fail(error.reason, error.message);
      else fail('malformed', error instanceof Error ? error.message : String(error));
    }
  }
  connection?.close();
  result.durationMs = settings.now() - started;
  return result;
}

/** Whether an answer is wrapped in a signature; who made it is not looked at. */
function isSigned(body: Buffer): boolean {
  return /^\s*(<\?xml[^>]*>\s*)?<(\w+:)?Signature[\s>]/.test(body.toString('latin1'));
}

function requestBytes(
  message: PhoneMessage,
  nonce: string,
  cookie: string | undefined,
  s: SessionSettings,
): Buffer {
  const body = Buffer.from(writePhoneMessage(message, nonce, s.style), 'utf8');
  const lines = [
    `POST ${s.path ?? SERVICE_PATH} HTTP/1.1`,
    `Host: ${hostPort(s.target)}`,
    'Content-Type: text/xml',
    `Content-Length: ${body.length}`,
    ...s.headers,
  ];
  if (cookie !== undefined) lines.push(`Cookie: ${cookie}`);
  if (!s.keepAlive) lines.push('Connection: close');
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), body]);
}

function echoed(answer: HttpAnswer, mode: CookieEcho): string | undefined {
  const set = header(answer.headers, 'set-cookie');
  if (set === undefined || mode === 'none') return undefined;
  return mode === 'whole' ? set : (set.split(';')[0] ?? set).trim();
}
