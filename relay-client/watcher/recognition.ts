import type { Clock } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { hasItem } from '../../shared/wpi/message.ts';
import type { PhoneMessage } from '../../shared/wpi/message.ts';
import type { PhoneOrigin } from '../services/service.ts';
import type { Conversation, Conversations } from './conversations.ts';
import { nameOf } from './identities.ts';
import type { Identities } from './identities.ts';
import type { WatcherLimits } from './limits.ts';
import type { SessionListener } from './session-events.ts';

/** What was made out of one message of a phone. */
export interface Heard {
  readonly message: PhoneMessage;
  /** The device that the message itself names; null where it names none, or several. */
  readonly named: DeviceId | null;
  /** The phone's cookies without ours. */
  readonly cookies: readonly string[];
  /** The values under which our own cookie came. */
  readonly tokens: readonly string[];
}

/** By what a message that nobody has read still tells of its phone. */
export type Signs = Pick<Heard, 'cookies' | 'tokens'>;

/** What one connection has told. */
export interface Connection {
  readonly origin: PhoneOrigin;
  /** Names in the client certificate, verified; empty without one. */
  readonly names: readonly string[];
  device: DeviceId | null;
  conversation: Conversation | null;
}

/**
 * Who is speaking. In this order: what the connection has said, upstream's cookie, our own cookie, the address with
 * the awaited Action. What isn't certain is refused and warned of: what is cleared for the wrong phone is lost.
 */
export interface Recognition {
  /** The device of a message that begins a session; null where it stays unknown. */
  deviceOf(connection: Connection, heard: Heard): DeviceId | null;
  /** The session that a reply or clean-up belongs to; null where that isn't certain. */
  conversationOf(connection: Connection, heard: Heard): Conversation | null;
  /** Who the connection and the cookies tell of; null where they say nothing or disagree. */
  bearerOf(connection: Connection, signs: Signs): DeviceId | null;
  /** Whose message it is by all that it says and brings, session or not; null where that says nothing or disagrees. */
  claimedBy(connection: Connection, heard: Heard): DeviceId | null;
}

export function createRecognition(options: {
  identities: Identities;
  conversations: Conversations;
  listener: SessionListener;
  clock: Clock;
  limits: WatcherLimits;
  /** Phones may be in the middle of sessions of which nothing is known here. */
  resumed: boolean;
}): Recognition {
  const { identities, conversations, listener, clock, limits } = options;
  /**
   * From when on upstream's cookies tell phones apart, by the monotonic clock. That all phones have one and the same is
   * known only once a second phone has shown it, and one in the middle of a session has shown it to an earlier run.
   */
  const cookiesFrom = options.resumed ? clock.monotonic() + limits.returnMs : -Infinity;

  const unidentified = ({ origin }: Connection, why: string): null => {
    listener.warn('unidentified', { device: null, why, address: origin.address });
    return null;
  };

  const byCookies = ({ cookies, tokens }: Signs): DeviceId[] =>
    [
      clock.monotonic() >= cookiesFrom ? identities.ownerOf(cookies) : null,
      identities.bearerOf(tokens),
    ].filter((claim) => claim !== null);

  /** The devices that connection, cookies and message tell of: one, if all is well. */
  const claimed = (connection: Connection, signs: Signs, named: DeviceId | null): Set<DeviceId> => {
    const claims = [connection.device, ...byCookies(signs), named];
    return new Set(claims.filter((claim) => claim !== null));
  };

  /** The session of the device that connection, cookies and message agree on; undefined where none says anything. */
  const byClaims = (connection: Connection, heard: Heard) => {
    const { message } = heard;
    const devices = claimed(connection, heard, heard.named);
    const [device] = devices;
    if (device === undefined) return undefined;
    if (devices.size > 1) return unidentified(connection, 'contradicting device ids');
    const conversation = conversations.of(device);
    if (conversation !== null && isOf(conversation, connection, heard)) return conversation;
    if (message.reason === 'reply-to') listener.warn('no-session', { device });
    return null;
  };

  /**
   * Whether it is said in that session of the device: it may be a late reply in one before. Only a cookie proves that the
   * phone has come over from another connection. Without one, its session has to be waiting for just that reply, on no
   * connection in particular.
   */
  const isOf = (conversation: Conversation, connection: Connection, heard: Heard): boolean => {
    const shown = [...heard.cookies, ...heard.tokens].map(nameOf);
    if (shown.some((cookie) => conversation.given.has(cookie))) return true;
    // This very connection has led another session.
    if (connection.conversation !== null && connection.conversation !== conversation) return false;
    if (byCookies(heard).length === 0) return awaits(conversation, heard.message.action);
    return conversation.given.size === 0 || shown.some((cookie) => conversation.brought.has(cookie));
  };

  return {
    deviceOf(connection, heard) {
      const { message, named } = heard;
      if (named !== null) {
        if (identities.admit(named)) return named;
        listener.warn('new-device-limit', { device: null, limit: limits.newDevicesPerMinute });
        return null;
      }
      // What is named but can't be read is another device than any that is known here.
      const [device, ...others] = hasItem(message.items, 'mac-addr') ? [] : claimed(connection, heard, null);
      if (others.length > 0) return unidentified(connection, 'contradicting device ids');
      return device ?? unidentified(connection, 'no device id');
    },
    conversationOf(connection, heard) {
      const { message, named, cookies } = heard;
      const here = connection.conversation;
      if (here !== null && !here.over && here.connection === connection) {
        if (named === null || here.device === null || named === here.device) return here;
        return unidentified(connection, 'another device id than before');
      }
      const claimed = byClaims(connection, heard);
      if (claimed !== undefined) return claimed;
      // A phone that has cookies would have shown those of its session.
      const { action, reason } = message;
      const guessable = action !== null && cookies.length === 0;
      const there = guessable ? conversations.awaitedFrom(connection.origin.address, action) : null;
      return (
        there ?? unidentified(connection, `${reason === 'reply-to' ? 'reply' : 'clean-up'} of nobody known`)
      );
    },
    bearerOf(connection, signs) {
      const [device, ...others] = claimed(connection, signs, null);
      return device === undefined || others.length > 0 ? null : device;
    },
    claimedBy(connection, heard) {
      const { message, named } = heard;
      const [device, ...others] = claimed(connection, heard, named);
      if (device === undefined || others.length > 0) return null;
      if (named === null) return hasItem(message.items, 'mac-addr') ? null : device;
      return identities.admit(device) ? device : null;
    },
  };
}

/** Whether the phone is awaited with a reply to `action`, and on no connection in particular. */
function awaits({ exchange, connection, expected }: Conversation, action: string | null): boolean {
  return exchange === null && connection === null && action !== null && expected.includes(action);
}
