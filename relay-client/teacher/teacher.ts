import { LRUCache } from 'lru-cache';
import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { buildServiceMessage } from '../../shared/wpi/build.ts';
import type { NewItem } from '../../shared/wpi/build.ts';
import type { PhoneMessage, ServiceMessage, WpiItem } from '../../shared/wpi/message.ts';
import { isSigned } from '../../shared/wpi/read.ts';
import type { OwnAnswer, RawHeaders } from '../services/observer.ts';
import { headerLines } from '../services/headers.ts';
import type { SessionOutcome } from '../watcher/session-events.ts';
import { fillPlaces } from './places.ts';

/**
 * How a lesson came out: `taught`; `refused` by the phone; `busy`, so it's repeated at the end of the next session;
 * `cut`, as the phone did not come back with a reply.
 */
export type LessonResult = 'taught' | 'refused' | 'busy' | 'cut';

/** Facts that go with a result: names of configured items and fixed words, never a value. */
export type LessonFacts = Readonly<Record<string, string | number>>;

/** The end of a session, as the service means it. */
export interface SessionEnd {
  readonly device: DeviceId;
  readonly reason: string;
  /** The phone's message that the service has answered. */
  readonly asked: PhoneMessage;
  /** `message` is null for an empty answer. */
  readonly answer: {
    readonly headers: RawHeaders;
    readonly body: Buffer;
    readonly message: ServiceMessage | null;
  };
  readonly outcome: SessionOutcome;
}

/** How a lesson ends: what the phone gets, and how the session is over once that is delivered. */
export interface Conclusion {
  readonly answer: OwnAnswer;
  readonly outcome: SessionOutcome;
}

/** An exchange of ours with a phone, behind the back of the service. */
export interface Lesson {
  /** What the phone gets in place of the service's last answer. */
  readonly answer: OwnAnswer;
  /** The Action that it holds, which the phone's reply will name. */
  readonly action: 'WriteItems';
  /** The phone's next message. Null where it's no reply to us: then it's the service's to answer, and the lesson is over. */
  hear(message: PhoneMessage): Conclusion | null;
  /** The session is over. Does nothing where the lesson is, too. */
  lapse(): void;
}

/** Writes items into phones at the end of their start-up sessions, for services that don't do so themselves. */
export interface Teacher {
  /** The service ends a session; null = leave it at that. */
  begin(end: SessionEnd): Lesson | null;
}

export interface TeacherOptions {
  /** Item names and values; see `fillPlaces` for what is filled in. */
  items: Readonly<Record<string, string>>;
  /** The secret in a device's poll path. */
  pollSecretOf: (device: DeviceId) => string;
  clock: Clock;
  /** Told of every lesson that is over, synchronously. */
  tell: (device: DeviceId, result: LessonResult, facts: LessonFacts) => void;
}

/** A phone that doesn't bear our messages is left alone for so long. */
export const LEFT_ALONE_MS: Milliseconds = 24 * 60 * 60_000;

/** After so many lessons in a row to which a phone did not come back, it's left alone, too: it may need its start-ups. */
export const CUTS_IN_A_ROW = 3;

/** Devices remembered for being busy or for being left alone; the one not seen for longest is forgotten. */
const REMEMBERED_DEVICES = 20_000;

/** What a session has to come to for a lesson to follow: the phone has nothing else to do then. */
const ENDED_WELL: ReadonlySet<SessionOutcome> = new Set(['completed', 'again']);

interface Pupil {
  /** It was busy: the next session's end will do, whatever its reason. */
  due: boolean;
  cuts: number;
  /** Monotonic time until which it's left alone. */
  aloneUntil: Milliseconds;
}

export function createTeacher({ items, pollSecretOf, clock, tell }: TeacherOptions): Teacher {
  const names = Object.keys(items);
  const pupils = new LRUCache<DeviceId, Pupil>({ max: REMEMBERED_DEVICES });

  const report = (device: DeviceId, result: LessonResult, facts: LessonFacts): void =>
    tell(device, result, { items: names.join(', '), ...facts });

  const begin = ({ device, reason, asked, answer, outcome }: SessionEnd): Lesson | null => {
    const pupil = pupils.get(device) ?? { due: false, cuts: 0, aloneUntil: 0 };
    if (reason !== 'start-up' && !pupil.due) return null;
    pupils.set(device, pupil);
    if (clock.monotonic() < pupil.aloneUntil) return null;
    if (outcome === 'busy') {
      if (!pupil.due) report(device, 'busy', { why: 'the phone was busy in the session itself' });
      pupil.due = true;
      return null;
    }
    if (!ENDED_WELL.has(outcome)) return null;
    pupil.due = false;
    if (asked.maxItems !== null && asked.maxItems < names.length) {
      report(device, 'refused', { why: 'the phone takes fewer items at once', takes: asked.maxItems });
      return null;
    }
    const signed = isSigned(answer.body);
    let over = false;

    const finish = (result: LessonResult, facts: LessonFacts = {}): void => {
      over = true;
      pupil.cuts = result === 'cut' ? pupil.cuts + 1 : 0;
      pupil.due = result === 'busy';
      if (pupil.cuts < CUTS_IN_A_ROW) return report(device, result, facts);
      leaveAlone();
      report(device, result, { ...facts, left_alone_h: LEFT_ALONE_MS / 3_600_000 });
    };
    const leaveAlone = (): void => {
      pupil.cuts = 0;
      pupil.aloneUntil = clock.monotonic() + LEFT_ALONE_MS;
    };

    return {
      action: 'WriteItems',
      answer: {
        status: 200,
        headers: [...CONTENT_TYPE, ...headerLines(answer.headers, 'set-cookie')],
        body: buildServiceMessage({
          nonce: asked.nonce,
          action: 'WriteItems',
          items: Object.entries(items).map(([name, value]) => ({
            name,
            value: fillPlaces(value, device, pollSecretOf),
          })),
        }),
      },
      hear(message) {
        if (over) return null;
        if (message.reason === 'clean-up') {
          leaveAlone();
          finish('refused', {
            why: signed
              ? 'the service signs its answers, and the phone ended the session at our unsigned one'
              : 'the phone ended the session',
            left_alone_h: LEFT_ALONE_MS / 3_600_000,
          });
          return { answer: { status: 200, headers: [], body: Buffer.alloc(0) }, outcome: 'phone-clean-up' };
        }
        if (message.action !== null && message.action !== 'WriteItems') {
          finish('cut', { why: 'the phone replied to something else' });
          return null;
        }
        const [result, facts] = judge(message, names);
        finish(result, facts);
        const items = (answer.message?.items ?? []).map(anew);
        const asksAgain = items.some(({ name }) => name === COME_AGAIN.name);
        const body = buildServiceMessage({
          nonce: message.nonce,
          action: 'CleanUp',
          items: result === 'busy' && !asksAgain ? [...items, COME_AGAIN] : items,
        });
        return { answer: { status: 200, headers: CONTENT_TYPE, body }, outcome };
      },
      lapse() {
        if (!over) finish('cut', { why: 'the phone did not reply' });
      },
    };
  };

  return { begin };
}

/**
 * Has a phone call once it is idle (Developer's Guide p. 72). Not taught, it polls nobody: it might not be heard of before
 * its next start-up. Older firmware does not know the item.
 */
const COME_AGAIN: NewItem = { name: 'send-solicited', value: 'true' };

const CONTENT_TYPE: RawHeaders = ['Content-Type', 'text/xml'];

/** What the phone's reply to our items means. */
function judge({ status, items }: PhoneMessage, names: readonly string[]): [LessonResult, LessonFacts] {
  if (status === 'busy') return ['busy', {}];
  const refused = items.filter((item) => names.includes(item.name) && !isFine(item.status));
  const listed = [...new Set(refused.map(({ name, status: why }) => `${name}: ${plain(why)}`))].join(', ');
  const facts = listed === '' ? {} : { refused: listed };
  if (!isFine(status)) return ['refused', { why: `the phone replied ${plain(status)}`, ...facts }];
  return listed === '' ? ['taught', {}] : ['refused', { why: 'the phone refused items', ...facts }];
}

function isFine(status: string | null): boolean {
  return status === null || status === '' || status === 'accepted';
}

/** A phone's status word, which may be anything. */
function plain(status: string | null): string {
  return status !== null && /^[a-z][a-z -]{0,31}$/.test(status) ? status : 'an odd status';
}

/** An item of the service, to be handed on: that it wants to hear from the phone again, mostly. */
function anew({ name, index, status, value }: WpiItem): NewItem {
  return { name, value, ...(index === null ? {} : { index }), ...(status === null ? {} : { status }) };
}
