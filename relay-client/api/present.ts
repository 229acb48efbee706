import { readResults } from '../courier/results.ts';
import type { ActionResult } from '../courier/results.ts';
import type { ProxyState, RelayView } from '../desk.ts';
import type { Campaign } from '../campaigns/campaigns.ts';
import type { DeviceRecord, HistoryEntry, Message } from '../outbox/outbox.ts';
import { missedPolls } from '../polls.ts';
import type { PollRate } from '../series/proxy-figures.ts';
import { STEP_MS } from '../series/series.ts';
import type { Pickups, SeriesPoint } from '../series/series.ts';
import type { RecentWarning } from '../warnings/recent.ts';
import type { Why } from '../why/facts.ts';
import type { CampaignBody } from './shapes/campaigns.ts';
import type { DeviceRowBody, WhyBody } from './shapes/devices.ts';
import type { EventBody } from './shapes/events.ts';
import type { MessageBody } from './shapes/messages.ts';
import type { PickupsBody, PollRateBody, ProxyBody, SeriesBody, ServiceBody } from './shapes/relay.ts';
import type { WarningBody } from './shapes/warnings.ts';

/** How what we know looks on the wire. */

export function isoTime(at: number): string {
  return new Date(at).toISOString();
}

export function maybeIsoTime(at: number | null): string | null {
  return at === null ? null : isoTime(at);
}

/** `held` turns to `in_session` while a session that the message may have caused is running. */
export function messageState(message: Message, view: RelayView): MessageBody['state'] {
  const running = message.state === 'held' && view.session(message.device)?.reason === 'solicited';
  return running ? 'in_session' : message.state;
}

/** @param brief - leave the items out of results, for lists */
export function presentMessage(message: Message, view: RelayView, now: number, brief = false): MessageBody {
  const held = message.state === 'held';
  return {
    id: message.id,
    device: message.device,
    generation: message.generation,
    state: messageState(message, view),
    kind: message.kind,
    key: message.key,
    campaign: message.campaign,
    accepted_at: isoTime(message.acceptedAt),
    parked: message.parked,
    failed: message.failed,
    not_before: held && !message.parked && message.dueIn > 0 ? isoTime(now + message.dueIn) : null,
    expires_at: held ? isoTime(now + message.expiresIn) : null,
    ended_at: maybeIsoTime(message.endedAt),
    ended_by: message.endedBy,
    fruitless_sessions: message.fruitlessSessions,
    results: readResults(message.results).map((result) => presentResult(result, brief)),
    results_dropped: message.results === '',
  };
}

function presentResult(
  { at, items, ...result }: ActionResult,
  brief: boolean,
): MessageBody['results'][number] {
  const shown = { ...result, at: isoTime(at), items: brief ? [] : items };
  return brief && items.length > 0 ? { ...shown, truncated: true } : shown;
}

export function presentDevice(record: DeviceRecord, view: RelayView, now: number): DeviceRowBody {
  const poll = view.lastPoll(record.device);
  return {
    device: record.device,
    state: record.pending > 0 ? 'pending' : record.dead > 0 ? 'dead' : 'idle',
    pending: record.pending,
    dead: record.dead,
    generation: record.generation,
    last_poll: poll === null ? null : { at: isoTime(poll.at), status: poll.status, proxy: poll.proxy },
    last_called_at: maybeIsoTime(poll?.calledAt ?? null),
    missed_polls: poll === null ? null : missedPolls(poll, now),
    last_session:
      record.lastSession === null
        ? null
        : { at: isoTime(record.lastSession.at), outcome: record.lastSession.outcome },
  };
}

export function presentEvent(entry: HistoryEntry): EventBody {
  return {
    seq: entry.seq,
    at: isoTime(entry.at),
    event: entry.event,
    device: entry.device,
    message: entry.message,
    generation: entry.generation,
    what: entry.what,
    facts: entry.facts,
  };
}

/**
 * What webhooks are told: events, and with the end of a message what phones answered to it.
 *
 * @param find - looks a message up; null = forgotten
 */
export async function presentTold(
  entries: readonly HistoryEntry[],
  find: (id: string) => Promise<Message | null>,
): Promise<(EventBody & Partial<Pick<MessageBody, 'results'>>)[]> {
  return Promise.all(
    entries.map(async (entry) => {
      const event = presentEvent(entry);
      // Only what a phone has answered bears such a fact.
      if (entry.message === null || entry.facts['actions'] === undefined) return event;
      const message = await find(entry.message);
      if (message === null) return event;
      return {
        ...event,
        results: readResults(message.results).map((result) => presentResult(result, false)),
      };
    }),
  );
}

/** The link to a proxy, and what that one says of itself. */
export function presentProxy(proxy: ProxyState, view: Pick<RelayView, 'proxyFigures'>): ProxyBody {
  const figures = view.proxyFigures(proxy.url);
  return {
    url: proxy.url,
    state: proxy.state,
    since: isoTime(proxy.since),
    why: proxy.why,
    round_trip_ms: proxy.roundTripMs,
    lag: proxy.lag,
    applied: proxy.applied,
    version: proxy.version,
    direct: proxy.direct,
    streams: proxy.streams,
    polls_per_s: figures?.polls == null ? null : presentRate(figures.polls),
    certificates: (figures?.certificates ?? []).map(({ name, notAfter }) => ({
      name,
      expires_at: isoTime(notAfter),
    })),
  };
}

export function presentRate({ idle, called, refused }: PollRate): PollRateBody {
  const rounded = (per: number): number => Math.round(per * 100) / 100;
  return { idle: rounded(idle), called: rounded(called), refused: rounded(refused) };
}

export function presentPickups({ count, median, longest }: Pickups): PickupsBody {
  return { count, median_ms: Math.round(median), longest_ms: Math.round(longest) };
}

/** By column, as charts want it. */
export function presentSeries(points: readonly SeriesPoint[]): SeriesBody {
  const column = <T>(read: (point: SeriesPoint) => T): T[] => points.map(read);
  const rates = points.map(({ polls }) => (polls === null ? null : presentRate(polls)));
  return {
    step_s: STEP_MS / 1000,
    at: column(({ at }) => isoTime(at)),
    polls_idle: rates.map((rate) => rate?.idle ?? null),
    polls_called: rates.map((rate) => rate?.called ?? null),
    polls_refused: rates.map((rate) => rate?.refused ?? null),
    held: column(({ held }) => held),
    sessions: column(({ sessions }) => sessions),
    sessions_ended: column(({ ended }) => ended),
    pickup_median_ms: column(({ pickups }) => (pickups === null ? null : Math.round(pickups.median))),
    pickup_longest_ms: column(({ pickups }) => (pickups === null ? null : Math.round(pickups.longest))),
  };
}

export function presentWarning({ device, what, sentence, count, at }: RecentWarning): WarningBody {
  return { device, what, sentence, count, at: isoTime(at) };
}

export function presentWhy({ warnings, ...why }: Why): WhyBody {
  return { ...why, warnings: warnings.map(({ at, ...warning }) => ({ ...warning, at: isoTime(at) })) };
}

export function presentServices(view: RelayView): ServiceBody[] {
  const ends = new Map(view.certificates().map(({ name, notAfter }) => [name, notAfter]));
  return view.services().map(({ name, kind, health, connections }) => ({
    name,
    kind,
    up: health.up,
    why: health.why,
    since: isoTime(health.since),
    connections,
    certificate_expires_at: maybeIsoTime(ends.get(`service ${name}`) ?? null),
  }));
}

export function presentCampaign({ name, progress, ...record }: Campaign): CampaignBody {
  const none = { held: 0, cleared: 0, superseded: 0, expired: 0, cancelled: 0, dead: 0 };
  const states = { ...none, ...progress.states };
  return {
    name,
    state: record.state,
    phase: record.phase,
    why: record.why,
    created_at: record.createdAt === 0 ? null : isoTime(record.createdAt),
    ended_at: record.endedAt === null || record.endedAt === 0 ? null : isoTime(record.endedAt),
    canary: record.canary,
    abort_at: record.abortAt,
    spacing_s: record.spacing / 1000,
    total: Object.values(states).reduce((sum, count) => sum + count, 0),
    ...states,
    parked: progress.parked,
    failed: progress.failed,
  };
}
