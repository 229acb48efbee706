import { randomFillSync } from 'node:crypto';
import t from 'tap';
import type { DeviceId } from '../../../shared/device-id.ts';
import { silentLog } from '../../../shared/log.ts';
import { systemClock } from '../../../shared/clock.ts';
import { createMarks } from '../../../proxy/marks.ts';
import { createSite } from '../../../proxy/site.ts';
import type { SiteLink } from '../../../proxy/site.ts';

const LIMIT = 2;

t.test(
  'a relay that brings more devices than the proxy may hold is told so, and the proxy lives',
  async (t) => {
    const applied: number[] = [];
    const marks = createMarks({
      sites: ['default'],
      clock: systemClock,
      random: (bytes) => void randomFillSync(bytes),
      limit: LIMIT,
    });
    t.teardown(() => marks.close());
    const site = createSite(
      {
        name: 'default',
        pollPrefixes: null,
        doors: [],
        sessions: 'relayed',
        sessionGapMs: 0,
        maxSessions: 10,
      },
      { marks, clock: systemClock, log: silentLog, held: LIMIT, onKnown: () => undefined },
    );
    const link: SiteLink = {
      relay: 'hq-1',
      incarnation: 'one',
      since: 0,
      open: () => t.fail('nothing is opened') as never,
      carries: () => true,
      streams: () => 0,
      roundTrip: () => null,
      sendPolls: () => undefined,
      sendMetrics: () => undefined,
      sendApplied: ({ seq }) => void applied.push(seq),
      drain: () => undefined,
      close: () => undefined,
    };
    const hold = (n: number) =>
      ({
        op: 'hold',
        id: `m${n}`,
        device: `00:1a:e8:00:00:0${n}` as DeviceId,
        kind: 'contact-me',
        generation: 1,
        dueIn: 0,
        expiresIn: 60_000,
      }) as const;
    site.takeLink(link);
    const whole = { incarnation: 'one', seq: 0, first: true, last: true };
    t.equal(site.frame(link, { type: 'snapshot', ...whole, entries: [] }), null);
    t.equal(site.frame(link, { type: 'changes', seq: 2, changes: [hold(1), hold(2)] }), null);
    const three = ['1', '2', '3'].map((n) => `00:1a:e8:00:00:0${n}`);
    t.equal(site.frame(link, { type: 'known', devices: three }), null, 'who is merely known is left out');
    t.equal(marks.stats().known, LIMIT, 'no more than the limit are known');
    t.match(site.frame(link, { type: 'changes', seq: 3, changes: [hold(3)] }), /holds 2 devices already/);
    t.same(applied, [0, 2], 'what was not taken is not confirmed');
  },
);
