import { randomBytes } from 'node:crypto';
import type { Test } from 'tap';
import { readActions } from '../../../relay-client/courier/actions.ts';
import { DEFAULT_COURIER } from '../../../relay-client/courier/config.ts';
import type { CourierConfig } from '../../../relay-client/courier/config.ts';
import { createCourier } from '../../../relay-client/courier/courier.ts';
import type { Courier } from '../../../relay-client/courier/courier.ts';
import { readResults } from '../../../relay-client/courier/results.ts';
import type { ActionResult } from '../../../relay-client/courier/results.ts';
import { createModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { Message, Outbox, Push } from '../../../relay-client/outbox/outbox.ts';
import { createPendingView } from '../../../relay-client/pending-view.ts';
import { createSessions } from '../../../relay-client/sessions/sessions.ts';
import { createWatcher } from '../../../relay-client/watcher/watcher.ts';
import { parseDeviceId } from '../../../shared/device-id.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { systemClock } from '../../../shared/clock.ts';
import { silentLog } from '../../../shared/log.ts';
import { createPlainService } from '../../fixtures/services/index.ts';
import type { PlainService, PlainServiceOptions } from '../../fixtures/services/index.ts';
import { createPhone } from '../../phones/index.ts';
import type { Exchange, Phone, PhoneOptions } from '../../phones/index.ts';
import { until as eventually } from '../../fixtures/until.ts';
import { startWpi } from '../services/harness.ts';
import type { WpiUnderTest } from '../services/harness.ts';

export const MAC = '00:1A:E8:00:00:01';
export const DEVICE = parseDeviceId(MAC) as DeviceId;
const WEEK = 7 * 86_400_000;

export interface CourierLab {
  outbox: Outbox;
  courier: Courier;
  service: PlainService;
  wpi: WpiUnderTest;
  /** Sessions that ended: reason and outcome, `by courier` where the courier led them. */
  ended: string[];
  /** Counted results: action and status. */
  counted: string[];
  /** Resolves once `ended` has so many entries. */
  sessions(count: number): Promise<void>;
  /** Another phone at the same door. */
  phone(options?: Partial<PhoneOptions>): Phone & { exchanges: Exchange[] };
  /** Holds actions; resolves once the courier can see them. */
  hold(actions: unknown, more?: Partial<Push>): Promise<Message>;
  call(): Promise<Message>;
  /** The message as it is now, with its results read. */
  look(id: string): Promise<Message & { read: ActionResult[] }>;
  /** Resolves when `condition` holds; rejects, with its text, where it does not within a minute. */
  until(condition: () => boolean | Promise<boolean>): Promise<void>;
}

/** A `wpi` service with a courier behind a door of its own, over real sockets; the outbox is in memory. */
export async function startLab(
  t: Test,
  options: {
    config?: Partial<CourierConfig>;
    service?: PlainServiceOptions;
    clientCa?: string;
    deadAfter?: number;
    /** An upstream that is not there. */
    down?: boolean;
    outbox?: Outbox;
  } = {},
): Promise<CourierLab> {
  const clock = systemClock;
  const outbox = options.outbox ?? createModelOutbox({ clock, random: randomBytes });
  const pending = createPendingView({ outbox, clock, log: silentLog });
  await pending.ready;
  const ended: string[] = [];
  const counted: string[] = [];
  const courier = createCourier({
    config: { ...DEFAULT_COURIER, ...options.config },
    outbox,
    pending,
    clock,
    log: silentLog,
    deadAfter: options.deadAfter ?? 20,
    metrics: {
      action: (action, status) => void counted.push(`${action} ${status}`),
      unproven: () => void counted.push('unproven'),
    },
  });
  const nothing = (): void => undefined;
  const sessions = createSessions({
    outbox,
    pending,
    links: { quiet: nothing, loud: nothing, gap: nothing, told: () => Promise.resolve() },
    clock,
    log: silentLog,
    deadAfterSessions: options.deadAfter ?? 20,
  });
  sessions.onChange(({ session, phase, outcome }) => {
    if (phase === 'ended')
      ended.push(`${session.reason} ${outcome}${session.courier === true ? ' by courier' : ''}`);
  });
  const watcher = createWatcher({
    listener: { ...sessions, warn: nothing },
    clock,
    random: randomBytes,
    log: silentLog,
    contactMeAddress: () => null,
    courier,
  });
  const service = await createPlainService({ tls: false, ...options.service });
  const wpi = await startWpi(t, {
    upstream: options.down === true ? 'http://127.0.0.1:1' : service.url,
    observer: watcher,
    tls: options.clientCa === undefined ? {} : { clientCa: options.clientCa },
  });
  t.teardown(async () => {
    watcher.close();
    await courier.close();
    await sessions.close();
    pending.close();
    await service.close();
    await outbox.close();
  });
  const until = (condition: () => boolean | Promise<boolean>): Promise<void> =>
    eventually(String(condition), condition, 60_000);
  return {
    outbox,
    courier,
    service,
    wpi,
    ended,
    counted,
    until,
    sessions: (count) => until(() => ended.length >= count),
    phone(more = {}) {
      const exchanges: Exchange[] = [];
      const phone = createPhone({
        deviceId: MAC,
        service: `https://127.0.0.1:${wpi.door.port}`,
        pollIntervalMs: 0,
        contactListen: false,
        onExchange: (exchange) => exchanges.push(exchange),
        ...more,
      });
      t.teardown(() => phone.close());
      return Object.assign(phone, { exchanges });
    },
    async hold(actions, more = {}) {
      const push: Push = {
        device: DEVICE,
        kind: 'dls',
        ttl: WEEK,
        delay: 0,
        actions: JSON.stringify(readActions(actions)),
        ...more,
      };
      const { message } = await outbox.push(push);
      await until(() => pending.generation(DEVICE) >= message.generation);
      return message;
    },
    async call() {
      const { message } = await outbox.push({ device: DEVICE, kind: 'contact-me', ttl: WEEK, delay: 0 });
      await until(() => pending.due(DEVICE) >= message.generation);
      return message;
    },
    async look(id) {
      const message = await outbox.message(id);
      if (message === null) throw new Error(`no message ${id}`);
      return { ...message, read: readResults(message.results) };
    },
  };
}

/** What a document of an exchange says, without its head. */
export const bodyOf = (message: Buffer | undefined): string =>
  message?.toString('utf8').split('\r\n\r\n')[1] ?? '';
