import t from 'tap';
import type { RawAnswer, RecordedRequest } from '../../fixtures/services/index.ts';
import { createManualClock, createPhone } from '../../phones/index.ts';
import { DEVICE, makePhone, startPair, startService } from './start.ts';

const ONCE = { startUpRetryMs: 0 };

t.test('an answer that does not repeat the nonce is a fault', async (t) => {
  for (const nonce of ['wrong', 'empty'] as const) {
    const { phone } = await startPair(t, { dialect: { nonce } }, ONCE);
    t.strictSame(phone.counts.sessionsBy, { nonce: 1 });
  }
});

t.test('invalid XML makes the phone end the session itself', async (t) => {
  const body = Buffer.from('<br/>Notice: <DLSMessage/>');
  const head = Buffer.from(
    `HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: ${body.length}\r\n\r\n`,
  );
  let first = true;
  const intercept = async (): Promise<RawAnswer | undefined> => {
    const given = first ? { head, body, close: false } : undefined;
    first = false;
    return given;
  };
  const service = await startService(t, { intercept });
  t.match(await makePhone(t, service, ONCE).start(), {
    outcome: 'failed',
    failure: 'invalid-xml',
    requests: 2,
  });
  t.match(service.requests[1]?.body.toString(), '>clean-up</ReasonForContact>');
});

t.test('an answer cut in the middle is never taken for a whole one', async (t) => {
  const intercept = async (request: RecordedRequest): Promise<RawAnswer | undefined> =>
    request.sequence === 1
      ? {
          head: Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n'),
          body: Buffer.alloc(100),
          close: true,
          cutAfter: 40,
        }
      : undefined;
  const { phone } = await startPair(t, { intercept }, ONCE);
  t.strictSame(phone.counts.sessionsBy, { cut: 1 });
});

t.test('a dropped connection, a refused one, a silent one and an error status are told apart', async (t) => {
  const dropped = await startPair(t, { intercept: async () => 'destroy' }, ONCE);
  t.strictSame(dropped.phone.counts.sessionsBy, { cut: 1 });
  const silent = await startPair(t, { answerDelayMs: 5000 }, { ...ONCE, answerTimeoutMs: 50 });
  t.strictSame(silent.phone.counts.sessionsBy, { timeout: 1 });
  const head = Buffer.from('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n');
  const gateway = await startService(t, {
    intercept: async () => ({ head, body: Buffer.alloc(0), close: false }),
  });
  t.match(await makePhone(t, gateway, ONCE).start(), { failure: 'http-status', status: 502 });
  const alone = createPhone({ ...ONCE, deviceId: DEVICE, service: 'http://127.0.0.1:1' });
  t.teardown(() => alone.close());
  t.match(await alone.start(), { failure: 'refused', contacted: false });
});

t.test('when load is shed the phone repeats its last message until it is served', async (t) => {
  let shed = 0;
  const options = { shed: () => (shed += 1) <= 3 };
  const { service, phone } = await startPair(t, options, { overloadWaitMs: [1, 2] });
  t.strictSame(phone.counts.sessionsBy, { completed: 1 });
  const bodies = service.requests.slice(0, 4).map((request) => request.body.toString());
  t.ok(bodies.every((body) => body.includes('>start-up<')));
  const stubborn = await startPair(
    t,
    { shed: () => true },
    { ...ONCE, overloadWaitMs: [0, 0], overloadRetries: 2 },
  );
  t.strictSame(stubborn.phone.counts.sessionsBy, { overload: 1 });
  t.equal(stubborn.service.requests.length, 3);
});

t.test('a failed start-up is tried again after a while', async (t) => {
  const clock = createManualClock();
  const phone = createPhone({
    deviceId: DEVICE,
    service: 'http://127.0.0.1:1',
    clock,
    startUpRetryMs: 30_000,
    random: () => 0.5,
  });
  t.teardown(() => phone.close());
  t.equal((await phone.start())?.outcome, 'failed');
  clock.advance(29_999);
  t.equal(phone.inSession, false);
  const again = phone.next('session');
  clock.advance(1);
  t.match(await again, { reason: 'start-up', failure: 'refused' });
});

t.test('closing a phone ends what it is doing and rejects what waits', async (t) => {
  const arrived = Promise.withResolvers<undefined>();
  const intercept = async (): Promise<undefined> => arrived.resolve(undefined) as undefined;
  const service = await startService(t, { intercept, answerDelayMs: 60_000 });
  const phone = makePhone(t, service);
  const first = phone.start();
  await arrived.promise;
  const second = phone.openSession('solicited');
  const awaited = phone.next('session');
  await Promise.all([
    phone.close(),
    t.resolveMatch(first, { outcome: 'failed' }),
    t.rejects(second, /closed/),
    t.rejects(awaited, /closed/),
  ]);
  await t.rejects(phone.openSession('solicited'), /closed/);
});
