import type { EventBody } from '../../api/shapes/events.ts';

/** What happens, as it happens: one stream of server-sent events for all pages. */

export type LiveState = 'connecting' | 'live' | 'lost';

/** One line of the tail. */
export interface LiveEvent {
  /** Grows with each; for keys. */
  n: number;
  /** Milliseconds since 1970. */
  at: number;
  kind: 'message' | 'session' | 'link' | 'service' | 'warning' | 'campaign';
  what: string;
  device: string | null;
  text: string;
}

/** Lines that are kept; the oldest go first. */
const MOST = 500;
/** How much of the past a fresh page is shown. */
const PAST = 100;

let source: EventSource | null = null;
let state: LiveState = 'connecting';
let from = 0;
let count = 0;
let events: readonly LiveEvent[] = [];
const listeners = new Set<() => void>();
const tails = new Set<(event: LiveEvent) => void>();

export const liveState = (): LiveState => state;
/** Newest first. */
export const liveEvents = (): readonly LiveEvent[] => events;

/** Calls back on each change of the state and of the list. */
export function onLive(listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** Calls back for each event. */
export function onEvent(listener: (event: LiveEvent) => void): () => void {
  tails.add(listener);
  return () => void tails.delete(listener);
}

/** Begins to follow; `sequence` is the newest that the relay has. A page that nobody sees follows nothing. */
export function startLive(sequence: number): void {
  from = Math.max(0, sequence - PAST);
  open();
  document.addEventListener('visibilitychange', turn);
}

export function stopLive(): void {
  document.removeEventListener('visibilitychange', turn);
  shut();
  events = [];
  fresh = [];
}

function turn(): void {
  if (document.visibilityState === 'hidden') shut();
  else open();
}

function shut(): void {
  source?.close();
  source = null;
}

function open(): void {
  if (source !== null) return;
  const stream = new EventSource(`v1/events?after=${from}`);
  source = stream;
  const set = (next: LiveState): void => {
    if (source !== stream) return;
    state = next;
    listeners.forEach((listener) => listener());
  };
  stream.addEventListener('open', () => set('live'));
  stream.addEventListener('error', () => {
    set('lost');
    // A browser comes back by itself from a cut, not from a refusal.
    if (stream.readyState !== EventSource.CLOSED || source !== stream) return;
    shut();
    setTimeout(() => document.visibilityState === 'visible' && open(), 3_000);
  });
  for (const name of HISTORY) {
    stream.addEventListener(name, (message) => {
      const entry = read<EventBody>(message);
      from = entry.seq;
      add(ofHistory(entry));
    });
  }
  stream.addEventListener('session', (message) => add(ofSession(read(message))));
  stream.addEventListener('link', (message) => add(ofLink(read(message))));
  stream.addEventListener('service', (message) => add(ofService(read(message))));
  stream.addEventListener('warning', (message) => add(ofWarning(read(message))));
}

const HISTORY = [
  'accepted',
  'redriven',
  'deferred',
  'note',
  'cleared',
  'superseded',
  'expired',
  'cancelled',
  'dead',
  'campaign',
] as const;

function read<T>(message: MessageEvent): T {
  return JSON.parse(String(message.data)) as T;
}

type Told = Omit<LiveEvent, 'n'>;

/** What came since the page was drawn last, oldest first. */
let fresh: LiveEvent[] = [];

function add(told: Told): void {
  const event = { ...told, n: ++count };
  fresh.push(event);
  // A page that isn't drawn keeps no more than it would show.
  if (fresh.length >= 2 * MOST) fresh = fresh.slice(-MOST);
  tails.forEach((tail) => tail(event));
  schedule();
}

let due = false;
/** Events come in bursts; a page is drawn once for each frame. */
function schedule(): void {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    events = [...fresh.reverse(), ...events].slice(0, MOST);
    fresh = [];
    listeners.forEach((listener) => listener());
  });
}

const now = (): number => Date.now();

function ofHistory({ at, event, device, what, facts }: EventBody): Told {
  if (event === 'campaign')
    return {
      at: Date.parse(at),
      kind: 'campaign',
      what: `campaign ${what}`,
      device,
      text: campaignWords(facts),
    };
  const listed = Object.entries(facts)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name.replaceAll('_', ' ')} ${String(value)}`);
  const text = [what === event ? '' : what, ...listed].filter((part) => part !== '').join(', ');
  return { at: Date.parse(at), kind: 'message', what: event, device, text };
}

/** Its name, why it is so, and what became of its messages. */
function campaignWords(facts: EventBody['facts']): string {
  const { campaign, phase, state, why, failed, ...counts } = facts;
  const words = [String(campaign)];
  if (typeof why === 'string') words.push(why);
  if (phase === 'canary' && state !== 'aborted') words.push('among its canaries');
  for (const [word, count] of Object.entries(counts)) if (count !== 0) words.push(`${String(count)} ${word}`);
  if (typeof failed === 'number' && failed > 0) words.push(`${failed} of those cleared failed`);
  return words.join(', ');
}

function ofSession(facts: { device: string | null; phase: string; outcome: string | null }): Told {
  const text = facts.outcome === null ? '' : `outcome ${facts.outcome}`;
  return { at: now(), kind: 'session', what: `session ${facts.phase}`, device: facts.device, text };
}

function ofLink(facts: { url: string; state: string; why: string | null }): Told {
  const text = [facts.url, facts.why].filter((part) => part !== null).join(': ');
  return { at: now(), kind: 'link', what: `link ${facts.state}`, device: null, text };
}

function ofService(facts: { name: string; up: boolean; why: string | null }): Told {
  const text = [facts.name, facts.why].filter((part) => part !== null).join(': ');
  return { at: now(), kind: 'service', what: facts.up ? 'service up' : 'service down', device: null, text };
}

function ofWarning(facts: { device: string | null; what: string; sentence: string; count: number }): Told {
  const text = facts.count > 1 ? `${facts.sentence} (${facts.count} times)` : facts.sentence;
  return { at: now(), kind: 'warning', what: facts.what, device: facts.device, text };
}
