import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '../../../shared/clock.ts';
import type { Clock } from '../../../shared/clock.ts';
import type { Outbox } from '../../../relay-client/outbox/outbox.ts';
import { WEBHOOK_EVENTS } from '../../../relay-client/webhooks/config.ts';
import { createPlaceFile } from '../../../relay-client/webhooks/place.ts';
import { readSecret } from '../../../relay-client/webhooks/signature.ts';
import { DEVICE, expectedSignature, setUp } from './receiver.ts';
import { until } from '../../fixtures/until.ts';

const push = (outbox: Outbox) => outbox.push({ device: DEVICE, kind: 'contact-me', ttl: 60_000, delay: 0 });
const clear = (outbox: Outbox) => outbox.clear(DEVICE, { state: 'cleared', by: 'test' });

t.test('a receiver is told how messages end, signed and in order', async (t) => {
  const { got, times, outbox: open, start } = await setUp(t);
  const outbox = open();
  const webhook = start(outbox);
  const first = await push(outbox);
  await push(outbox);
  await times(1);
  await clear(outbox);
  await times(2);
  const told = got.flatMap(({ events }) => events);
  t.match(told, [
    { event: 'superseded', message: first.message.id, device: DEVICE },
    { event: 'cleared', device: DEVICE },
  ]);
  for (const request of got) {
    t.equal(request.headers['webhook-signature'], expectedSignature(request));
    t.ok(Math.abs(Number(request.headers['webhook-timestamp']) - Date.now() / 1000) < 60);
  }
  t.not(got[0]!.headers['webhook-id'], got[1]!.headers['webhook-id']);
  t.match(webhook.stats(), { failed: 0, lost: { gaveUp: 0, trimmed: 0 }, why: null });
});

t.test(
  'what becomes of a campaign is told in its place between messages, once its record is kept',
  async (t) => {
    const { got, times, outbox: open, start } = await setUp(t);
    const outbox = open();
    start(outbox, { events: ['campaign', 'cleared'] });
    const news = (what: string) => ({ what, facts: { campaign: 'spring', why: null } });
    await outbox.keepCampaign('spring', '{}', null, news('begun'));
    await times(1);
    await push(outbox);
    await clear(outbox);
    await outbox.keepCampaign('spring', '{"late":true}', null, news('paused'));
    await outbox.keepCampaign('spring', '{"n":1}', '{}', news('ended'));
    await push(outbox);
    await clear(outbox);
    const told = () => got.flatMap(({ events }) => events);
    await until('all four are told', () => told().length === 4);
    t.match(told(), [
      { seq: 1, event: 'campaign', device: null, message: null, ...news('begun') },
      { event: 'cleared', device: DEVICE },
      { event: 'campaign', device: null, ...news('ended') },
      { event: 'cleared', device: DEVICE },
    ]);
  },
);

t.test('a batch is tried until it is taken, under one id, and what follows comes after it', async (t) => {
  const answers = [500, { status: 302, headers: { location: '/elsewhere' } }, 404, 200, 200];
  const { got, times, outbox: open, start } = await setUp(t, (tries) => answers[tries - 1] ?? 500);
  const outbox = open();
  const webhook = start(outbox, { limits: { batch: 1 } });
  await push(outbox);
  await clear(outbox);
  await push(outbox);
  await clear(outbox);
  await times(5);
  const ids = got.map(({ headers }) => headers['webhook-id']);
  t.equal(new Set(ids.slice(0, 4)).size, 1, 'three failures and the success are of one batch');
  t.not(ids[4], ids[3]);
  t.ok(got[4]!.events[0]!.seq > got[3]!.events[0]!.seq);
  await webhook.close();
  t.match(webhook.stats(), { delivered: 2, failed: 3, why: null });
});

t.test('a receiver that asks for a pause gets it, up to the longest wait', async (t) => {
  const waits: number[] = [];
  const clock: Clock = {
    ...systemClock,
    after(delay, task) {
      waits.push(delay);
      return systemClock.after(Math.min(delay, 5), task);
    },
  };
  const asks = [7, 1_000_000];
  const {
    times,
    outbox: open,
    start,
  } = await setUp(t, (tries) => {
    const asked = asks[tries - 1];
    return asked === undefined ? 200 : { status: 429, headers: { 'retry-after': String(asked) } };
  });
  const outbox = open();
  start(outbox, { clock, limits: { firstWaitMs: 1_000, longestWaitMs: 300_000 } });
  await push(outbox);
  await clear(outbox);
  await times(3);
  t.ok(waits.includes(7_000));
  t.ok(waits.includes(300_000));
  t.ok(Math.max(...waits) <= 300_000);
});

t.test('what happens while the relay is down is told after it, and nothing twice', async (t) => {
  const { got, times, directory, outbox: open, start } = await setUp(t);
  const outbox = open();
  const first = start(outbox);
  await push(outbox);
  await clear(outbox);
  await times(1);
  await first.close();
  t.equal(readFileSync(join(directory, 'webhook-tickets.place'), 'utf8'), `${outbox.sequence()}\n`);
  await push(outbox);
  const [missed] = await clear(outbox);
  start(outbox);
  await times(2);
  await push(outbox);
  await clear(outbox);
  await times(3);
  t.equal(got[1]!.events.length, 1);
  t.equal(got[1]!.events[0]!.message, missed!.id);
  t.equal(new Set(got.flatMap(({ events }) => events.map(({ seq }) => seq))).size, 3);
});

t.test('a new webhook is told from now on, not what was before', async (t) => {
  const { got, times, outbox: open, start } = await setUp(t);
  const outbox = open();
  await push(outbox);
  await clear(outbox);
  start(outbox, { events: WEBHOOK_EVENTS });
  const { message } = await push(outbox);
  await times(1);
  t.match(got[0]!.events, [{ event: 'accepted', message: message.id }]);
});

t.test('a batch that nobody takes is given up after a time, counted, and the next is told', async (t) => {
  let up = false;
  const { got, times, outbox: open, start } = await setUp(t, () => (up ? 200 : 503));
  const outbox = open();
  const webhook = start(outbox, { limits: { giveUpMs: 30 } });
  await push(outbox);
  await clear(outbox);
  await until('it is given up', () => webhook.stats().lost.gaveUp > 0);
  up = true;
  const tried = got.length;
  await push(outbox);
  await clear(outbox);
  await times(tried + 1);
  await webhook.close();
  t.match(webhook.stats(), { delivered: 1, lost: { gaveUp: 1, trimmed: 0 } });
});

t.test('events that left the history before they could be told are counted', async (t) => {
  const { times, outbox: open, start, directory } = await setUp(t);
  const outbox = open({ history: 4 });
  writeFileSync(join(directory, 'webhook-tickets.place'), '0\n');
  for (let i = 0; i < 5; i++) {
    await push(outbox);
    await clear(outbox);
  }
  const webhook = start(outbox);
  await times(1);
  await webhook.close();
  t.equal(webhook.stats().lost.trimmed, outbox.sequence() - 4);
  t.equal(webhook.stats().behind, 0);
});

t.test('an outbox that went back in time is followed from where it is now', async (t) => {
  const { got, times, outbox: open, start, directory } = await setUp(t);
  writeFileSync(join(directory, 'webhook-tickets.place'), '1000\n');
  const outbox = open();
  start(outbox);
  await push(outbox);
  await clear(outbox);
  await times(1);
  t.match(got[0]!.events, [{ event: 'cleared' }]);
});

t.test('a place or a secret that is none is refused, by name', async (t) => {
  const directory = t.testdir({
    'webhook-tickets.place': 'far\n',
    short: 'word\n',
    long: 'whsec_MTIzNDU2Nzg5MDEyMzQ1Ng==\n',
  });
  t.throws(() => createPlaceFile(directory, 'tickets'), {
    code: 'FILE_UNREADABLE',
    message: /webhook-tickets\.place/,
  });
  t.throws(() => readSecret(join(directory, 'short')), { code: 'FILE_UNREADABLE', message: /4 bytes/ });
  t.throws(() => readSecret(join(directory, 'none')), { code: 'FILE_UNREADABLE' });
  t.equal(readSecret(join(directory, 'long')).toString(), '1234567890123456');
});
