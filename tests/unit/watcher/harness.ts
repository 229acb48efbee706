import { buildPhoneMessage, buildServiceMessage } from '../../../shared/wpi/build.ts';
import type { NewItem } from '../../../shared/wpi/build.ts';
import { silentLog } from '../../../shared/log.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import type {
  Exchange,
  OwnAnswer,
  RawHeaders,
  UnreadExchange,
} from '../../../relay-client/services/observer.ts';
import type { PhoneOrigin } from '../../../relay-client/services/service.ts';
import type { SessionListener, SessionOutcome } from '../../../relay-client/watcher/session-events.ts';
import { createWatcher } from '../../../relay-client/watcher/watcher.ts';
import type { Watcher, WatcherOptions } from '../../../relay-client/watcher/watcher.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import type { FakeClock } from '../../fixtures/fake-clock.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';

export const MAC = '00:1A:E8:00:00:01';
export const DEVICE = '00:1a:e8:00:00:01' as DeviceId;
export const NONCE = '00112233445566778899AABBCCDDEEFF';

/** What the listener was told, one line each: `began 00:… solicited`, `answered ReadItems`, `ended completed`, `odd …`. */
export interface Stage {
  watcher: Watcher;
  clock: FakeClock;
  told: string[];
  /** The outcomes only, each with its device. */
  outcomes(): string[];
  /** Everything told since the last call. */
  since(): string[];
  connect(address?: string): PhoneSide;
}

export interface PhoneSide {
  /** A message that begins a session, with the device's MAC unless `mac` is null. */
  begin(
    reason?: string,
    options?: { mac?: string | null; cookie?: string; nonce?: string; items?: NewItem[] },
  ): Step;
  reply(
    action: string,
    options?: { status?: string; mac?: string; cookie?: string; items?: NewItem[] },
  ): Step;
  cleanUp(options?: { cookie?: string }): Step;
  post(body: Buffer, headers?: RawHeaders): Step;
  close(how?: 'ended' | 'cut'): void;
  /** A request that nobody reads, and what is made of it. */
  unread(reason: 'method' | 'size', headers?: RawHeaders): UnreadExchange;
}

/** One exchange under way. */
export interface Step {
  exchange: Exchange;
  /** Upstream answers with an Action and it's delivered; returns the header lines that were added. */
  action(
    action: string,
    options?: { items?: NewItem[]; setCookie?: string | string[]; nonce?: string },
  ): RawHeaders;
  /** As `action`, but its last byte isn't handed over. */
  undelivered(action: string, options?: { items?: NewItem[] }): RawHeaders;
  /** Upstream answers with these bytes and it's delivered. */
  answer(status: number, body?: string | Buffer): RawHeaders;
  /** What the phone gets in place of upstream's last answer; null = that answer. */
  instead: OwnAnswer | null;
}

export function createStage(options: Partial<WatcherOptions> = {}): Stage {
  const clock = createFakeClock();
  const told: string[] = [];
  let read = 0;
  const listener: SessionListener = {
    began: (session) => told.push(`began ${session.device} ${session.reason}`),
    answered: (_session, action) => told.push(`answered ${action}`),
    ended: (session, outcome: SessionOutcome) =>
      told.push(`ended ${session.device} ${session.reason} ${outcome}`),
    warn: (what, { device, why }) =>
      told.push(`odd ${what} ${device}${why === undefined ? '' : ` (${why})`}`),
  };
  const watcher = createWatcher({
    listener,
    clock,
    random: seededRandom(1),
    log: silentLog,
    contactMeAddress: () => null,
    ...options,
  });
  return {
    watcher,
    clock,
    told,
    outcomes: () =>
      told.filter((line) => line.startsWith('ended')).map((line) => line.split(' ').at(-1) ?? ''),
    since() {
      const lines = told.slice(read);
      read = told.length;
      return lines;
    },
    connect: (address = '192.0.2.1') => phoneSide(watcher, address),
  };
}

export function phoneOrigin(address: string): PhoneOrigin {
  return { proxy: 'proxy', door: 'wpi', address, port: 50_000, tls: 'relay' };
}

function phoneSide(watcher: Watcher, address: string): PhoneSide {
  const connection = watcher.connection(phoneOrigin(address));
  const post = (body: Buffer, headers: RawHeaders = []): Step => {
    const exchange = connection.message({ path: '/DeploymentService/LoginService', headers, body });
    const added = (answer: Parameters<Exchange['answered']>[0]): RawHeaders => {
      const shown = exchange.answered(answer);
      step.instead = 'body' in shown ? shown : null;
      return 'body' in shown ? shown.headers : shown;
    };
    const undelivered: Step['undelivered'] = (action, given: Parameters<Step['action']>[1] = {}) => {
      const { items = [], setCookie = [], nonce = NONCE } = given;
      const cookies = [setCookie].flat().flatMap((cookie) => ['Set-Cookie', cookie]);
      const answer = buildServiceMessage({ nonce, action, items });
      return added({
        status: 200,
        headers: ['Content-Type', 'text/xml', ...cookies],
        body: answer,
      });
    };
    const step: Step = {
      exchange,
      instead: null,
      undelivered,
      action(action, given) {
        const lines = undelivered(action, given);
        exchange.delivered();
        return lines;
      },
      answer(status, answer = '') {
        const lines = added({ status, headers: [], body: Buffer.from(answer) });
        exchange.delivered();
        return lines;
      },
    };
    return step;
  };
  const cookieLine = (cookie: string | undefined): RawHeaders =>
    cookie === undefined ? ['Host', 'dls'] : ['Host', 'dls', 'Cookie', cookie];
  return {
    post,
    begin(reason = 'solicited', { mac = MAC, cookie, nonce = NONCE, items = [] } = {}) {
      const all = mac === null ? items : [{ name: 'mac-addr', value: mac }, ...items];
      return post(buildPhoneMessage({ nonce, reason, items: all }), cookieLine(cookie));
    },
    reply(action, { status = 'accepted', mac, cookie, items = [] } = {}) {
      const all = mac === undefined ? items : [{ name: 'mac-addr', value: mac }, ...items];
      const body = buildPhoneMessage({ nonce: NONCE, reason: 'reply-to', action, status, items: all });
      return post(body, cookieLine(cookie));
    },
    cleanUp: ({ cookie } = {}) =>
      post(buildPhoneMessage({ nonce: NONCE, reason: 'clean-up' }), cookieLine(cookie)),
    close: (how = 'ended') => connection.closed(how),
    unread: (reason, headers = []) => connection.unread({ method: 'POST', path: '/', headers, reason }),
  };
}
