import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { describeError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import { buildServiceMessage } from '../../shared/wpi/build.ts';
import type { NewItem } from '../../shared/wpi/build.ts';
import { itemValue } from '../../shared/wpi/message.ts';
import type { PhoneMessage } from '../../shared/wpi/message.ts';
import type { MessageId, Outbox } from '../outbox/outbox.ts';
import type { ByteBudget } from '../services/limits.ts';
import type { OwnAnswer, RawHeaders } from '../services/observer.ts';
import type { SessionOutcome } from '../watcher/session-events.ts';
import type { HeldAction } from './actions.ts';
import type { CourierConfig } from './config.ts';
import { runsAlready, waitFor } from './confirmation.ts';
import { createJob, tooManyItems } from './job.ts';
import type { Job } from './job.ts';
import { COURIER_LIMITS, NONCE_CHARS } from './limits.ts';
import type { ActionResult } from './results.ts';
import type { IsSecret } from './secrets.ts';
import { saveTask, settleWait, taskOf } from './task.ts';
import type { Task } from './task.ts';

/** What a phone gets in a session that the courier leads, and what follows from it. */
export interface Step {
  readonly answer: OwnAnswer;
  /** The Action in it; null for an empty answer. */
  readonly action: string | null;
  /** The Actions that the phone's next message may name. */
  readonly expected: readonly string[];
  /** How the session is over once the answer is delivered; null = it goes on. */
  readonly outcome: SessionOutcome | null;
}

/** One session of a phone in which the courier takes the service's place. */
export interface Delivery {
  /**
   * Answers the phone's message, after what it said is durable. Null, only to the first one: nothing is there for it, so
   * the session is the service's. Never rejects.
   */
  hear(message: PhoneMessage): Promise<Step | null>;
  /** The session is over. What was sent and not answered will be sent again. */
  lapse(): void;
}

export interface DeliveryOptions {
  device: DeviceId;
  outbox: Outbox;
  clock: Clock;
  log: Log;
  config: CourierConfig;
  isSecret: IsSecret;
  /** Bytes of replies that all deliveries hold at once. */
  replies: ByteBudget;
  /** Null = this phone may be told these actions; else for how long they are put off, and says so. */
  keptFrom(actions: readonly HeldAction[]): Milliseconds | null;
  /** Whether a contact-me is offered to the device too. */
  serviceDue(): boolean;
  /** Fruitless sessions after which a message is dead; 0 = never. */
  deadAfter: number;
  /** Told of every action that is answered. */
  answered(result: ActionResult): void;
  /** How long no new software may be sent to the device; 0 = it may. */
  softwareGap(): Milliseconds;
  /** New software was sent. */
  deploying(): void;
  /** A Restart was sent (true) or acknowledged (false): its start-up may be all that is seen of it. */
  restarting(task: Task, sent: boolean): void;
  /** The delivery is over, however. */
  over(): void;
}

const CONTENT_TYPE: RawHeaders = ['Content-Type', 'text/xml'];

/** Called again once idle, for firmware that knows how (Developer's Guide p. 72); older ones are called by their polls. */
const COME_AGAIN: readonly NewItem[] = [{ name: 'send-solicited', value: 'true' }];

/** Actions after which a phone has to be left alone, so that it can do what it was asked. */
const PARTING: ReadonlySet<string> = new Set(['Restart', 'FileDeployment', 'SoftwareDeployment']);

export function createDelivery(options: DeliveryOptions): Delivery {
  const { device, outbox, clock, log, config, isSecret } = options;
  let maxItems: number | null = null;
  let version: string | null = null;
  let task: Task | null = null;
  let job: Job | null = null;
  let answers = 0;
  let over = false;
  /** What was put off in this session. It may be due again at once, where it is about to expire. */
  const putOff = new Set<MessageId>();

  const dropJob = (): void => {
    job?.release();
    job = null;
  };

  const finish = (): void => {
    if (over) return;
    over = true;
    dropJob();
    options.over();
  };

  const end = (nonce: string, outcome: SessionOutcome, items: readonly NewItem[] = []): Step => {
    finish();
    const body = buildServiceMessage({ nonce, action: 'CleanUp', items });
    return {
      answer: { status: 200, headers: CONTENT_TYPE, body },
      action: 'CleanUp',
      expected: [],
      outcome,
    };
  };

  /** Nothing is left that the phone may have now. Where the service wants it too, it's told to come again. */
  const takeLeave = (nonce: string): Step =>
    options.serviceDue() ? end(nonce, 'again', COME_AGAIN) : end(nonce, 'completed');

  const ask = (nonce: string, running: Job): Step => {
    answers += 1;
    const body = running.document(nonce);
    const expected = running.expected();
    return {
      answer: { status: 200, headers: CONTENT_TYPE, body },
      action: expected.at(-1) ?? null,
      expected,
      outcome: null,
    };
  };

  /** The oldest message that is due and that this phone may have; null = none. */
  const nextTask = async (): Promise<Task | null> => {
    for (;;) {
      const message = await outbox.nextActions(device);
      if (message === null || putOff.has(message.id)) return null;
      const found = taskOf(message);
      // The wait for the phone's word ran out, or the results were written and the end was not.
      settleWait(found, 'unconfirmed', clock.wall());
      const left = found.actions.slice(found.results.length);
      const wait = left.length === 0 ? 0 : options.keptFrom(left);
      if (wait === null) return found;
      // What is behind it waits for its turn where the phone itself is known and this is somebody else.
      if (left.length > 0 && wait === 0) return null;
      if (left.length > 0) putOff.add(message.id);
      await saveTask(outbox, found, wait);
    }
  };

  /** Writes down the result of the running action. */
  const record = async (current: Task, result: ActionResult, wait: Milliseconds): Promise<void> => {
    current.results.push(result);
    await saveTask(outbox, current, wait);
    options.answered(result);
  };

  /** Begins the next action; null = there is none that the phone may have now. */
  const begin = async (nonce: string): Promise<Step | null> => {
    for (;;) {
      if (task === null || task.message.state !== 'held' || task.results.length >= task.actions.length) {
        task = await nextTask();
      }
      const action = task?.actions[task.results.length];
      if (over || task === null || action === undefined) return null;
      if (action.action === 'SoftwareDeployment') {
        if (runsAlready(action, version)) {
          const why = 'the phone runs this version already';
          await record(task, { action: action.action, status: 'done', at: clock.wall(), why, items: [] }, 0);
          continue;
        }
        const gap = options.softwareGap();
        if (gap > 0) {
          putOff.add(task.message.id);
          await saveTask(outbox, task, gap);
          task = null;
          continue;
        }
        options.deploying();
      }
      if (!tooManyItems(action, maxItems)) {
        const secrets = { isSecret, secretResults: config.secretResults };
        job = createJob(action, maxItems, secrets, options.replies);
        if (action.action === 'Restart') options.restarting(task, true);
        return ask(nonce, job);
      }
      const why = `the phone takes ${maxItems} items at once, and this action has ${action.items.length}`;
      await record(task, { action: action.action, status: 'failed', at: clock.wall(), why, items: [] }, 0);
    }
  };

  const goOn = async (nonce: string): Promise<Step> => {
    if (answers >= COURIER_LIMITS.answers) return end(nonce, 'again', COME_AGAIN);
    return (await begin(nonce)) ?? takeLeave(nonce);
  };

  const fruitless = async (): Promise<void> => {
    if (task === null) return;
    await outbox.fruitless(device, task.message.generation, options.deadAfter, 'dls');
  };

  const hearReply = async (message: PhoneMessage, running: Job, current: Task): Promise<Step> => {
    const { nonce } = message;
    if (message.reason === 'clean-up') {
      await fruitless();
      finish();
      const answer = { status: 200, headers: [], body: Buffer.alloc(0) };
      return { answer, action: null, expected: [], outcome: 'phone-clean-up' };
    }
    if (message.action !== null && !running.expected().includes(message.action)) {
      log.warn('a phone replied to something else than it was asked', {
        device,
        message: current.message.id,
        asked: running.action.action,
      });
      await fruitless();
      return end(nonce, 'refused');
    }
    if (message.status === 'busy') return end(nonce, 'busy', COME_AGAIN);
    // An action that was begun is brought to its end: its documents are bounded, and half of it is not kept.
    if (!running.take(message)) return ask(nonce, running);
    const result = running.result(clock.wall());
    const accepted = result.status === 'accepted';
    const wait = accepted ? waitFor(running.action, config) : 0;
    dropJob();
    if (running.action.action === 'Restart') options.restarting(current, false);
    await record(current, wait > 0 ? { ...result, status: 'waiting' } : result, wait);
    if (over) return end(nonce, 'cut');
    if (accepted && PARTING.has(running.action.action)) return end(nonce, 'completed');
    return goOn(nonce);
  };

  return {
    async hear(message) {
      try {
        if (over || message.nonce.length > NONCE_CHARS) return over ? end(message.nonce, 'cut') : null;
        if (job !== null && task !== null) return await hearReply(message, job, task);
        maxItems = message.maxItems;
        version = itemValue(message.items, 'software-version');
        const step = await begin(message.nonce);
        if (step === null) finish();
        return step;
      } catch (error) {
        log.error('held actions could not be delivered; they stay held', {
          device,
          message: task?.message.id ?? null,
          error: describeError(error),
        });
        const first = job === null && answers === 0;
        if (!first) return end(message.nonce, 'overloaded');
        finish();
        return null;
      }
    },
    lapse: finish,
  };
}
