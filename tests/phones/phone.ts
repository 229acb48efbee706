/** One simulated OpenStage / OpenScape Desk Phone: registers, polls, listens, obeys. */
import { randomBytes } from 'node:crypto';
import { createActor, type Aftermath } from './actions.ts';
import { realClock } from './clock.ts';
import {
  createContactListener,
  CONTACT_PATH,
  type ContactListener,
  type ContactMe,
} from './contact-listener.ts';
import { createDialer, hostPort, parseTarget, type Dialer, type Target } from './dialer.ts';
import { download } from './download.ts';
import { createEventHub, type EventHub, type PhoneEvent } from './events.ts';
import { baseItems, createItemStore, type ItemStore } from './items.ts';
import { itemValue, type ContactReason, type Item } from './message.ts';
import type { PhoneOptions } from './options.ts';
import type { PollResult } from './poll.ts';
import { createPoller } from './poller.ts';
import { createSessionLine } from './session-line.ts';
import { runSession, type SessionResult } from './session.ts';

export type PhoneCounts = {
  polls: number;
  /** Polls by status, or by fault reason where there was none. */
  pollsBy: Record<string, number>;
  sessions: number;
  /** Sessions by `completed`, `busy` or the failure. */
  sessionsBy: Record<string, number>;
  contacts: number;
  contactsIgnored: number;
};

export type Phone = {
  readonly deviceId: string;
  /** Announced to the service; known after `start`. */
  readonly contactMeUri: string;
  /** Poll base in force, configured or learnt. */
  readonly pollUrl: string | undefined;
  readonly pollIntervalMs: number;
  readonly inCall: boolean;
  readonly inSession: boolean;
  readonly items: ItemStore;
  /** Target of its sessions; secure mode changes it. Undefined without a service. */
  readonly service: Target | undefined;
  readonly counts: Readonly<PhoneCounts>;
  readonly next: EventHub['next'];
  readonly on: EventHub['on'];
  /**
   * Switches the phone on: Contact-me listener, start-up session, poll timer. Resolves when the start-up session has
   * ended, well or not (then it is retried in the background). `startUp: false` omits that session.
   * @throws when the Contact-me address is taken
   */
  start(options?: { startUp?: boolean }): Promise<SessionResult | undefined>;
  /** Polls at once, whatever the timer says; a 202 opens a session. @throws Error without a poll URL */
  pollNow(): Promise<PollResult>;
  /**
   * Opens a session, after those already waiting; a waiting `solicited` one is shared. `items` come on top of the
   * usual ones.
   */
  openSession(reason: ContactReason, items?: Record<string, string>): Promise<SessionResult>;
  /** Resolves once no session is running or waiting, what follows a session included. */
  idle(): Promise<void>;
  /** Begins or ends a call. When it ends, a due solicited session is opened. */
  setInCall(inCall: boolean): void;
  /** A user changes settings: the items are stored and a `local-changes` session reports them (DG p.40). */
  changeLocally(items: Record<string, string>): Promise<SessionResult>;
  /** Power cycle: forgets what a restart forgets and opens `start-up`. */
  restart(): Promise<SessionResult>;
  close(): Promise<void>;
};

type Ran = { result: SessionResult; after: Aftermath[] };
type Unsigned<E> = E extends unknown ? Omit<E, 'deviceId'> : never;

/** Makes a phone; nothing happens before `start` (or `pollNow`, `openSession`). @throws TypeError on a bad address */
export function createPhone(options: PhoneOptions): Phone {
  const { deviceId } = options;
  const clock = options.clock ?? realClock;
  const random = options.random ?? Math.random;
  const hub = createEventHub(deviceId);
  const timeout = options.answerTimeoutMs === undefined ? {} : { answerTimeoutMs: options.answerTimeoutMs };
  const ownDialers: Dialer[] = [];
  let dialer = options.dialer ?? ownDialer(options.tls);
  const items = createItemStore(options.baseItems ?? baseItems());
  const unknownItems = new Set(options.unknownItems);
  const failingItems = new Set(options.failingItems);
  const failingActions = new Set(options.failingActions);
  const counts: PhoneCounts = {
    polls: 0,
    pollsBy: {},
    sessions: 0,
    sessionsBy: {},
    contacts: 0,
    contactsIgnored: 0,
  };
  const local = options.localAddress === undefined ? {} : { localAddress: options.localAddress };
  const overloadWait = options.overloadWaitMs ?? [2000, 4000];

  const defaultTarget = options.service === undefined ? undefined : parseTarget(options.service);
  const defaultDialer = dialer;
  let target = defaultTarget;
  let contactTarget: Target | undefined;
  let contactMeUri = options.contactMeUri ?? `http://192.168.1.100:8085${CONTACT_PATH}`;
  let contactGapMs = options.contactGapMs ?? 300_000;
  let lastContact = -Infinity;
  let listener: ContactListener | undefined;
  let callTimer: unknown;
  let inCall = false;
  let owesSolicited = false;
  let closed = false;
  const sleeps = new Map<unknown, () => void>();

  restoreItems();
  const poller = createPoller({
    deviceId: options.pollDeviceId ?? deviceId,
    url: options.pollUrl,
    intervalMs: options.pollIntervalMs ?? 60_000,
    keepAlive: options.pollKeepAlive ?? false,
    headers: options.pollHeaders ?? [],
    localAddress: options.localAddress,
    dialer,
    clock,
    onResult: polled,
  });
  const line = createSessionLine(deviceId, session, settle);

  function ownDialer(tls: PhoneOptions['tls']): Dialer {
    const made = createDialer({ ...timeout, ...(tls === undefined ? {} : { tls }) });
    ownDialers.push(made);
    return made;
  }

  function emit(event: Unsigned<PhoneEvent>): void {
    const whole = { ...event, deviceId };
    options.onEvent?.(whole);
    hub.emit(whole);
  }

  function restoreItems(): void {
    items.set('mac-addr', deviceId);
    items.set('contact-me-uri', contactMeUri);
    for (const [name, value] of Object.entries(options.items ?? {})) items.set(name, value);
  }

  /** A wait that `close` ends early. */
  function sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (closed || ms <= 0) return resolve();
      const handle = clock.setTimeout(() => {
        sleeps.delete(handle);
        resolve();
      }, ms);
      sleeps.set(handle, resolve);
    });
  }

  function polled(result: PollResult): void {
    const key = String(result.status ?? result.reason);
    counts.polls += 1;
    counts.pollsBy[key] = (counts.pollsBy[key] ?? 0) + 1;
    emit({ type: 'poll', ...result });
    // Whatever else came is no news; the next poll comes when it comes.
    if (result.status === 202 && target && options.comes !== false) line.join('solicited');
  }

  async function session(reason: ContactReason, extra: Item[]): Promise<Ran> {
    if (reason === 'solicited') owesSolicited = false;
    if (!inCall && random() < (options.busyChance ?? 0)) {
      setInCall(true);
      callTimer = clock.setTimeout(() => setInCall(false), options.callDurationMs ?? 5000);
    }
    const actor = createActor({
      items,
      inCall: () => inCall,
      fragmentItems: options.fragmentItems ?? 0,
      fragmentAction: options.fragmentAction ?? 'GetNextFragment',
      unknownItems,
      failingItems,
      failingActions,
      refuseEmpty: options.refuseEmpty ?? false,
      maxItems: options.maxItems ?? Infinity,
      written,
    });
    const to = contactTarget ?? target;
    if (!to) throw new Error(`phone ${deviceId}: a session needs a service, and none was given`);
    contactTarget = undefined;
    emit({ type: 'session-start', reason });
    const result = await runSession(reason, [...initialItems(), ...extra], actor, {
      dialer,
      target: to,
      ...local,
      ...(options.servicePath === undefined ? {} : { path: options.servicePath }),
      cookie: options.cookie ?? 'whole',
      keepAlive: options.keepAlive ?? true,
      acceptChunked: options.acceptChunked ?? false,
      style: {
        ...options.style,
        ...(options.maxItems === undefined ? {} : { maxItems: options.maxItems }),
      },
      headers: options.headers ?? [],
      ...(options.replyDeviceId ? { replyDeviceId: deviceId } : {}),
      overloadRetries: options.overloadRetries ?? 10,
      overloadWait: () => sleep(overloadWait[0] + random() * (overloadWait[1] - overloadWait[0])),
      acceptUnsigned: options.acceptUnsigned ?? true,
      think: () => sleep(options.thinkMs ?? 0),
      newNonce,
      now: clock.now,
      onContact: () => poller.restart(),
      ...(options.onExchange ? { onExchange: options.onExchange } : {}),
    });
    if (!closed) {
      const key = result.failure ?? (result.busy ? 'busy' : 'completed');
      counts.sessions += 1;
      counts.sessionsBy[key] = (counts.sessionsBy[key] ?? 0) + 1;
      emit({ type: 'session', ...result });
    }
    return { result, after: actor.aftermath() };
  }

  function newNonce(): string {
    const hex = randomBytes(16).toString('hex');
    return options.nonceCase === 'lower' ? hex : hex.toUpperCase();
  }

  /** DG p.33–43: what every initiating message carries; what is not known comes as `failed` (p.27). */
  function initialItems(): Item[] {
    const names = ['mac-addr', 'contact-me-uri', 'e164', 'device-type', 'software-type', 'software-version'];
    return [...names, 'part-number'].map((name) => {
      const value = items.get(name);
      return value === undefined ? { name, value: '', status: 'failed' } : { name, value };
    });
  }

  function written(list: readonly Item[]): void {
    const url = itemValue(list, 'dcmp-url');
    const interval =
      options.intervalItem === undefined ? undefined : itemValue(list, options.intervalItem.toLowerCase());
    const gap = Number(itemValue(list, 'dls-contact-interval') ?? Number.NaN);
    if (gap >= 0) contactGapMs = gap * 1000;
    emit({ type: 'items-written', items: list });
    const taught = Number(interval ?? Number.NaN);
    const intervalMs = taught >= 0 ? taught * (options.intervalItemUnitMs ?? 1000) : undefined;
    if (url === undefined && intervalMs === undefined) return;
    poller.learn({ url, intervalMs });
    emit({ type: 'learned', pollUrl: poller.url, pollIntervalMs: poller.intervalMs });
  }

  async function settle({ result, after }: Ran): Promise<void> {
    if (result.sendSolicited && options.supportsSendSolicited !== false) {
      owesSolicited = true;
      payDebt();
    }
    for (const deed of after) {
      if (deed.do === 'transfer') await transfer(deed);
      else await reboot(deed);
      if (closed) return;
    }
    if (result.reason === 'start-up' && result.outcome === 'failed') retryStartUp();
  }

  /** Several requests to call again collapse into one session (DG p.74). */
  function payDebt(): void {
    if (owesSolicited && !inCall && !closed) line.join('solicited');
  }

  function retryStartUp(): void {
    const base = options.startUpRetryMs ?? 30_000;
    if (base <= 0) return;
    void sleep(base * (0.8 + 0.4 * random())).then(() => {
      if (!closed) line.join('start-up');
    });
  }

  async function reboot(deed: Exclude<Aftermath, { do: 'transfer' }>): Promise<void> {
    let cause: 'restart' | 'factory-reset' | 'new-software' | 'secure-mode' = 'restart';
    if (deed.do === 'new-software') {
      cause = 'new-software';
      items.set('software-version', deed.version);
    } else if (deed.do === 'secure-mode') {
      cause = 'secure-mode';
      if (target) target = { ...target, port: deed.port, tls: true };
      const { secureTls } = options;
      if (secureTls) dialer = ownDialer(typeof secureTls === 'function' ? secureTls(items) : secureTls);
      items.set('dls-mode-secure', '1');
    } else if (deed.factoryReset) {
      cause = 'factory-reset';
      items.reset();
      restoreItems();
      // What secure mode was made of is gone as well.
      target = defaultTarget;
      dialer = defaultDialer;
    }
    forget();
    emit({ type: 'restart', cause });
    await sleep(options.rebootMs ?? 0);
    if (!closed) line.join('start-up');
  }

  function forget(): void {
    owesSolicited = false;
    if (options.forgetPollOnRestart !== false) poller.forget();
    else poller.restart();
  }

  async function transfer(deed: Extract<Aftermath, { do: 'transfer' }>): Promise<void> {
    let ok = options.downloads !== 'pretend-failed';
    if ((options.downloads ?? 'fetch') === 'fetch' && deed.url !== undefined && /^https?:/i.test(deed.url)) {
      const got = await download(dialer, deed.url, { ...local, now: clock.now });
      ok = got.status === 200 && got.reason === undefined;
      if (closed) return;
      emit({ type: 'download', url: deed.url, ...got });
    }
    line.join('status', [
      { name: 'file-deployment-name', value: deed.name },
      { name: 'file-deployment-type', value: deed.type },
      { name: 'file-deployment-status', value: ok ? 'ok' : 'failed' },
    ]);
  }

  function onContact(contact: ContactMe): void {
    counts.contacts += 1;
    if (clock.now() - lastContact < contactGapMs) {
      counts.contactsIgnored += 1;
      return emit({ type: 'contact-me', ignored: 'contact-gap', ...contact });
    }
    lastContact = clock.now();
    emit({ type: 'contact-me', ...contact });
    if (options.followContactAddress !== false && contact.address !== undefined) {
      contactTarget = {
        host: contact.address,
        port: contact.port ?? target?.port ?? 18443,
        tls: target?.tls ?? true,
      };
    }
    if (contactTarget ?? target) line.join('solicited');
  }

  function setInCall(value: boolean): void {
    clock.clearTimeout(callTimer);
    if (inCall === value) return;
    inCall = value;
    emit({ type: 'in-call', inCall });
    if (!value) payDebt();
  }

  const asItems = (values: Record<string, string>): Item[] =>
    Object.entries(values).map(([name, value]) => ({ name, value }));

  return {
    deviceId,
    get contactMeUri() {
      return contactMeUri;
    },
    get pollUrl() {
      return poller.url;
    },
    get pollIntervalMs() {
      return poller.intervalMs;
    },
    get inCall() {
      return inCall;
    },
    get inSession() {
      return line.working;
    },
    get service() {
      return target;
    },
    items,
    counts,
    next: hub.next,
    on: hub.on,
    async start({ startUp = true } = {}) {
      const where = options.contactListen ?? { host: options.localAddress ?? '127.0.0.1', port: 0 };
      if (where !== false && !listener) {
        listener = await createContactListener(where, onContact);
        if (closed) await listener.close();
        contactMeUri = options.contactMeUri ?? `http://${hostPort(listener)}${CONTACT_PATH}`;
        items.set('contact-me-uri', contactMeUri);
      }
      poller.restart(options.firstPollDelayMs);
      return startUp ? line.run('start-up') : undefined;
    },
    pollNow: poller.now,
    openSession: (reason, extra = {}) => line.run(reason, asItems(extra)),
    idle: line.idle,
    setInCall,
    changeLocally(values) {
      for (const [name, value] of Object.entries(values)) items.set(name, value);
      return line.run('local-changes', [
        { name: 'configuration-changed-flag', value: 'true' },
        { name: 'configuration-attached-flag', value: 'true' },
        { name: 'configuration-attached-number', value: String(Object.keys(values).length) },
        ...asItems(values),
      ]);
    },
    restart() {
      forget();
      emit({ type: 'restart', cause: 'restart' });
      return line.run('start-up');
    },
    async close() {
      if (closed) return;
      closed = true;
      poller.close();
      clock.clearTimeout(callTimer);
      for (const [handle, wake] of sleeps) {
        clock.clearTimeout(handle);
        wake();
      }
      sleeps.clear();
      for (const own of ownDialers) own.close();
      hub.close();
      const ended = line.close();
      await listener?.close();
      // A shared dialer is not ours to close, so its sessions end when they end.
      if (ownDialers.length > 0) await ended;
    },
  };
}
