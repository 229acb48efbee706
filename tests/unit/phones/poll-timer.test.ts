import t from 'tap';
import type { PlainService } from '../../fixtures/services/index.ts';
import {
  createManualClock,
  pollRequest,
  type ManualClock,
  type Phone,
  type PhoneOptions,
} from '../../phones/index.ts';
import { DEVICE, makePhone, startService } from './start.ts';

const INTERVAL = 60_000;

async function startPolling(
  t: Parameters<typeof startService>[0],
  options: Partial<PhoneOptions> = {},
): Promise<{ clock: ManualClock; service: PlainService; phone: Phone }> {
  const clock = createManualClock();
  const service = await startService(t, { tls: false, answersPolls: true });
  const phone = makePhone(t, service, {
    clock,
    pollUrl: `${service.url}/dcmp/`,
    pollIntervalMs: INTERVAL,
    ...options,
  });
  await phone.start();
  return { clock, service, phone };
}

t.test('a phone polls each interval, and 200 changes nothing', async (t) => {
  const { clock, phone } = await startPolling(t);
  for (let round = 0; round < 3; round += 1) {
    clock.advance(INTERVAL - 1);
    t.equal(phone.counts.polls, round);
    const poll = phone.next('poll');
    clock.advance(1);
    t.equal((await poll).status, 200);
  }
  t.equal(phone.counts.sessions, 1, 'the start-up only');
});

t.test(
  '202 opens a solicited session at the service, and the next poll is a whole interval later',
  async (t) => {
    const { clock, service, phone } = await startPolling(t);
    const done = service.enqueue(DEVICE, [{ action: 'WriteItems', items: { realm: 'polled' } }]);
    const poll = phone.next('poll');
    const session = phone.next('session');
    clock.advance(INTERVAL);
    t.equal((await poll).status, 202);
    t.match(await session, { reason: 'solicited', outcome: 'completed' });
    t.match(await done, [{ status: 'accepted' }]);
    t.equal(clock.nextIn(), INTERVAL);
  },
);

t.test('any contact with the service restarts the timer', async (t) => {
  const { clock, phone } = await startPolling(t);
  clock.advance(INTERVAL - 1000);
  await phone.changeLocally({ 'display-text': 'x' });
  t.equal(clock.nextIn(), INTERVAL);
});

t.test('a failed session is no contact, so the timer runs on', async (t) => {
  const { clock, service, phone } = await startPolling(t);
  await service.close();
  clock.advance(INTERVAL - 1000);
  t.equal((await phone.changeLocally({ 'display-text': 'x' })).outcome, 'failed');
  t.equal(clock.nextIn(), 1000);
});

t.test('other statuses and failures are no news', async (t) => {
  let status = '404 Not Found';
  const clock = createManualClock();
  const service = await startService(t, {
    tls: false,
    intercept: async ({ method }) =>
      method === 'GET'
        ? {
            head: Buffer.from(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\n\r\n`),
            body: Buffer.alloc(0),
            close: false,
          }
        : undefined,
  });
  const phone = makePhone(t, service, { clock, pollUrl: `${service.url}/dcmp/`, pollIntervalMs: INTERVAL });
  await phone.start();
  for (const next of ['503 Service Unavailable', '302 Found', 'gone']) {
    const poll = phone.next('poll');
    clock.advance(INTERVAL);
    t.equal((await poll).status, Number(status.split(' ')[0]));
    status = next;
  }
  await service.close();
  const poll = phone.next('poll');
  clock.advance(INTERVAL);
  t.match(await poll, { status: undefined, reason: 'refused' });
  t.equal(clock.nextIn(), INTERVAL);
  t.equal(phone.counts.sessions, 1);
  t.strictSame(phone.counts.pollsBy, { 404: 1, 503: 1, 302: 1, refused: 1 });
});

t.test('a taught URL and interval take effect at once, an empty URL ends polling', async (t) => {
  const { clock, service, phone } = await startPolling(t, { intervalItem: 'poll-interval' });
  const teach = async (items: Record<string, string>): Promise<void> => {
    const session = phone.next('session');
    void service.enqueue(DEVICE, [{ action: 'WriteItems', items }]);
    await service.contact(DEVICE);
    await session;
  };
  await teach({ 'dcmp-url': `${service.url}/other/`, 'poll-interval': '30' });
  t.equal(clock.nextIn(), 30_000);
  const poll = phone.next('poll');
  clock.advance(30_000);
  t.equal((await poll).status, 200);
  await teach({ 'dcmp-url': '' });
  t.equal(clock.nextIn(), undefined);
  await t.rejects(phone.pollNow(), /no poll URL/);
});

t.test('polls have a connection each, or share one when so set', async (t) => {
  const { service, phone } = await startPolling(t);
  const before = service.accepted;
  for (let round = 0; round < 3; round += 1) await phone.pollNow();
  t.equal(service.accepted, before + 3);
  const kept = await startPolling(t, { pollKeepAlive: true });
  const one = kept.service.accepted;
  for (let round = 0; round < 3; round += 1) await kept.phone.pollNow();
  t.equal(kept.service.accepted, one + 1);
});

t.test('the base is used as it is, the id appended as registered', async (t) => {
  t.match(pollRequest('http://p:8080/dcmp/', DEVICE), {
    target: { host: 'p', port: 8080, tls: false },
    path: '/dcmp/contact-me?device-id=00:1A:E8:00:00:01',
  });
  t.equal(pollRequest('http://p/dcmp', 'x').path, '/dcmpcontact-me?device-id=x', 'no slash is invented');
  t.match(pollRequest('https://[::1]', 'a b&c'), {
    target: { host: '::1', port: 443, tls: true },
    path: '/contact-me?device-id=a%20b%26c',
  });
  t.equal(pollRequest('http://p/', '00%3A1A').path, '/contact-me?device-id=00%3A1A');
  for (const wrong of ['p:8080', 'ftp://p/', 'http://', 'http://p/?x'])
    t.throws(() => pollRequest(wrong, 'x'), TypeError);
});
