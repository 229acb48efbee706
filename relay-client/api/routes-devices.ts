import type { Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { UNPROVEN_NOTE } from '../courier/courier.ts';
import type { HeldAt } from '../desk.ts';
import type { HistoryEntry, Message } from '../outbox/outbox.ts';
import { LESSON_NOTES } from '../sessions/sessions.ts';
import { atAll } from '../why/standing.ts';
import type { Why, WhyFacts } from '../why/facts.ts';
import { why } from '../why/why.ts';
import type { Context } from './context.ts';
import { listDevices, stranger } from './device-list.ts';
import { ApiError } from './errors.ts';
import { isoTime, maybeIsoTime, presentDevice, presentEvent, presentMessage, presentWhy } from './present.ts';
import { route } from './router.ts';
import type { Route } from './router.ts';
import { z } from './schema.ts';
import { deviceParams, devicesQuery, noFields } from './shapes/requests.ts';
import { deviceDetailShape, devicesShape, unknownDevicesShape, whyShape } from './shapes/devices.ts';
import type { DeviceDetailBody } from './shapes/devices.ts';

const DEFAULT_LIST = 100;
/** How much of a device's past one look at it shows. */
const DETAIL_MESSAGES = 20;
const DETAIL_HISTORY = 50;
/** Enough to see every held message: what one device may have held is limited to as many. */
const WHY_MESSAGES = 100;

/** Everything about devices. */
export function deviceRoutes(context: Context): Route[] {
  const { view, clock } = context;
  return [
    route(
      {
        method: 'GET',
        path: '/v1/devices',
        operation: 'listDevices',
        summary: 'Devices, page by page',
        params: noFields,
        query: devicesQuery,
        answers: {
          200: {
            description: 'A page of devices; with unknown=true those never pushed to.',
            shape: z.union([devicesShape, unknownDevicesShape]),
          },
        },
      },
      async ({ query }) => {
        const limit = query.limit ?? DEFAULT_LIST;
        if (query.unknown === true) {
          const part = query.q?.toLowerCase() ?? '';
          const found = view.unknownDevices().filter(({ device }) => device.includes(part));
          const newest = found.sort((a, b) => b.at - a.at).slice(0, limit);
          return {
            status: 200,
            json: { unknown: newest.map((each) => ({ ...each, at: isoTime(each.at) })) },
          };
        }
        const { devices, next } = await listDevices(context, query, limit);
        const now = clock.wall();
        return {
          status: 200,
          json: { devices: devices.map((record) => presentDevice(record, view, now)), next },
        };
      },
    ),
    route(
      {
        method: 'GET',
        path: '/v1/devices/{id}',
        operation: 'device',
        summary: 'All that is known about a device',
        params: deviceParams,
        query: noFields,
        answers: { 200: { description: 'The device.', shape: deviceDetailShape } },
        refusals: [404],
      },
      async ({ params }) => ({ status: 200, json: await detail(context, params.id) }),
    ),
    route(
      {
        method: 'GET',
        path: '/v1/devices/{id}/why',
        operation: 'why',
        summary: "Where a device's work stands, and what to do",
        params: deviceParams,
        query: noFields,
        answers: { 200: { description: 'A verdict; also for devices never heard of.', shape: whyShape } },
      },
      async ({ params }) => ({
        status: 200,
        json: presentWhy(await explain(context, params.id, clock.wall())),
      }),
    ),
  ];
}

async function detail(context: Context, device: DeviceId): Promise<DeviceDetailBody> {
  const { outbox, view, clock } = context;
  const [record, messages, history] = await Promise.all([
    outbox.device(device),
    outbox.messages(device, DETAIL_MESSAGES),
    outbox.recentHistory(device, DETAIL_HISTORY),
  ]);
  const known =
    record !== null ||
    view.lastPoll(device) !== null ||
    view.unknownDevices().some((each) => each.device === device);
  if (!known)
    throw new ApiError('NOT_FOUND', `Device ${device} was never pushed to and was not seen to poll`, {
      field: 'id',
    });
  const session = view.session(device);
  const now = clock.wall();
  return {
    ...presentDevice(record ?? stranger(device), view, now),
    session:
      session === null
        ? null
        : {
            id: session.id,
            reason: session.reason,
            started_at: isoTime(session.startedAt),
            action: session.action,
            answered: session.answered,
          },
    quiet_until: maybeIsoTime(view.quietUntil(device)),
    poll_path: view.pollPath(device),
    messages: messages.map((message) => {
      const held = heldAt(message, history, context);
      return {
        ...presentMessage(message, view, now, true),
        at_proxies: maybeIsoTime(atAll(held)),
        proxies: held.map(({ proxy, since, exact }) => ({ url: proxy, since: maybeIsoTime(since), exact })),
      };
    }),
    history: history.map(presentEvent),
  };
}

/** Where the change that began a message stands; the newest one, where it was re-driven. */
function heldAt(
  { id, state }: Message,
  history: HistoryEntry[],
  { view, outbox }: Pick<Context, 'view' | 'outbox'>,
): HeldAt[] {
  const begun = history.find(
    ({ event, message }) => (event === 'accepted' || event === 'redriven') && message === id,
  );
  if (begun !== undefined) return view.heldAt(begun.seq);
  if (state !== 'held') return [];
  // So long ago that nobody looks for it: whoever holds everything holds it, too, and longer than that.
  return view.heldAt(outbox.sequence()).map((each) => ({ ...each, exact: false }));
}

/** Gathers the facts and decides. */
async function explain(
  { outbox, view }: Pick<Context, 'outbox' | 'view'>,
  device: DeviceId,
  now: Milliseconds,
): Promise<Why> {
  const [record, messages, history] = await Promise.all([
    outbox.device(device),
    outbox.messages(device, WHY_MESSAGES),
    outbox.recentHistory(device, DETAIL_HISTORY),
  ]);
  const newest = messages.find(({ state }) => state === 'held');
  return why({
    device,
    now,
    record,
    messages,
    offeredSince: offeredSince(messages, history),
    heldAt: newest === undefined ? [] : heldAt(newest, history, { view, outbox }),
    lastPoll: view.lastPoll(device),
    unknown: view.unknownDevices().find((each) => each.device === device) ?? null,
    pollSecret: view.pollPath(device) !== null,
    session: view.session(device),
    quietUntil: view.quietUntil(device),
    unproven: unprovenOf(history),
    lesson: lessonOf(history),
    warnings: view.warnings(device),
    proxies: view.proxies(),
    services: view.services(),
  });
}

function unprovenOf(history: HistoryEntry[]): WhyFacts['unproven'] {
  const entry = history.find(({ event, what }) => event === 'note' && what === UNPROVEN_NOTE);
  return entry === undefined ? null : { at: entry.at, why: String(entry.facts['why'] ?? 'not proven') };
}

function lessonOf(history: HistoryEntry[]): WhyFacts['lesson'] {
  const notes = Object.values(LESSON_NOTES);
  const entry = history.find(({ event, what }) => event === 'note' && notes.includes(what));
  if (entry === undefined) return null;
  const { at, what, facts } = entry;
  return { at, note: what, why: typeof facts['why'] === 'string' ? facts['why'] : null };
}

function offeredSince(messages: Message[], history: HistoryEntry[]): Milliseconds | null {
  const newest = messages.find((message) => message.state === 'held');
  if (newest === undefined) return null;
  const redriven = history.find((entry) => entry.event === 'redriven' && entry.message === newest.id);
  return redriven?.at ?? newest.acceptedAt;
}
