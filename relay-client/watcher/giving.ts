import type { DeviceId } from '../../shared/device-id.ts';
import type { RawHeaders } from '../services/observer.ts';
import { cookiesSet } from './cookies.ts';
import type { Conversation } from './conversations.ts';
import { nameOf } from './identities.ts';
import type { Identities } from './identities.ts';
import type { WatcherLimits } from './limits.ts';

/** The cookies that phones are given: which are learnt, and which are added. */
export interface Giving {
  /** Header lines with a cookie of our own, by which the phone and its session are known on the next connection. */
  own(device: DeviceId, conversation: Conversation): RawHeaders;
  /**
   * Learns upstream's cookies. Returns header lines with one of our own, where there are none and one is of use.
   *
   * @param shown - what the phone has brought along
   * @param last - the phone needn't be known any more
   */
  learn(
    device: DeviceId,
    conversation: Conversation,
    answered: RawHeaders,
    shown: readonly string[],
    last: boolean,
  ): RawHeaders;
  /** Cookies given to somebody unknown may come back from anybody. Nothing is added. */
  disown(answer: { headers: RawHeaders }): RawHeaders;
}

export function createGiving(
  identities: Identities,
  limits: Pick<WatcherLimits, 'cookiesPerDevice'>,
  ownCookieName: string,
): Giving {
  const give = ({ given }: Conversation, cookie: string): void => {
    given.add(nameOf(cookie));
    for (const oldest of given) if (given.size > limits.cookiesPerDevice) given.delete(oldest);
  };

  const own = (device: DeviceId, conversation: Conversation): RawHeaders => {
    const value = identities.tokenOf(device) + conversation.id;
    const given = conversation.given.has(nameOf(value));
    give(conversation, value);
    return given ? [] : ['Set-Cookie', `${ownCookieName}=${value}`];
  };

  return {
    own,
    learn(device, conversation, answered, shown, last) {
      const set = cookiesSet(answered);
      for (const cookie of [...set, ...shown]) identities.learn(device, cookie);
      for (const cookie of set) give(conversation, cookie);
      const needless = last || set.length > 0 || shown.length > 0;
      return needless ? [] : own(device, conversation);
    },
    disown({ headers }) {
      for (const cookie of cookiesSet(headers)) identities.disown(cookie);
      return [];
    },
  };
}
