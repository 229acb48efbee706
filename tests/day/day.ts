import { SITE_BYTES, writeSite } from '../../proxy/marks-layout.ts';
import { OFFER, openMarks } from '../../proxy/marks-reader.ts';
import type { MarksReader } from '../../proxy/marks-reader.ts';
import { createModelDisk, createModelOutbox } from '../../relay-client/outbox/model.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { RelayFrame } from '../../shared/protocol.ts';
import { createFakeClock } from '../fixtures/fake-clock.ts';
import { createProxySide, createRelaySide, rest } from '../fixtures/linked-pair.ts';
import { seededRandom } from '../fixtures/seeded-random.ts';

/** How a day goes. Times are in seconds of the day. */
export interface DayOptions {
  phones: number;
  hours: number;
  seed: number;
  /** A bug to plant, so that it shows that wrong answers are seen: what is cleared stays in the outbox. */
  planted?: 'lost clears';
  /** Called at the end of each hour. */
  onHour?: (hour: number, day: Readonly<DayResult>) => void;
}

export interface DayResult {
  polls: number;
  offers: number;
  /** Polls that nobody answered, while the proxy was away. */
  unanswered: number;
  /** Polls that were answered otherwise than they should have been. */
  wrong: number;
  /** The first of them, in words. */
  firstWrong: string[];
  pushes: number;
  cleared: number;
}

/** Between two polls of a phone. */
const INTERVAL_S = 60;
/** The part of all phones that get something to do within an hour. */
const PENDING_PER_HOUR = 0.01;
const SESSION_S = 20;
const GAP_MS = 60_000;
const QUIET_MS = 120_000;
const WEEK_MS = 7 * 86_400_000;
const SHORT_MS = 45_000;
const LATER_MS = 600_000;
const RELAY_AWAY_S = 60;
const PROXY_AWAY_S = 30;
const WORDS = 10;

/**
 * Lives through a day in virtual time: the real outbox model, links, protocol, mailbox and marks, and every single poll
 * decided by what a poll worker asks. Each answer is held against a plain reckoning of what is pending that shares no
 * code with them. Not here: sockets, HTTP, TLS, disks, and the service; sessions are a phone's coming and a clear.
 */
export async function liveThroughDay(options: DayOptions): Promise<DayResult> {
  const { phones, hours, seed } = options;
  const bytes = seededRandom(seed);
  const random = (): number => Buffer.from(bytes(4)).readUInt32BE() / 2 ** 32;
  const clock = createFakeClock();
  const day: DayResult = {
    polls: 0,
    offers: 0,
    unanswered: 0,
    wrong: 0,
    firstWrong: [],
    pushes: 0,
    cleared: 0,
  };

  const ids = Array.from(
    { length: phones },
    (_, i) => `001ae8${i.toString(16).padStart(6, '0')}` as DeviceId,
  );
  const keys = ids.map((id) => {
    const key = Buffer.alloc(SITE_BYTES + id.length);
    writeSite(key, 0);
    key.write(id, SITE_BYTES, 'latin1');
    return key;
  });
  // The plain reckoning, by the phone's number.
  const due = new Float64Array(phones).fill(Infinity);
  const expires = new Float64Array(phones).fill(-Infinity);
  const generation = new Float64Array(phones);
  const gapUntil = new Float64Array(phones);
  const inSession = new Uint8Array(phones);

  const disk = createModelDisk();
  const openOutbox = () => createModelOutbox({ clock, random: bytes, disk });
  let outbox = openOutbox();
  let proxy: ReturnType<typeof createProxySide> | null = createProxySide(clock, {
    maxSessions: 1_000_000,
    sessionGapMs: GAP_MS,
  });
  let reader: MarksReader = openMarks(proxy.marks.attach().seed);
  /** Whoever is at the proxy's address now. */
  const door = {
    accept(...dialled: Parameters<ReturnType<typeof createProxySide>['accept']>) {
      if (proxy === null) throw new Error('nobody listens');
      return proxy.accept(...dialled);
    },
  } as ReturnType<typeof createProxySide>;
  const present = (): RelayFrame[] => [
    ...ids.flatMap((device, i): RelayFrame[] =>
      inSession[i] === 1 ? [{ type: 'quiet', device, generation: generation[i]!, ms: QUIET_MS }] : [],
    ),
    { type: 'health', ready: true, sessions: 0, services: [] },
  ];
  const link = () => createRelaySide(clock, outbox, [door], { present });
  let links: ReturnType<typeof link> | null = link();
  await rest();

  /** What is to be done in a second to come. */
  const plans = new Map<number, (() => Promise<void>)[]>();
  const plan = (at: number, task: () => Promise<void>): void =>
    void plans.set(at, [...(plans.get(at) ?? []), task]);
  /** Counts the relay's runs: sessions of a former one are cut. */
  let run = 0;

  async function push(i: number): Promise<void> {
    const kind = random();
    const delay = kind < 0.1 ? LATER_MS : 0;
    const ttl = kind > 0.95 ? SHORT_MS : WEEK_MS;
    const { message } = await outbox.push({ device: ids[i]!, kind: 'contact-me', ttl, delay });
    day.pushes += 1;
    generation[i] = message.generation;
    due[i] = clock.monotonic() + delay;
    expires[i] = clock.monotonic() + ttl;
  }

  /** The phone was told 202: it calls within a second, and 20 s later the service is done, or the session was cut. */
  function call(i: number, second: number): void {
    const own = run;
    plan(second + 1, async () => {
      if (own !== run || links === null || inSession[i] === 1 || expires[i]! <= clock.monotonic()) return;
      const begun = generation[i]!;
      inSession[i] = 1;
      links.quiet(ids[i]!, begun, QUIET_MS);
      links.gap(ids[i]!);
      // A proxy that is away hears of no gap.
      if (proxy !== null) gapUntil[i] = clock.monotonic() + GAP_MS;
      plan(second + 1 + SESSION_S, async () => {
        if (own !== run || links === null) return;
        inSession[i] = 0;
        if (random() < 0.9) {
          if (options.planted !== 'lost clears')
            await outbox.clear(ids[i]!, { state: 'cleared', by: 'service', generation: begun });
          day.cleared += 1;
          if (generation[i] === begun) expires[i] = -Infinity;
        }
        links.loud(ids[i]!);
      });
    });
  }

  const seconds = hours * 3_600;
  const relayAway = Math.floor(seconds * 0.4);
  const proxyAway = Math.floor(seconds * 0.7);
  plan(relayAway, async () => {
    run += 1;
    inSession.fill(0);
    await links?.close();
    links = null;
    await outbox.close();
  });
  plan(relayAway + RELAY_AWAY_S, async () => {
    outbox = openOutbox();
    links = link();
  });
  plan(proxyAway, async () => {
    proxy?.cut();
    proxy = null;
  });
  plan(proxyAway + PROXY_AWAY_S, async () => {
    proxy = createProxySide(clock, { maxSessions: 1_000_000, sessionGapMs: GAP_MS });
    reader = openMarks(proxy.marks.attach().seed);
    // It has nothing of its own to remember gaps by.
    gapUntil.fill(0);
  });

  let owed = 0;
  for (let second = 0; second < seconds; second++) {
    clock.advance(500);
    for (const task of plans.get(second) ?? []) await task();
    plans.delete(second);
    if (links !== null) {
      for (owed += (phones * PENDING_PER_HOUR) / 3_600; owed >= 1; owed--)
        await push(Math.floor(random() * phones));
      const next = await outbox.nextExpiry();
      if (next !== null && next <= 0) await outbox.expire();
    }
    proxy?.site.tick();
    await rest();
    clock.advance(500);
    await rest();
    reader.refresh();

    const now = clock.monotonic();
    const linked = links?.states()[0]?.state === 'up';
    for (let i = second % INTERVAL_S; i < phones; i += INTERVAL_S) {
      if (proxy === null) {
        day.unanswered += 1;
        continue;
      }
      const key = keys[i]!;
      const offered = reader.poll(key, key.length, 0, now) === OFFER;
      const should =
        linked && due[i]! <= now && expires[i]! > now && inSession[i] === 0 && gapUntil[i]! <= now;
      day.polls += 1;
      if (offered) {
        day.offers += 1;
        call(i, second);
      }
      if (offered === should) continue;
      day.wrong += 1;
      if (day.firstWrong.length < WORDS)
        day.firstWrong.push(`second ${second}: ${ids[i]} was told ${offered ? 202 : 200}`);
    }
    if (second % 3_600 === 3_599) options.onHour?.((second + 1) / 3_600, day);
  }
  await links?.close();
  return day;
}
