/** The options of a simulated phone and their defaults. */
import type { PhoneClock } from './clock.ts';
import type { Dialer, PhoneTls } from './dialer.ts';
import type { PhoneEvent } from './events.ts';
import type { ItemStore } from './items.ts';
import type { MessageStyle } from './message.ts';
import type { CookieEcho, Exchange } from './session.ts';

export type PhoneOptions = {
  /** What the phone registers as `mac-addr` and sends as `device-id`, verbatim. Usually `00:1A:E8:…`. */
  deviceId: string;
  /** `https://host:port`, `http://host:port`, or `host:port` (TLS). Without one the phone polls and opens no session. */
  service?: string;
  /** Path posted to. Default `/DeploymentService/LoginService`. */
  servicePath?: string;
  /** Poll base, e.g. `http://proxy:8080/dcmp/`, used exactly as given. Default none: learnt as item `dcmp-url`. */
  pollUrl?: string;
  /** The id as written into the poll, when it shall differ from `deviceId` (other case, no colons, `%3A`…). */
  pollDeviceId?: string;
  /** Default 60 000 ms (the vendor's default is not public). 0 never polls by timer; `pollNow()` still does. */
  pollIntervalMs?: number;
  /** The first poll after `start` comes this much later; default one interval. Lets a fleet spread itself. */
  firstPollDelayMs?: number;
  /** Name of the item that carries the interval. Its real name is not public, so none is known by default. */
  intervalItem?: string;
  /** What one unit of that item means. Default 1000 ms. */
  intervalItemUnitMs?: number;
  /** Keep the polls' connection open between polls. Default false. */
  pollKeepAlive?: boolean;
  /** Further header lines of a poll. */
  pollHeaders?: string[];
  /** Drop the learnt poll settings at each restart; a phone "need not keep them" (WIKI). Default true. */
  forgetPollOnRestart?: boolean;

  /** Where to listen for Contact-me. Default `localAddress` or 127.0.0.1, port 0; false does not listen. */
  contactListen?: { host: string; port: number } | false;
  /** Announced as `contact-me-uri`; default built from `contactListen`, else a private address nobody reaches. */
  contactMeUri?: string;
  /** Least time between two reactions to Contact-me. Default 300 000 ms (AM p.3-26); 0 none. */
  contactGapMs?: number;
  /** Call back where the Contact-me says (`dls_ip_addr`, `dls_ip_port`; DG p.14). Default true. */
  followContactAddress?: boolean;

  /** Default `whole`: attributes included, as captured. */
  cookie?: CookieEcho;
  /** Default true; false sends `Connection: close` with each request of a session. */
  keepAlive?: boolean;
  /** Default false: firmware up to V2R2 cannot read chunked answers, and nothing promises ours may be newer. */
  acceptChunked?: boolean;
  /** How documents are written. */
  style?: MessageStyle;
  /** Further header lines of each session request. */
  headers?: string[];
  /** Repeat `mac-addr` in replies. Default false, as real phones. */
  replyDeviceId?: boolean;
  /** Default 10. */
  overloadRetries?: number;
  /** Random wait before the last message is repeated. Default 2000–4000 ms. */
  overloadWaitMs?: [from: number, to: number];
  /** False: what is not wrapped in a signature is no answer, and the phone ends the session. Default true, as in default mode. */
  acceptUnsigned?: boolean;
  /** Honour `send-solicited` (firmware ≥ V3R3). Default true. */
  supportsSendSolicited?: boolean;
  /** False: told 202, the phone calls nobody, as one does whose service address is wrong. Default true. */
  comes?: boolean;
  /** Pause before each reply to an Action, as slow hardware makes it. Default 0. */
  thinkMs?: number;
  /** Upper-case hex nonces by default. */
  nonceCase?: 'upper' | 'lower';

  /** Further or other items, by name; the base has about 250. */
  items?: Record<string, string>;
  /** A base shared between phones instead of a copy of its own. */
  baseItems?: ReadonlyMap<string, string>;
  /** Split replies above this many items. Default 0: only above 50 kB. */
  fragmentItems?: number;
  /** What the later parts name as their `action`; the vendor's text does not settle it. Default GetNextFragment. */
  fragmentAction?: 'GetNextFragment' | 'original';
  /** Items that WriteItems refuses as `unknown item`. */
  unknownItems?: string[];
  /** Items that WriteItems refuses as `failed`. */
  failingItems?: string[];
  /** Refuse to write an empty value, as `missing item content`. Default false. */
  refuseEmpty?: boolean;
  /** The most items taken in one message, announced as `maxItems`; messages with more fail. Default: any number. */
  maxItems?: number;
  /** Actions that fail as a whole. */
  failingActions?: string[];
  /** `fetch` (default) really downloads http(s) URLs; the others only claim to. */
  downloads?: 'fetch' | 'pretend-ok' | 'pretend-failed';

  /** Chance (0–1) that a call is in progress when a session starts; it ends `callDurationMs` later. Default 0. */
  busyChance?: number;
  /** Default 5000 ms. */
  callDurationMs?: number;
  /** Pause between the end of a session and the start-up that a restart causes. Default 0. */
  rebootMs?: number;
  /** Pause before a failed start-up is tried again, ±20 %. Default 30 000 ms; 0 never. */
  startUpRetryMs?: number;

  /** TLS towards services and https polls. Ignored when `dialer` is given. */
  tls?: PhoneTls;
  /**
   * TLS once `goto-secure-mode` has moved the phone to the secure port (DG p.62–68), or how to read it from the items that
   * the service has written (`dls-client-certificate`, `dls-server-ca`): their format is not public.
   */
  secureTls?: PhoneTls | ((items: ItemStore) => PhoneTls);
  /** Connections shared by several phones; default one of its own. */
  dialer?: Dialer;
  /** Local source address of all connections. */
  localAddress?: string;
  /** Longest silence before an answer counts as failed. Default 30 000 ms. */
  answerTimeoutMs?: number;

  clock?: PhoneClock;
  /** Numbers in [0,1); nonces do not come from it. Default Math.random. */
  random?: () => number;
  onEvent?: (event: PhoneEvent) => void;
  /** Every WPI request and answer byte for byte. */
  onExchange?: (exchange: Exchange) => void;
};
