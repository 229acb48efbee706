import type { Clock } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { parseDeviceId } from '../../shared/device-id.ts';
import type { Log } from '../../shared/log.ts';
import { CONTACT_ME_ITEM, replaceContactMe } from '../../shared/wpi/contact-me-value.ts';
import { hasItem, itemValue } from '../../shared/wpi/message.ts';
import type { PhoneMessage } from '../../shared/wpi/message.ts';
import { readPhoneMessage } from '../../shared/wpi/read.ts';
import type { ConnectionObserver, Exchange, Observer, RawHeaders } from '../services/observer.ts';
import type { PhoneOrigin } from '../services/service.ts';
import type { Courier } from '../courier/courier.ts';
import type { Teacher } from '../teacher/teacher.ts';
import { createAnswerCheck } from '../warnings/answers.ts';
import type { AnswerCheck } from '../warnings/answers.ts';
import { cookiesSent, cookiesSet, takeOwnCookie } from './cookies.ts';
import { createConversations } from './conversations.ts';
import type { Conversation } from './conversations.ts';
import { createDelivering } from './delivering.ts';
import { createFollowing } from './following.ts';
import { createGiving } from './giving.ts';
import { createIdentities, nameOf } from './identities.ts';
import { DEFAULT_WATCHER_LIMITS } from './limits.ts';
import type { WatcherLimits } from './limits.ts';
import { createRecognition } from './recognition.ts';
import type { Connection, Heard } from './recognition.ts';
import type { SessionListener } from './session-events.ts';

export interface WatcherOptions {
  /** Told of every session, synchronously. */
  listener: SessionListener;
  clock: Clock;
  /** Gives that many random bytes; `crypto.randomBytes` is one. */
  random: (size: number) => Uint8Array;
  log: Log;
  /**
   * What a phone's contact-me-uri is to be replaced by; null = leave it. Asked for the device that the message
   * names, which anybody may have written.
   */
  contactMeAddress: (device: DeviceId) => string | null;
  /** Whether a device is known from elsewhere (has something pending, say): such ones are never too new. Default: none is. */
  known?: (device: DeviceId) => boolean;
  /** Name of the cookie that we set where upstream sets none. Default `sallyport`. */
  ownCookieName?: string;
  limits?: Partial<WatcherLimits>;
  /**
   * Whether phones may be in the middle of sessions that an earlier run has followed: then nobody is recognised at
   * first by its address alone, nor by a cookie of upstream's. Default false.
   */
  resumed?: boolean;
  /** Teaches phones what the service doesn't tell them; null or left out = nobody. */
  teacher?: Teacher | null;
  /** Delivers what the relay itself holds for phones; null or left out = nothing is delivered. */
  courier?: Courier | null;
  /** What of a service's answers deserves a warning. Default: the usual. */
  checkAnswer?: AnswerCheck;
}

/** An observer that follows sessions. */
export interface Watcher extends Observer {
  /** Sessions that run. */
  sessions(): number;
  /** Ends them all as cut. */
  close(): void;
}

const PLAIN_REASON = /^[a-z][a-z-]{0,31}$/;

/**
 * Follows WPI sessions in what passes through a `wpi` service. What a phone says is never more than a claim:
 * a session's state changes only by what upstream answers.
 */
export function createWatcher(options: WatcherOptions): Watcher {
  const { listener, clock, random, log, contactMeAddress, known = () => false } = options;
  const limits = { ...DEFAULT_WATCHER_LIMITS, ...options.limits };
  const courier = options.courier ?? null;
  const ownCookieName = options.ownCookieName ?? 'sallyport';
  const identities = createIdentities({ limits, clock, random, known });
  const resumed = options.resumed ?? false;
  const conversations = createConversations({ listener, clock, random, limits, resumed });
  const recognition = createRecognition({ identities, conversations, listener, clock, limits, resumed });

  const giving = createGiving(identities, limits, ownCookieName);
  const { follow, conclude } = createFollowing({
    conversations,
    listener,
    giving,
    teacher: options.teacher ?? null,
    checkAnswer: options.checkAnswer ?? createAnswerCheck(),
    clock,
    log,
  });
  const deliver = createDelivering({ conversations, listener, giving, follow });

  const attach = (connection: Connection, conversation: Conversation): void => {
    connection.conversation = conversation;
    conversation.connection = connection;
    conversations.speaksFrom(conversation, connection.origin.address);
    if (conversation.device !== null) connection.device = conversation.device;
  };

  const begin = (connection: Connection, heard: Heard): Conversation => {
    const former = connection.conversation;
    // On one and the same connection a new beginning is the phone's own word that the former session is over.
    if (former !== null && former.connection === connection) conversations.lapse(former);
    const { reason } = heard.message;
    const device = recognition.deviceOf(connection, heard);
    const begun = conversations.begin(
      device,
      PLAIN_REASON.test(reason) ? reason : 'other',
      connection.origin,
    );
    begun.brought = new Set([...heard.cookies, ...heard.tokens].map(nameOf));
    return begun;
  };

  const proceed = (connection: Connection, heard: Heard): Conversation | null => {
    const conversation = recognition.conversationOf(connection, heard);
    if (conversation === null || heard.message.reason !== 'reply-to') return conversation;
    const { action, status } = heard.message;
    const { expected, device } = conversation;
    if (action !== null && expected.length > 0 && !expected.includes(action)) {
      listener.warn('action-odd', { device });
    }
    conversation.status = status;
    return conversation;
  };

  const withContactMe = (body: Buffer, { items }: PhoneMessage, device: DeviceId | null): Buffer => {
    if (device === null || !hasItem(items, CONTACT_ME_ITEM)) return body;
    const address = contactMeAddress(device);
    if (address === null) return body;
    const replacement = replaceContactMe(body, address);
    if ('body' in replacement) return replacement.body;
    if (replacement.unchanged === 'unsure') listener.warn('contact-me-unsure', { device });
    return body;
  };

  const hear = (connection: Connection, body: Buffer, headers: RawHeaders): Exchange => {
    const own = takeOwnCookie(headers, ownCookieName);
    const message = readPhoneMessage(body);
    if ('unreadable' in message) {
      listener.warn('unreadable', { device: connection.device, why: message.unreadable, bytes: body.length });
      return pass(connection, connection.device, body, own.headers);
    }
    const mac = itemValue(message.items, 'mac-addr');
    const named = mac === null ? null : parseDeviceId(mac);
    const heard: Heard = { message, named, cookies: cookiesSent(own.headers), tokens: own.values };
    const initiating = message.reason !== 'reply-to' && message.reason !== 'clean-up';
    const conversation = initiating ? begin(connection, heard) : proceed(connection, heard);
    if (message.nonce === '') {
      listener.warn('nonce-missing', { device: conversation?.device ?? connection.device });
    }
    const device = conversation === null ? recognition.claimedBy(connection, heard) : conversation.device;
    const changed = withContactMe(body, message, named ?? device);
    if (conversation === null) return pass(connection, device, changed, own.headers);
    attach(connection, conversation);
    if (initiating) callCourier(connection, conversation, heard);
    if (conversation.delivery !== null) {
      return deliver(conversation, conversation.delivery, heard, changed, own.headers);
    }
    const conclusion = conversation.lesson?.hear(message) ?? null;
    if (conclusion !== null) return conclude(conversation, conclusion, changed, own.headers);
    return follow(conversation, heard, changed, own.headers);
  };

  /** A message that belongs to no session. */
  const pass = (
    connection: Connection,
    device: DeviceId | null,
    body: Buffer,
    headers: RawHeaders,
  ): Exchange => ({
    device,
    body,
    headers,
    answered(answer) {
      conversations.doubt(connection.origin.address);
      return giving.disown(answer);
    },
    answeredUnread(answer) {
      conversations.doubt(connection.origin.address);
      giving.disown(answer);
    },
    delivered: () => undefined,
    // It may come again.
    cut: () => conversations.doubt(connection.origin.address),
  });

  /** The courier may lead a session that a phone was called for; of others it hears the first message. */
  const callCourier = (connection: Connection, conversation: Conversation, { message }: Heard): void => {
    const { device } = conversation;
    if (courier === null || device === null) return;
    const { origin, names } = connection;
    const visit = { device, origin, names };
    if (message.reason === 'solicited') conversation.delivery = courier.begin(visit);
    else courier.heard(visit, message);
  };

  const connectionOf = (origin: PhoneOrigin, names: readonly string[] = []): ConnectionObserver => {
    const connection: Connection = { origin, names, device: null, conversation: null };
    return {
      message: ({ headers, body }) => hear(connection, body, headers),
      unread({ reason, headers }) {
        const own = takeOwnCookie(headers, ownCookieName);
        if (reason === 'method') return { headers: own.headers, answered: () => undefined };
        const signs = { cookies: cookiesSent(own.headers), tokens: own.values };
        const device = recognition.bearerOf(connection, signs);
        listener.warn('unread', { device, from: 'phone' });
        // What the phone is asked next, and whether it has to say this again, nobody sees.
        conversations.doubt(origin.address);
        return {
          headers: own.headers,
          answered(answer) {
            conversations.doubt(origin.address);
            if (device === null) giving.disown(answer);
            else for (const cookie of cookiesSet(answer.headers)) identities.learn(device, cookie);
          },
        };
      },
      inSession() {
        const { conversation } = connection;
        return conversation !== null && !conversation.over && conversation.connection === connection;
      },
      closed() {
        const { conversation } = connection;
        connection.conversation = null;
        if (conversation === null || conversation.over || conversation.connection !== connection) return;
        // A phone that is waited for may come back, if it can be told from others; one that was cut off won't.
        if (conversation.exchange === null && conversation.device !== null)
          conversations.detach(conversation);
        else conversations.lapse(conversation);
      },
    };
  };

  return { connection: connectionOf, sessions: conversations.count, close: conversations.close };
}
