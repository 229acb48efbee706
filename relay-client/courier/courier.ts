import { LRUCache } from 'lru-cache';
import { parseAllowList } from '../../shared/address.ts';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { describeError, isSallyportError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { PhoneMessage } from '../../shared/wpi/message.ts';
import type { Message, MessageId, Outbox } from '../outbox/outbox.ts';
import type { PendingView } from '../pending-view.ts';
import { createByteBudget } from '../services/limits.ts';
import type { PhoneOrigin } from '../services/service.ts';
import type { HeldAction } from './actions.ts';
import type { CourierConfig } from './config.ts';
import { confirms } from './confirmation.ts';
import { createDelivery } from './delivery.ts';
import type { Delivery } from './delivery.ts';
import { COURIER_LIMITS } from './limits.ts';
import { isProven } from './proof.ts';
import type { ActionResult, ActionStatus } from './results.ts';
import { createIsSecret, tellsSecrets } from './secrets.ts';
import { createStrangers } from './strangers.ts';
import { saveTask, settleWait, taskOf, waitingAction } from './task.ts';
import type { Task } from './task.ts';

/** A phone that opens a session. */
export interface Visit {
  device: DeviceId;
  origin: PhoneOrigin;
  /** Names in its client certificate, verified by this relay; empty without one. */
  names: readonly string[];
}

/** What of the courier's work is counted. */
export interface CourierMetrics {
  /** An action is answered, or its outcome is known. */
  action(action: HeldAction['action'], status: ActionStatus): void;
  /** Actions were kept from a phone because they hold secrets and it isn't proven. */
  unproven(): void;
}

/** Delivers held actions to phones, and brings their answers back. */
export interface Courier {
  /** A phone opens a `solicited` session. Null = nothing is due for it, so the session is the service's. */
  begin(visit: Visit): Delivery | null;
  /** A phone opens a session for another reason: its first message may be the word that is awaited. */
  heard(visit: Visit, message: PhoneMessage): void;
  /** Deliveries that run. */
  count(): number;
  /** Resolves once the outbox has settled everything that was asked of it. */
  close(): Promise<void>;
}

export interface CourierOptions {
  config: CourierConfig;
  outbox: Outbox;
  pending: Pick<PendingView, 'due' | 'holdsActions' | 'actionsDue'>;
  clock: Clock;
  log: Log;
  /** Fruitless sessions after which a message is dead; 0 = never. */
  deadAfter: number;
  metrics?: CourierMetrics;
}

/** The note about actions that were kept from a phone. */
export const UNPROVEN_NOTE = 'courier-unproven';

/** How often waits are looked at. */
const SWEEP_MS: Milliseconds = 1_000;
/** Waits that are ended at a time. */
const SWEEP_STEP = 100;
/** Devices remembered for a Restart that they did not acknowledge. */
const RESTARTS = 10_000;
/** Devices remembered for the new software that they were sent. */
const DEPLOYMENTS = 100_000;
/** Of one device a refusal is noted once in so long. */
const UNPROVEN_NOTE_MS: Milliseconds = 60_000;
const NOTED_DEVICES = 10_000;
/** Messages remembered as unreadable, so that each is told of once and keeps no other from its turn. */
const UNREADABLE = 10_000;

/** @throws SallyportError ADDRESS_INVALID for a network that is none */
export function createCourier(options: CourierOptions): Courier {
  const { config, outbox, pending, clock, log, metrics } = options;
  const isSecret = createIsSecret(config.secretItems);
  const allowed = parseAllowList(config.allowSources);
  const replies = createByteBudget(COURIER_LIMITS.repliesBytes);
  const running = new Map<DeviceId, Delivery>();
  const restarts = new LRUCache<DeviceId, Task>({ max: RESTARTS });
  const deployments = new LRUCache<DeviceId, Milliseconds>({ max: DEPLOYMENTS });
  const noted = new LRUCache<DeviceId, Milliseconds>({ max: NOTED_DEVICES });
  const unreadable = new LRUCache<MessageId, true>({ max: UNREADABLE });
  const strangers = createStrangers(clock);
  const asked = new Set<Promise<void>>();
  let sweeping = false;

  /** Does something on the outbox beside any session. */
  const ask = (what: string, work: () => Promise<void>): void => {
    const settled = work().catch((error: unknown) => {
      if (isSallyportError(error, 'CLOSED')) return;
      log.error('the outbox could not be asked; trying again later', { what, error: describeError(error) });
    });
    asked.add(settled);
    void settled.finally(() => asked.delete(settled));
  };

  const proves = ({ device, names, origin }: Visit): boolean => isProven(device, names, origin, allowed);

  /** Null = the phone may be told; else for how long the actions are put off. */
  const keptFrom = (visit: Visit, actions: readonly HeldAction[]): Milliseconds | null => {
    const { device, origin, names } = visit;
    if (config.deliverUnauthenticated || !tellsSecrets(actions, isSecret)) return null;
    if (proves(visit)) return null;
    metrics?.unproven();
    const now = clock.monotonic();
    const last = noted.get(device);
    if (last === undefined || now - last >= UNPROVEN_NOTE_MS) {
      noted.set(device, now);
      const why = names.length === 0 ? 'no client certificate' : 'its certificate names another device';
      outbox.note(device, UNPROVEN_NOTE, { why, address: origin.address, door: origin.door });
      log.warn('actions with secrets were kept from a phone that is not proven', {
        device,
        why,
        address: origin.address,
        door: origin.door,
      });
    }
    return strangers.refused(device);
  };

  /** A phone that is proven gets at its next poll what was put off because somebody was not. */
  const know = (visit: Visit): void => {
    const { device } = visit;
    if (config.deliverUnauthenticated || !proves(visit) || !strangers.proven(device)) return;
    ask('proven', async () => {
      for (const message of (await outbox.awaited(device)).filter(isReadable)) {
        const task = taskOf(message);
        if (waitingAction(task) === null) await saveTask(outbox, task, 0);
      }
    });
  };

  /** Whether the outbox could open it; says so, once, where it could not. What it waits for then never comes. */
  const isReadable = ({ id, device, actions }: Message): boolean => {
    if (actions !== null) return true;
    if (!unreadable.has(id)) {
      log.error(
        'what a message holds cannot be opened; cancel it, or put a backup of the outbox in its place',
        {
          device,
          message: id,
        },
      );
    }
    unreadable.set(id, true);
    return false;
  };

  /** Ends a wait. A delivery that runs sees to its own message, and never to one that waits. */
  const settle = async (message: Message, status: 'done' | 'failed' | 'unconfirmed'): Promise<void> => {
    const task = taskOf(message);
    const action = waitingAction(task);
    // Nothing of it waits for the phone: it was only put off.
    if (action === null) return saveTask(outbox, task, 0);
    settleWait(task, status, clock.wall());
    await saveTask(outbox, task, 0);
    metrics?.action(action.action, status);
  };

  const hearWord = async (device: DeviceId, message: PhoneMessage): Promise<void> => {
    for (const waiting of (await outbox.awaited(device)).filter(isReadable)) {
      const action = waitingAction(taskOf(waiting));
      const verdict = action === null ? null : confirms(action, message);
      if (verdict !== null) return settle(waiting, verdict);
    }
  };

  /** A phone that starts up has done the Restart that it did not acknowledge. */
  const hearStart = async (device: DeviceId): Promise<void> => {
    const task = restarts.get(device);
    restarts.delete(device);
    if (task === undefined) return;
    running.get(device)?.lapse();
    const result: ActionResult = {
      action: 'Restart',
      status: 'accepted',
      at: clock.wall(),
      why: 'not acknowledged, but the phone has started up since',
      items: [],
    };
    task.results.push(result);
    await saveTask(outbox, task, 0);
    metrics?.action('Restart', 'accepted');
  };

  const sweep = async (): Promise<void> => {
    sweeping = true;
    try {
      const overdue = await outbox.overdue(SWEEP_STEP + unreadable.size);
      for (const message of overdue.filter(isReadable)) {
        if (!running.has(message.device)) await settle(message, 'unconfirmed');
      }
    } finally {
      sweeping = false;
    }
  };
  const sweeper = clock.every(SWEEP_MS, () => {
    if (!sweeping) ask('overdue', sweep);
  });

  return {
    begin(visit) {
      const { device } = visit;
      know(visit);
      if (!pending.actionsDue(device)) return null;
      const former = running.get(device);
      if (former === undefined && running.size >= COURIER_LIMITS.sessions) {
        log.warn('too many deliveries at once; the session goes to the service', { device });
        return null;
      }
      // Only one at a time writes down what a device's messages have come to.
      former?.lapse();
      const delivery = createDelivery({
        device,
        outbox,
        clock,
        log,
        config,
        isSecret,
        replies,
        keptFrom: (actions) => keptFrom(visit, actions),
        serviceDue: () => pending.due(device) > 0,
        deadAfter: options.deadAfter,
        answered: ({ action, status }) => metrics?.action(action, status),
        softwareGap() {
          const last = deployments.get(device);
          return last === undefined ? 0 : Math.max(0, last + config.softwareGap - clock.monotonic());
        },
        deploying: () => void deployments.set(device, clock.monotonic()),
        restarting(task, sent) {
          if (sent) restarts.set(device, task);
          else restarts.delete(device);
        },
        over() {
          if (running.get(device) === delivery) running.delete(device);
        },
      });
      running.set(device, delivery);
      return delivery;
    },
    heard(visit, message) {
      const { device } = visit;
      know(visit);
      if (!pending.holdsActions(device)) return;
      if (message.reason === 'start-up' && restarts.has(device)) ask('restart', () => hearStart(device));
      if (message.reason === 'start-up' || message.reason === 'status') {
        ask('awaited', () => hearWord(device, message));
      }
    },
    count: () => running.size,
    async close() {
      sweeper.cancel();
      for (const delivery of [...running.values()]) delivery.lapse();
      while (asked.size > 0) await Promise.all(asked);
    },
  };
}
