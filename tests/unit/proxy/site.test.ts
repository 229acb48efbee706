import { randomFillSync } from 'node:crypto';
import t from 'tap';
import type { Test } from 'tap';
import type { DeviceId } from '../../../shared/device-id.ts';
import { SallyportError } from '../../../shared/errors.ts';
import { silentLog } from '../../../shared/log.ts';
import type { HeldEntry } from '../../../shared/protocol.ts';
import { ADMISSION_WINDOW_MS } from '../../../proxy/marks-decision.ts';
import { createMarks } from '../../../proxy/marks.ts';
import { createSite } from '../../../proxy/site.ts';
import type { SiteLink } from '../../../proxy/site-links.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

const device = (n: number) => `00:1a:e8:00:00:${String(n).padStart(2, '0')}` as DeviceId;
const entry = (n: number, more: Partial<HeldEntry> = {}): HeldEntry => ({
  id: `m${n}`,
  device: device(n),
  kind: 'contact-me',
  generation: 1,
  dueIn: 0,
  expiresIn: 600_000,
  ...more,
});
const hold = (n: number) => ({ op: 'hold' as const, ...entry(n) });

function start(t: Test, options: { held?: number; maxSessions?: number } = {}) {
  const { held = 100, maxSessions = 10 } = options;
  const clock = createFakeClock();
  const applied: number[] = [];
  const closed: string[] = [];
  const marks = createMarks({
    sites: ['default'],
    clock,
    random: (bytes) => void randomFillSync(bytes),
    limit: 2 * held,
  });
  t.teardown(() => marks.close());
  const site = createSite(
    {
      name: 'default',
      pollPrefixes: null,
      doors: [],
      sessions: 'relayed',
      sessionGapMs: 30_000,
      pollSecret: 'none',
      held: 1_000_000,
      pollConnections: Infinity,
      sessionConnections: 5_000,
      bytesPerSecond: 0,
      maxSessions,
    },
    { marks, clock, log: silentLog, held, onKnown: () => undefined },
  );
  const createLink = (incarnation: string, relay = 'hq-1'): SiteLink => ({
    relay,
    incarnation,
    since: clock.monotonic(),
    silentFor: () => 0,
    open: () => ({ relay }) as never,
    carries: () => true,
    streams: () => 0,
    roundTrip: () => null,
    sendPolls: () => undefined,
    sendMetrics: () => undefined,
    sendApplied: ({ seq }) => void applied.push(seq),
    drain: () => undefined,
    close: () => void closed.push(relay),
  });
  /** A link that has said hello. */
  const take = (incarnation = 'one', relay = 'hq-1'): SiteLink => {
    const link = createLink(incarnation, relay);
    site.takeLink(link, false);
    return link;
  };
  const snapshot = (link: SiteLink, seq: number, entries: HeldEntry[], part: object = {}) =>
    site.frame(link, {
      type: 'snapshot',
      incarnation: link.incarnation,
      seq,
      first: true,
      last: true,
      entries,
      ...part,
    });
  const health = (link: SiteLink, sessions = 0) =>
    site.frame(link, { type: 'health', ready: true, sessions, services: [] });
  return {
    clock,
    marks,
    site,
    applied,
    closed,
    take,
    snapshot,
    health,
    verdict: (n: number) => marks.why('default', device(n)),
  };
}

t.test('a relay that brings more than the proxy may hold is told so, and the proxy lives', async (t) => {
  const { site, marks, applied, take, snapshot, health } = start(t, { held: 2 });
  const link = take();
  t.equal(snapshot(link, 0, []), null);
  t.equal(site.frame(link, { type: 'changes', seq: 2, changes: [hold(1), hold(2)] }), null);
  t.equal(site.frame(link, { type: 'known', devices: [device(1), device(2), device(3)] }), null);
  t.equal(marks.stats().known, 2, 'who is merely known is left out');
  t.match(site.frame(link, { type: 'changes', seq: 3, changes: [hold(3)] }), /more than 2 held messages/);
  t.same(applied, [0, 2], 'what was not taken is not confirmed');
  const next = take('two');
  t.equal(snapshot(next, 1, [entry(4), entry(5)]), null, 'others take the place of those that are gone');
  t.equal(snapshot(next, 1, [entry(6), entry(7)], { last: false }), null);
  t.match(
    snapshot(next, 1, [entry(8)], { first: false }),
    /more than 2 held messages/,
    'counted before all parts are there',
  );
  t.equal(health(next), null);
  for (let n = 10; n < 60; n++) {
    t.equal(site.frame(next, { type: 'known', devices: [device(n)] }), null);
  }
  t.ok(marks.stats().known <= 4);
});

t.test(
  'what is left of a snapshot whose link ended does not keep the next link from its changes',
  async (t) => {
    const { site, take, snapshot, health, verdict } = start(t);
    const first = take('one');
    snapshot(first, 1, [entry(1)]);
    health(first);
    t.equal(verdict(1), 'offer');
    const other = take('two', 'hq-2');
    t.equal(snapshot(other, 9, [entry(2)], { last: false }), null);
    site.dropLink(other);
    const back = take('one');
    t.same(site.holds(), { incarnation: 'one', seq: 1 });
    t.equal(site.frame(back, { type: 'changes', seq: 2, changes: [hold(3)] }), null);
    health(back);
    t.same([verdict(1), verdict(2), verdict(3)], ['offer', null, 'offer']);
  },
);

t.test('what one outbox sent is never taken for the state of another', async (t) => {
  const { site, take, snapshot, health, verdict } = start(t);
  const first = take('one');
  snapshot(first, 5, [entry(1)]);
  health(first);
  const second = take('two');
  t.match(health(second), /before the resync is whole/);
  t.match(site.frame(second, { type: 'changes', seq: 6, changes: [hold(2)] }), /another outbox/);
  t.match(snapshot(second, 6, [], { incarnation: 'three' }), /another outbox than the hello named/);
  t.equal(verdict(1), 'link_down', 'until then nothing is offered');
  t.equal(snapshot(second, 6, [entry(2)]), null);
  t.equal(health(second), null);
  t.same([verdict(1), verdict(2)], ['idle', 'offer']);
});

t.test('quiet that a former link did not get to end ends with it, unless it is told again', async (t) => {
  const { site, take, snapshot, health, verdict } = start(t);
  const first = take();
  snapshot(first, 1, [entry(1), entry(2)]);
  health(first);
  for (const n of [1, 2]) {
    site.frame(first, { type: 'quiet', device: device(n), generation: 1, ms: 120_000 });
    t.equal(verdict(n), 'in_session');
  }
  site.dropLink(first);
  const second = take();
  site.frame(second, { type: 'quiet', device: device(2), generation: 1, ms: 60_000 });
  health(second);
  t.same([verdict(1), verdict(2)], ['offer', 'in_session']);
});

t.test('no quiet lasts longer than its budget, whatever the relay says', async (t) => {
  const { clock, site, take, snapshot, health, verdict } = start(t);
  const link = take();
  snapshot(link, 1, [entry(1)]);
  health(link);
  site.frame(link, { type: 'quiet', device: device(1), generation: 1, ms: 9_000_000 });
  clock.advance(121_000);
  site.heard(link);
  t.equal(verdict(1), 'offer');
});

t.test('the lease ends without a word of the link, and only its own words renew it', async (t) => {
  const { clock, site, take, snapshot, health, verdict } = start(t);
  const former = take();
  const link = take();
  snapshot(link, 1, [entry(1)]);
  health(link);
  for (let i = 0; i < 10; i++) {
    clock.advance(1_000);
    site.tick();
    site.heard(former);
  }
  t.equal(verdict(1), 'link_down');
  site.heard(link);
  t.equal(verdict(1), 'offer');
});

t.test('sessions that ran at the link that is gone hold back nobody at the next', async (t) => {
  const { site, take, snapshot, health, verdict } = start(t, { maxSessions: 1 });
  const first = take();
  snapshot(first, 1, [entry(1)]);
  health(first, 1);
  t.equal(verdict(1), 'not_admitted');
  site.dropLink(first);
  health(take(), 0);
  t.equal(verdict(1), 'offer');
});

t.test('a session takes a place from its first answer on, before the relay counts it', async (t) => {
  const { site, take, snapshot, health, verdict } = start(t, { maxSessions: 1 });
  const link = take();
  snapshot(link, 1, [entry(1)]);
  health(link, 0);
  t.equal(verdict(1), 'offer');
  site.frame(link, { type: 'gap', device: device(2) });
  site.tick();
  t.equal(verdict(1), 'not_admitted');
  health(link, 0);
  t.equal(verdict(1), 'offer');
});

t.test('that nobody called while the service was away opens the door no wider', async (t) => {
  const { clock, site, take, snapshot, health, verdict } = start(t, { maxSessions: 2 });
  const phones = Array.from({ length: 60 }, (_, n) => n + 10);
  const link = take();
  snapshot(
    link,
    1,
    phones.map((n) => entry(n)),
  );
  for (let window = 0; window < 20; window++) {
    site.frame(link, { type: 'health', ready: false, sessions: 0, services: [] });
    site.tick();
    clock.advance(ADMISSION_WINDOW_MS);
  }
  clock.advance(ADMISSION_WINDOW_MS - (clock.monotonic() % ADMISSION_WINDOW_MS));
  health(link, 0);
  const offered = phones.filter((n) => verdict(n) === 'offer').length;
  t.ok(offered <= 15, `${offered} of ${phones.length} are admitted, for 2 places`);
});

t.test('two relays of one outbox serve side by side, and either alone', async (t) => {
  const { site, take, snapshot, health, verdict } = start(t);
  const one = take('one', 'hq-1');
  snapshot(one, 1, [entry(1)]);
  health(one);
  const two = take('one', 'hq-2');
  t.equal(verdict(1), 'offer', 'that a second one comes interrupts nothing');
  t.match(site.status(), {
    ready: true,
    reasons: [],
    relays: [
      { name: 'hq-1', reasons: [] },
      { name: 'hq-2', reasons: [/still sending/] },
    ],
  });
  health(two);
  site.dropLink(one);
  t.equal(verdict(1), 'offer', 'that one goes neither');
  site.frame(two, { type: 'drain' });
  t.equal(verdict(1), 'link_down');
  t.match(site.status(), { ready: false, reasons: ['relay hq-2 is going away'] });
});

t.test('each change is taken once, from whichever relay brings it first', async (t) => {
  const { site, applied, take, snapshot, health, verdict } = start(t);
  const end = (n: number) => ({ op: 'end' as const, id: `m${n}`, device: device(n), generation: 1 });
  const changes = (link: SiteLink, seq: number, list: (ReturnType<typeof hold> | ReturnType<typeof end>)[]) =>
    site.frame(link, { type: 'changes', seq, changes: list });
  const one = take('one', 'hq-1');
  snapshot(one, 1, [entry(1)]);
  health(one);
  const two = take('one', 'hq-2');
  health(two);
  t.equal(changes(one, 3, [hold(2), end(2)]), null);
  t.equal(changes(two, 2, [hold(2)]), null, 'what another one brought, and more, is passed over');
  t.same([verdict(1), verdict(2)], ['offer', 'idle']);
  t.equal(changes(two, 4, [end(2), hold(3)]), null, 'what begins with something known is taken');
  t.same([verdict(2), verdict(3)], ['idle', 'offer']);
  t.same(site.holds(), { incarnation: 'one', seq: 4 });
  t.same(applied, [1, 3, 3, 4], 'each hears how far it is, whoever brought it');
  t.match(changes(two, 3, []), /changes to 3 after 4/, 'no relay goes back');
  t.equal(changes(one, 4, [hold(3)]), null);
  site.dropLink(two);
  t.equal(changes(one, 5, [end(3)]), null);
  t.equal(verdict(3), 'idle');
});

t.test('a snapshot that another relay has overtaken is passed over', async (t) => {
  const { site, take, snapshot, health, verdict } = start(t);
  const [one, two] = [take('one', 'hq-1'), take('one', 'hq-2')];
  t.equal(snapshot(two, 5, [entry(1)], { last: false }), null);
  t.equal(snapshot(one, 5, [entry(1)]), null);
  health(one);
  t.equal(site.frame(one, { type: 'changes', seq: 6, changes: [hold(2)] }), null);
  t.match(site.frame(two, { type: 'changes', seq: 6, changes: [] }), /before a whole snapshot/);
  t.equal(snapshot(two, 5, [], { first: false }), null);
  t.same([verdict(1), verdict(2)], ['offer', 'offer']);
  t.equal(site.frame(two, { type: 'changes', seq: 6, changes: [hold(2)] }), null);
  t.equal(health(two), null);
  t.same(site.holds(), { incarnation: 'one', seq: 6 });
});

t.test(
  'of a relay that was revoked nothing counts any more, whatever it had passed off as known',
  async (t) => {
    const { site, take, snapshot, health, verdict, closed } = start(t);
    const [one, rogue] = [take('one', 'hq-1'), take('one', 'rogue')];
    snapshot(one, 1, [entry(1)]);
    health(one);
    const changes = (link: SiteLink, seq: number, n: number) =>
      site.frame(link, { type: 'changes', seq, changes: [hold(n)] });
    t.equal(changes(rogue, 2, 66), null, 'it was faster than the change that it stands for');
    t.equal(changes(one, 2, 2), null);
    t.equal(verdict(2), null, 'and so that one is passed over');
    site.frame(rogue, { type: 'changes', seq: 2 ** 50, changes: [] });
    site.dropLink(rogue);
    site.distrust('rogue');
    t.same(closed, ['hq-1']);
    t.equal(site.holds(), null, 'the next link is asked for everything');
    site.dropLink(one);
    const again = take('one', 'hq-1');
    t.equal(snapshot(again, 3, [entry(1), entry(2), entry(3)]), null);
    health(again);
    t.same([1, 2, 3].map(verdict), ['offer', 'offer', 'offer']);
    t.equal(verdict(66), 'idle');
    t.same(site.holds(), { incarnation: 'one', seq: 3 });
  },
);

t.test(
  'a device is quiet while any relay has a session with it, and no longer than its relay lives',
  async (t) => {
    const { site, take, snapshot, health, verdict } = start(t);
    const one = take('one', 'hq-1');
    snapshot(one, 1, [entry(1)]);
    const two = take('one', 'hq-2');
    for (const link of [one, two]) {
      health(link);
      site.frame(link, { type: 'quiet', device: device(1), generation: 1, ms: 60_000 });
    }
    site.frame(one, { type: 'loud', device: device(1) });
    t.equal(verdict(1), 'in_session', 'the other one still has one');
    site.dropLink(two);
    t.equal(verdict(1), 'offer', 'its sessions were cut with it');
  },
);

t.test(
  'the service counts as reached while any relay reaches it, and sessions are counted over all',
  async (t) => {
    const { site, take, snapshot, health, verdict } = start(t, { maxSessions: 5 });
    const [one, two] = [take('one', 'hq-1'), take('one', 'hq-2')];
    snapshot(one, 1, [entry(1)]);
    const services = (up: boolean) => [{ name: 'wpi', up }];
    site.frame(one, { type: 'health', ready: false, sessions: 3, services: services(false) });
    t.equal(verdict(1), 'upstream_down');
    site.frame(two, { type: 'health', ready: true, sessions: 1, services: services(true) });
    t.equal(verdict(1), 'offer');
    t.match(site.status(), { sessions: 4, services: services(true) });
    health(two, 2);
    site.tick();
    t.equal(verdict(1), 'not_admitted', 'three and two are five');
  },
);

t.test('a phone keeps to one relay while that is well, and all relays get their share', async (t) => {
  const { site, take, snapshot, health } = start(t);
  const links = ['hq-1', 'hq-2', 'hq-3'].map((relay) => take('one', relay));
  snapshot(links[0]!, 1, []);
  for (const link of links) health(link);
  const ledTo = (n: number): string => {
    const opening = {
      service: 'wpi',
      door: 'wpi',
      address: `10.0.${n >> 8}.${n & 255}`,
      port: 1,
      tls: 'relay',
    };
    return (site.open(opening as never) as unknown as { relay: string }).relay;
  };
  const phones = Array.from({ length: 300 }, (_, n) => n);
  const before = phones.map(ledTo);
  t.same(phones.map(ledTo), before);
  for (const relay of ['hq-1', 'hq-2', 'hq-3']) {
    const led = before.filter((name) => name === relay).length;
    t.ok(led > 60 && led < 140, `${relay} gets ${led} of 300`);
  }
  site.dropLink(links[1]!);
  const after = phones.map(ledTo);
  t.notOk(after.includes('hq-2'));
  t.same(
    after.filter((_, n) => before[n] !== 'hq-2'),
    before.filter((name) => name !== 'hq-2'),
    'only the phones of the one that went are led elsewhere',
  );
  site.frame(links[0]!, { type: 'health', ready: false, sessions: 0, services: [] });
  t.same(new Set(phones.map(ledTo)), new Set(['hq-3']), 'one that does not reach the service gets none');
});

t.test('where one relay can take no connection, the next one is asked', async (t) => {
  const { site, take, snapshot, health } = start(t);
  const [one, two] = [take('one', 'hq-1'), take('one', 'hq-2')];
  snapshot(one, 1, []);
  health(one);
  health(two);
  let full = ['hq-1'];
  for (const link of [one, two]) {
    Object.assign(link, {
      open: () => {
        if (full.includes(link.relay)) throw new SallyportError('STREAM_REFUSED', 'full');
        return link;
      },
    });
  }
  const opening = { service: 'wpi', door: 'wpi', address: '10.0.0.1', port: 1, tls: 'relay' as const };
  t.match(site.open(opening), { relay: 'hq-2' });
  full = ['hq-2'];
  t.match(site.open(opening), { relay: 'hq-1' });
  full = ['hq-1', 'hq-2'];
  t.throws(() => site.open(opening), { code: 'STREAM_REFUSED' });
});
