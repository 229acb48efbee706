import { POLL_STATUSES, type PollStatus } from './answer.ts';

/** Why a connection was refused or cut, other than by an answer. */
export const CUT_REASONS = [
  /** The peer's address is in no allowed network. */
  'not_allowed',
  /** At the limit of connections, with none idle to give way. */
  'connections',
  /** Its site is at its quota of connections, with none of its own idle to give way. */
  'site_full',
  /** The PROXY header was missing, malformed or late. */
  'proxy_header',
  /** The TLS handshake failed or took too long. */
  'tls_handshake',
  /** The request's header took too long. */
  'header_timeout',
  /** It idled for too long: the ordinary end of a kept connection. */
  'idle_timeout',
  /** It gave way, idle, to a newcomer at the limit of connections. */
  'evicted',
  /** It left its answers unread. */
  'backlog',
] as const;

export type CutReason = (typeof CUT_REASONS)[number];

const NAMES = [
  ...POLL_STATUSES,
  ...CUT_REASONS,
  'accepted',
  'open',
  'unknown_polls',
  'wrong_secret_polls',
  'unknown_reports',
] as const;

export type CounterName = (typeof NAMES)[number];

/** The place of each counter in a worker's block. */
const PLACES = Object.fromEntries(NAMES.map((name, i) => [name, i])) as Record<CounterName, number>;

/** What the poll door has counted since it opened. */
export interface PollStats {
  /** Answers by status. */
  answers: Record<PollStatus, number>;
  /** Connections cut or refused without an answer, by reason. */
  cut: Record<CutReason, number>;
  /** Connections accepted, and open now. */
  connections: { accepted: number; open: number };
  /** Polls of unknown devices, and how many of them were reported with the device's name. */
  unknown: { polls: number; reported: number };
  /** Polls without the right secret, where the site wants one. */
  wrongSecret: number;
  /** Poll workers running, and how many died and were replaced. */
  workers: { running: number; replaced: number };
}

/**
 * The counters of one worker, in memory shared with the main thread. Only the worker writes; doubles count
 * exactly up to 2^53.
 */
export interface Counters {
  add(name: CounterName, count: number): void;
  /** A poll of a site, by its number, was answered. */
  poll(site: number, status: 200 | 202): void;
  /** Connections of a site, by its number: so many more are open, or were refused at its quota. */
  site(site: number, what: SiteCount, count: number): void;
}

type SiteCount = 'open' | 'refused';

/** The size of one worker's counters; behind those by name there are four for each site. */
export const counterBytes = (sites: number): number =>
  (NAMES.length + PER_SITE * sites) * Float64Array.BYTES_PER_ELEMENT;

const SITE_NAMES = [200, 202, 'open', 'refused'] as const;
const PER_SITE = SITE_NAMES.length;

const sitePlace = (site: number, what: (typeof SITE_NAMES)[number]): number =>
  NAMES.length + PER_SITE * site + SITE_NAMES.indexOf(what);

/** Opens a worker's counters for counting. */
export function openCounters(buffer: SharedArrayBuffer): Counters {
  const values = new Float64Array(buffer);
  return {
    add(name, count) {
      const place = PLACES[name];
      values[place] = (values[place] ?? 0) + count;
    },
    poll(site, status) {
      const place = NAMES.length + PER_SITE * site + (status === 202 ? 1 : 0);
      values[place] = (values[place] ?? 0) + 1;
    },
    site(site, what, count) {
      const place = sitePlace(site, what);
      values[place] = (values[place] ?? 0) + count;
    },
  };
}

/** For a worker that died: its connections are gone, what it has counted stays. */
export function forgetConnections(buffer: SharedArrayBuffer): void {
  const values = new Float64Array(buffer);
  values[PLACES.open] = 0;
  for (let place = sitePlace(0, 'open'); place < values.length; place += PER_SITE) values[place] = 0;
}

/** What was counted of one site: its polls by answer, its connections that are open, and those refused at its quota. */
export type SiteStats = Record<(typeof SITE_NAMES)[number], number>;

/** Of one site, over all workers. */
export function sumSite(buffers: readonly SharedArrayBuffer[], site: number): SiteStats {
  const sum = (what: (typeof SITE_NAMES)[number]): number =>
    buffers.reduce((total, each) => total + (new Float64Array(each)[sitePlace(site, what)] ?? 0), 0);
  return { 200: sum(200), 202: sum(202), open: sum('open'), refused: sum('refused') };
}

/** The sum over all workers. */
export function sumCounters(buffers: readonly SharedArrayBuffer[], workers: PollStats['workers']): PollStats {
  const blocks = buffers.map((buffer) => new Float64Array(buffer));
  const sum = (name: CounterName): number =>
    blocks.reduce((total, block) => total + (block[PLACES[name]] ?? 0), 0);
  const sums = <Name extends CounterName>(names: readonly Name[]): Record<Name, number> =>
    Object.fromEntries(names.map((name) => [name, sum(name)])) as Record<Name, number>;
  return {
    answers: sums(POLL_STATUSES),
    cut: sums(CUT_REASONS),
    connections: { accepted: sum('accepted'), open: sum('open') },
    unknown: { polls: sum('unknown_polls'), reported: sum('unknown_reports') },
    wrongSecret: sum('wrong_secret_polls'),
    workers,
  };
}
