import fc from 'fast-check';
import t from 'tap';
import type { Test } from 'tap';
import { createCampaigns, shareOf } from '../../../relay-client/campaigns/campaigns.ts';
import type { Campaigns } from '../../../relay-client/campaigns/campaigns.ts';
import { judge, LEAST_SAMPLE } from '../../../relay-client/campaigns/judge.ts';
import { DEFAULT_PLAN, newRecord } from '../../../relay-client/campaigns/record.ts';
import type { CampaignPlan } from '../../../relay-client/campaigns/record.ts';
import { createModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { HistoryEntry, Outbox } from '../../../relay-client/outbox/outbox.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';

const DAY = 86_400_000;
const deviceOf = (n: number): DeviceId => `phone-${n}` as DeviceId;
const DEVICES = Array.from({ length: 100 }, (_, n) => deviceOf(n));

async function setUp(t: Test) {
  const clock = createFakeClock();
  const outbox = createModelOutbox({ clock, random: seededRandom(7) });
  const start = (): Promise<Campaigns> => createCampaigns({ outbox, clock, log: silentLog });
  const campaigns = await start();
  t.teardown(() => campaigns.close());
  /** Lets what is due be looked at, and waits until it has been. */
  async function look(): Promise<void> {
    clock.advance(1_000);
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  }
  /** What was told of campaigns, oldest first. */
  async function news(): Promise<Pick<HistoryEntry, 'what' | 'facts'>[]> {
    const all = await outbox.history({ after: 0, limit: 10_000 });
    return all.flatMap(({ event, what, facts }) => (event === 'campaign' ? [{ what, facts }] : []));
  }
  return { clock, outbox, campaigns, news, start, look };
}

async function pushAll(
  { outbox, campaigns }: { outbox: Outbox; campaigns: Campaigns },
  name: string,
  plan: Partial<CampaignPlan> = {},
  devices: readonly DeviceId[] = DEVICES,
): Promise<void> {
  const push = await campaigns.begin(name, plan);
  for (const [order, device] of devices.entries()) {
    await outbox.push({ device, kind: 'contact-me', ttl: DAY, campaign: name, ...push.place(device, order) });
  }
  push.close();
}

/** Ends messages that are offered now, as sessions would. */
async function complete(outbox: Outbox, many: number, failed = false): Promise<number> {
  let ended = 0;
  for (const device of DEVICES) {
    const [message] = await outbox.messages(device, 1);
    if (ended === many || message === undefined || message.state !== 'held' || message.dueIn > 0) continue;
    await outbox.end(message.id, { state: 'cleared', by: 'session', failed });
    ended++;
  }
  return ended;
}

t.test('the canaries go first, and the others when those are through', async (t) => {
  const lab = await setUp(t);
  await pushAll(lab, 'spring', { canary: 0.2 });
  const first = DEVICES.filter((device) => shareOf('spring', device) < 0.2).length;
  t.ok(first > 5 && first < 40);
  t.match(await lab.campaigns.get('spring'), { phase: 'canary', progress: { parked: 100 - first } });
  await lab.look();
  await complete(lab.outbox, first - 1);
  await lab.look();
  t.match(await lab.campaigns.get('spring'), { phase: 'canary', progress: { parked: 100 - first } });
  await complete(lab.outbox, 1);
  await lab.look();
  t.match(await lab.campaigns.get('spring'), { phase: 'all', state: 'running', progress: { parked: 0 } });
  t.equal(await complete(lab.outbox, 100), 100 - first);
  await lab.look();
  t.same(await lab.news(), [
    { what: 'begun', facts: { campaign: 'spring', state: 'running', phase: 'canary', why: null } },
    { what: 'widened', facts: { campaign: 'spring', state: 'running', phase: 'all', why: null } },
    {
      what: 'ended',
      facts: {
        ...{ campaign: 'spring', state: 'running', phase: 'all', why: null },
        ...{ cleared: 100, failed: 0, superseded: 0, expired: 0, cancelled: 0, dead: 0 },
      },
    },
  ]);
});

t.test('of few devices at least one goes first', async (t) => {
  const lab = await setUp(t);
  const late = DEVICES.filter((device) => shareOf('few', device) > 0.5).slice(0, 3);
  await pushAll(lab, 'few', { canary: 0.1 }, late);
  t.match(await lab.campaigns.get('few'), { progress: { parked: 3 } });
  await lab.look();
  t.match(await lab.campaigns.get('few'), { phase: 'canary', progress: { parked: 2 } });
  await complete(lab.outbox, 1);
  await lab.look();
  t.match(await lab.campaigns.get('few'), { phase: 'all', progress: { parked: 0 } });
});

t.test('too many failures abort it: what is held is cancelled, and nothing more is taken', async (t) => {
  const lab = await setUp(t);
  await pushAll(lab, 'bad', { abortAt: 0.3 });
  await complete(lab.outbox, LEAST_SAMPLE - 1, true);
  await lab.look();
  t.match(await lab.campaigns.get('bad'), { state: 'running' }, 'too few to tell');
  await complete(lab.outbox, 1, true);
  await lab.look();
  t.match(await lab.campaigns.get('bad'), {
    state: 'aborted',
    why: '10 of 10 failed, more than 30 %',
    progress: { states: { cancelled: 90, cleared: 10 } },
  });
  await t.rejects(lab.campaigns.begin('bad'), { code: 'CAMPAIGN_REFUSED', message: /10 of 10 failed/ });
  await t.rejects(lab.campaigns.resume('bad'), { code: 'CAMPAIGN_REFUSED' });
  await lab.look();
  t.match(await lab.news(), [
    { what: 'begun' },
    { what: 'aborted', facts: { state: 'aborted', why: '10 of 10 failed, more than 30 %' } },
  ]);
  t.equal((await lab.news()).length, 2, 'an abortion is the end');
});

t.test('canaries that fail keep the others from ever being called', async (t) => {
  const lab = await setUp(t);
  await pushAll(lab, 'bad', { canary: 0.05, abortAt: 0.5 });
  const { progress } = await lab.campaigns.get('bad');
  const first = 100 - progress.parked;
  await complete(lab.outbox, first, true);
  await lab.look();
  t.match(await lab.campaigns.get('bad'), {
    state: 'aborted',
    progress: { states: { cancelled: 100 - first } },
  });
});

t.test('a paused campaign offers nothing, takes what is pushed to it, and goes on at its pace', async (t) => {
  const lab = await setUp(t);
  await pushAll(lab, 'slow', { spacing: 60_000 }, DEVICES.slice(0, 10));
  t.match(await lab.outbox.messages(deviceOf(9), 1), [{ dueIn: 9 * 60_000 }]);
  t.match(await lab.campaigns.pause('slow'), { state: 'paused', progress: { parked: 10 } });
  await pushAll(lab, 'slow', {}, DEVICES.slice(10, 12));
  t.match(await lab.campaigns.pause('slow'), { state: 'paused', progress: { parked: 12 } });
  t.equal(await complete(lab.outbox, 100), 0);
  t.match(await lab.campaigns.resume('slow'), { state: 'running', progress: { parked: 0 } });
  t.match(await lab.outbox.messages(deviceOf(11), 1), [{ dueIn: 11 * 60_000 }]);
  t.equal(await complete(lab.outbox, 100), 1);
});

t.test('a campaign that was paused among its canaries goes on with as many', async (t) => {
  const lab = await setUp(t);
  await pushAll(lab, 'c', { canary: 0.2 });
  const parked = (await lab.campaigns.get('c')).progress.parked;
  t.match(await lab.campaigns.pause('c'), { progress: { parked: 100 } });
  t.match(await lab.campaigns.resume('c'), { phase: 'canary', progress: { parked } });
});

t.test('what one relay does with a campaign, another one that shares the outbox goes by', async (t) => {
  const gate = await setUp(t);
  const { outbox, campaigns, start, look } = gate;
  const other = await start();
  t.teardown(() => other.close());
  await pushAll(gate, 'spring', { canary: 0.1 });
  t.match((await other.list('', 10)).campaigns, [{ name: 'spring', state: 'running', phase: 'canary' }]);
  await other.pause('spring');
  await look();
  t.match(await campaigns.get('spring'), { state: 'paused' });
  t.equal((await outbox.campaign('spring')).parked, 100, 'nobody sets it going again');
  const push = await campaigns.begin('spring', { canary: 0.1 });
  t.match(push.place(deviceOf(0), 0), { parked: true }, 'a push finds it paused');
  push.close();
  await other.abort('spring');
  await t.rejects(campaigns.begin('spring'), { code: 'CAMPAIGN_REFUSED' });
});

t.test('an end is told once, when nothing is held and nobody pushes; a later push begins anew', async (t) => {
  const lab = await setUp(t);
  const words = async (): Promise<string[]> => (await lab.news()).map(({ what }) => what);
  const push = await lab.campaigns.begin('plain');
  await lab.look();
  t.same(await words(), ['begun'], 'the push goes on');
  await lab.outbox.push({ device: deviceOf(1), kind: 'contact-me', ttl: DAY, delay: 0, campaign: 'plain' });
  push.close();
  await lab.look();
  t.same(await words(), ['begun'], 'its message is held');
  await lab.campaigns.pause('plain');
  await lab.campaigns.pause('plain');
  await lab.campaigns.close();
  const again = await lab.start();
  t.teardown(() => again.close());
  await lab.outbox.clear(deviceOf(1), { state: 'cleared', by: 'api' });
  await lab.look();
  await lab.look();
  t.same(await words(), ['begun', 'paused', 'ended'], 'also by a relay that has just started');
  t.match(await again.get('plain'), { endedAt: lab.clock.wall() - 1_000 });
  await again.resume('plain');
  await pushAll({ ...lab, campaigns: again }, 'plain', {}, DEVICES.slice(2, 3));
  await lab.look();
  t.same(await words(), ['begun', 'paused', 'ended', 'resumed', 'begun']);
  await lab.outbox.clear(deviceOf(2), { state: 'cleared', by: 'api' });
  await lab.look();
  t.equal((await words()).at(-1), 'ended');
});

t.test('of those who pause and abort a campaign at once nobody undoes an abortion', async (t) => {
  for (let round = 0; round < 5; round++) {
    const lab = await setUp(t);
    const other = await lab.start();
    t.teardown(() => other.close());
    await pushAll(lab, 'c', {}, DEVICES.slice(0, 3));
    await Promise.allSettled([
      ...Array.from({ length: round }, () => lab.campaigns.pause('c')),
      (round % 2 === 0 ? other : lab.campaigns).abort('c'),
      lab.campaigns.pause('c'),
      lab.campaigns.begin('c').then((push) => push.close()),
      other.pause('c'),
    ]);
    t.match(await lab.campaigns.get('c'), { state: 'aborted', progress: { states: { cancelled: 3 } } });
    const words = (await lab.news()).map(({ what }) => what);
    t.equal(words.at(-1), 'aborted');
    t.equal(new Set(words).size, words.length, 'each is told once');
  }
});

t.test('a push that goes on while its campaign is stopped leaves nothing of it running', async (t) => {
  for (const [verb, left] of [
    ['pause', { parked: 1 }],
    ['abort', { states: { cancelled: 1 } }],
  ] as const) {
    const lab = await setUp(t);
    const push = await lab.campaigns.begin('c');
    const placed = push.place(deviceOf(1), 0);
    await lab.campaigns[verb]('c').catch(() => undefined);
    await lab.outbox.push({ device: deviceOf(1), kind: 'contact-me', ttl: DAY, campaign: 'c', ...placed });
    push.close();
    await lab.look();
    t.match((await lab.campaigns.get('c')).progress, left, verb);
  }
});

t.test('what was wanted and not done when the relay died is done at its next start', async (t) => {
  const lab = await setUp(t);
  await pushAll(lab, 'paused', {}, DEVICES.slice(0, 50));
  await pushAll(lab, 'aborted', {}, DEVICES.slice(50));
  await lab.campaigns.close();
  const record = newRecord(DEFAULT_PLAN, 1);
  const keep = async (name: string, text: string): Promise<boolean> =>
    lab.outbox.keepCampaign(name, text, await lab.outbox.campaignRecord(name));
  await keep('paused', JSON.stringify({ ...record, state: 'paused' }));
  await keep('aborted', JSON.stringify({ ...record, state: 'aborted', why: 'too bad' }));
  await keep('broken', '{"state":');
  const again = await lab.start();
  t.teardown(() => again.close());
  t.match(await again.get('paused'), { state: 'paused', progress: { parked: 50 } });
  t.match(await again.get('aborted'), { why: 'too bad', progress: { states: { cancelled: 50 } } });
  await t.rejects(again.get('broken'), { code: 'NOT_FOUND' });
  const { campaigns: page, next } = await again.list('', 1);
  t.match(page, [{ name: 'aborted' }]);
  t.equal(next, 'aborted');
});

t.test('a plan stands as it was begun', async (t) => {
  const lab = await setUp(t);
  await pushAll(lab, 'c', { canary: 0.1 });
  await t.rejects(lab.campaigns.begin('c', { canary: 0.5 }), {
    code: 'CAMPAIGN_REFUSED',
    message: /canary 0\.1, not 0\.5/,
  });
  (await lab.campaigns.begin('c', { canary: 0.1 })).close();
  (await lab.campaigns.begin('c')).close();
  await t.rejects(lab.campaigns.get('none'), { code: 'NOT_FOUND' });
});

t.test('whatever the figures, a verdict fits them', (t) => {
  const count = fc.integer({ min: 0, max: 50 });
  fc.assert(
    fc.property(
      fc.record({
        held: count,
        parked: count,
        cleared: count,
        failed: count,
        dead: count,
        expired: count,
        canary: fc.constantFrom(0, 0.05, 1),
        abortAt: fc.constantFrom(0, 0.1, 1),
      }),
      (given) => {
        const parked = Math.min(given.parked, given.held);
        const failed = Math.min(given.failed, given.cleared);
        const { held, cleared, dead, expired } = given;
        const record = newRecord({ ...DEFAULT_PLAN, canary: given.canary, abortAt: given.abortAt }, 0);
        const verdict = judge(record, { states: { held, cleared, dead, expired }, parked, failed });
        const failures = failed + dead + expired;
        if (verdict.do === 'abort') return failures > 0 && given.abortAt < 1;
        if (verdict.do === 'start') return parked > 0 && held === parked && given.canary > 0;
        return true;
      },
    ),
  );
  t.end();
});
