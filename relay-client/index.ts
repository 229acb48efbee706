/**
 * Sallyport in a provisioning service written in TypeScript: the whole relay runs inside it, so the service itself
 * dials out to the proxies, pushes, and is led the phones' sessions.
 *
 * ```ts
 * import { embedRelay, loadRelayConfig } from 'sallyport';
 *
 * const gate = await embedRelay(loadRelayConfig('relay.yaml'));   // its wpi service leads to this very process
 * await gate.push('00:1A:E8:00:00:01', { wait: 'proxy' });        // durable, and known to every connected proxy
 * ```
 */
import { systemClock } from '../shared/clock.ts';
import type { Clock, Milliseconds } from '../shared/clock.ts';
import { parseDeviceId } from '../shared/device-id.ts';
import type { DeviceId } from '../shared/device-id.ts';
import { SallyportError } from '../shared/errors.ts';
import { silentLog } from '../shared/log.ts';
import type { Log } from '../shared/log.ts';
import { softwareVersion } from '../shared/version.ts';
import type { RelayConfig } from './config.ts';
import { readActions } from './courier/actions.ts';
import { readResults } from './courier/results.ts';
import type { ActionResult } from './courier/results.ts';
import type { DeskChange, RelayView } from './desk.ts';
import type { HistoryEntry, Message, Sequence } from './outbox/outbox.ts';
import { createRelay } from './relay.ts';
import type { RelayAddresses } from './relay.ts';

export { loadRelayConfig } from './config.ts';
export type { RelayConfig } from './config.ts';
export { joinProxy } from './links/join.ts';
export type { RelayAddresses } from './relay.ts';
export type { Joined } from './links/join.ts';
export type { DeskChange, ProxyState, RelayView } from './desk.ts';
export type { HeldAction, HeldItem } from './courier/actions.ts';
export type { ActionResult, ActionStatus, ItemResult } from './courier/results.ts';
export type { EndState, HistoryEntry, Message, MessageState } from './outbox/outbox.ts';
export type { DeviceId } from '../shared/device-id.ts';
export { ERROR_CODES, isSallyportError, SallyportError } from '../shared/errors.ts';
export type { ErrorCode } from '../shared/errors.ts';
export { createLog, silentLog } from '../shared/log.ts';
export type { Log } from '../shared/log.ts';

/** How a push may differ from "at once, for seven days". */
export interface PushOptions {
  /** Time to live; default seven days. */
  ttl?: Milliseconds;
  /** Not before this long from now; default 0. */
  delay?: Milliseconds;
  /** Your own name for it: pushing the same again changes nothing. */
  key?: string;
  /**
   * What the phone is to do, as the API takes it: `{action, items}` or WPI documents. With it the message is of kind
   * `dls` and the relay delivers it itself; without, the phone is asked to call the service.
   */
  actions?: unknown;
  /** Supersede what is held for the device, of the same kind. A request to call always does. Default false. */
  replace?: boolean;
  /** `durable` (default): it is on disk. `proxy`: besides, every connected proxy answers by it. */
  wait?: 'durable' | 'proxy';
}

/** A relay inside this process. */
export interface EmbeddedRelay {
  /** What can be asked of links, services, polls and sessions. */
  readonly view: RelayView;
  /** Where API and catcher listen, the latter also at devices' own addresses; null where they don't. */
  readonly addresses: RelayAddresses;
  /** Resolves with the reason when the outbox can no longer be trusted. End the process then: what was accepted is on disk. */
  readonly failed: Promise<Error>;
  /**
   * Asks a phone to call, or holds actions for it: its next poll is answered 202.
   *
   * @throws SallyportError DEVICE_ID_INVALID, REQUEST_INVALID (naming what is wrong with the actions), KEY_REUSED, OUTBOX_FULL, OUTBOX_BUSY, OUTBOX_STORAGE, CLOSED; nothing
   * was accepted then
   */
  push(device: string, options?: PushOptions): Promise<Message>;
  /** Ends what is held for a device up to `generation` (default: all). Resolves to what it ended. */
  clear(device: string, generation?: number): Promise<Message[]>;
  message(id: string): Promise<Message | null>;
  /** What the phone has answered to the actions of a message so far; null where there is no such message. */
  results(id: string): Promise<ActionResult[] | null>;
  /** Messages of a device, newest first. */
  messages(device: string, limit?: number): Promise<Message[]>;
  /** Links, services and sessions, as they change. Returns the way to stop. */
  onChange(listener: (change: DeskChange) => void): () => void;
  /** What happened to messages and devices, from `after` (default: from now on), in order, as it happens. */
  history(after?: Sequence): AsyncIterable<HistoryEntry>;
  /** Re-reads certificates and keys. */
  reload(): Promise<void>;
  /** Tells the proxies, lets running sessions end for a while, closes. */
  close(): Promise<void>;
}

/** Most pushes wait no longer than this for proxies; then they are durable all the same. */
const PROXY_WAIT_MS: Milliseconds = 10_000;
const DEFAULT_TTL_MS: Milliseconds = 7 * 86_400_000;
const HISTORY_PART = 1_000;

/**
 * Starts a relay inside this process.
 *
 * @param options - `log` defaults to silence, `clock` to the machine's
 * @throws SallyportError when a file, a port or the outbox cannot be used
 */
export async function embedRelay(
  config: RelayConfig,
  options: { log?: Log; clock?: Clock } = {},
): Promise<EmbeddedRelay> {
  const relay = await createRelay(config, {
    clock: options.clock ?? systemClock,
    log: options.log ?? silentLog,
    software: softwareVersion(),
  });
  const { outbox, view } = relay;
  let closed = false;
  const wakers = new Set<() => void>();

  async function* history(after?: Sequence): AsyncIterable<HistoryEntry> {
    let seen = after ?? outbox.sequence();
    let wake: () => void = () => undefined;
    const waker = (): void => wake();
    const stop = outbox.onCommit(waker);
    wakers.add(waker);
    try {
      while (!closed) {
        const woken = new Promise<void>((resolve) => (wake = resolve));
        const entries = await outbox.history({ after: seen, limit: HISTORY_PART });
        for (const entry of entries) {
          seen = entry.seq;
          yield entry;
        }
        if (entries.length === 0) await woken;
      }
    } finally {
      stop();
      wakers.delete(waker);
    }
  }

  return {
    view,
    addresses: relay.addresses,
    failed: relay.failed,
    async push(device, { ttl = DEFAULT_TTL_MS, delay = 0, key, actions, replace, wait = 'durable' } = {}) {
      const { message } = await outbox.push({
        device: readDevice(device),
        kind: actions === undefined ? 'contact-me' : 'dls',
        ...(actions === undefined ? {} : { actions: JSON.stringify(readActions(actions)) }),
        ...(replace === undefined ? {} : { replace }),
        ttl,
        delay,
        ...(key === undefined ? {} : { key }),
      });
      if (wait === 'proxy') await view.heldBy(outbox.sequence(), PROXY_WAIT_MS);
      return message;
    },
    clear: (device, generation) =>
      outbox.clear(readDevice(device), {
        state: 'cleared',
        by: 'sdk',
        ...(generation === undefined ? {} : { generation }),
      }),
    message: (id) => outbox.message(id),
    async results(id) {
      const message = await outbox.message(id);
      return message === null ? null : readResults(message.results);
    },
    messages: (device, limit = 100) => outbox.messages(readDevice(device), limit),
    onChange: (listener) => view.onChange(listener),
    history,
    reload: () => relay.reload(),
    async close() {
      closed = true;
      for (const wake of wakers) wake();
      await relay.close();
    },
  };
}

function readDevice(text: string): DeviceId {
  const device = parseDeviceId(text);
  if (device !== null) return device;
  throw new SallyportError(
    'DEVICE_ID_INVALID',
    `${JSON.stringify(text)} is no device id: a MAC, or 1 to 64 of 0-9 A-Z a-z : . - _ +`,
  );
}
