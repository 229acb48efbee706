import t from 'tap';
import { bothLinked, startTwoProxies } from '../fixtures/faults/two-proxies.ts';
import { phoneAt } from '../fixtures/phone-at.ts';
import { until } from '../fixtures/until.ts';

const PHONE = '00:1A:E8:2B:00:01';
const OTHER = '00:1A:E8:2B:00:02';
const WRITE = { action: 'WriteItems', items: { realm: 'example' } };
const BETWEEN_POLLS_MS = 20;

async function polled(pollUrl: string, device: string): Promise<number> {
  const answer = await fetch(`${pollUrl}contact-me?device-id=${device}`);
  await answer.arrayBuffer();
  return answer.status;
}

async function polls(pollUrl: string, device: string, status: number): Promise<void> {
  while ((await polled(pollUrl, device)) !== status) {
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_POLLS_MS));
  }
}

t.test('any proxy answers any phone, and what happens at one is known at the other', async (t) => {
  const released = Promise.withResolvers<void>();
  let hold = false;
  const { gate, second } = await startTwoProxies(t, {
    service: {
      async intercept(request) {
        // The reply to the service's action waits: the session is running.
        if (hold && request.body.includes('reply-to')) await released.promise;
        return undefined;
      },
    },
  });
  const urls = [gate.pollUrl, second.pollUrl];
  const both = (device: string, status: number): Promise<void[]> =>
    Promise.all(urls.map((url) => polls(url, device, status)));

  await gate.call('POST', `/v1/devices/${PHONE}/messages?wait=proxy`, {});
  await gate.call('POST', `/v1/devices/${OTHER}/messages?wait=proxy`, {});
  // The relay may be linked before it has reached the service for the first time.
  await both(PHONE, 202);
  await both(OTHER, 202);

  const phone = phoneAt(t, second, PHONE);
  hold = true;
  void gate.service.enqueue(PHONE, [WRITE]);
  const session = phone.openSession('solicited');
  await both(PHONE, 200);
  t.same(
    await Promise.all(urls.map((url) => polled(url, OTHER))),
    [202, 202],
    'the session at the second proxy makes this phone quiet at the first, and no other',
  );
  hold = false;
  released.resolve();
  t.match(await session, { outcome: 'completed' });
  await until(
    'it is cleared',
    async () => (await gate.call('GET', `/v1/devices/${PHONE}`)).body['pending'] === 0,
  );
  await both(PHONE, 200);

  await gate.call('DELETE', `/v1/devices/${OTHER}/messages`);
  await both(OTHER, 200);
});

t.test('a proxy that is down changes nothing at the other, and catches up when it is back', async (t) => {
  const { gate, second } = await startTwoProxies(t);
  await gate.call('POST', `/v1/devices/${PHONE}/messages?wait=proxy`, {});
  await polls(gate.pollUrl, PHONE, 202);
  second.program.signal('SIGKILL');
  await second.program.exited;
  let away = '';
  const links = async (): Promise<string[]> => {
    const { body } = await gate.call('GET', '/v1/proxies');
    const proxies = body['proxies'] as { url: string; state: string }[];
    away = proxies.find(({ state }) => state === 'down')?.url ?? '';
    return proxies.map(({ state }) => state).sort();
  };
  await until('one of two links is down', async () => (await links())[0] === 'down');
  t.same(await links(), ['down', 'up'], 'status tells them apart');
  const ready = await gate.call('GET', '/readyz');
  t.match(ready, { status: 503, body: { ready: false } });
  t.ok(
    JSON.stringify(ready.body).includes(new URL(away).host),
    `readiness names the one that is down: ${JSON.stringify(ready.body)}`,
  );
  const metrics = await (await fetch(`${gate.api}/metrics`)).text();
  const up = [...metrics.matchAll(/^sallyport_link_up\{proxy="[^"]+"\} (\d)$/gm)].map(([, value]) => value);
  t.same(up.sort(), ['0', '1']);

  t.equal(await polled(gate.pollUrl, PHONE), 202, 'the other answers on');
  const pushed = await gate.call('POST', `/v1/devices/${OTHER}/messages?wait=proxy`, {});
  t.equal(pushed.status, 201, 'pushes do not wait for it');
  t.equal(await polled(gate.pollUrl, OTHER), 202);
  await gate.call('DELETE', `/v1/devices/${PHONE}/messages`);
  await polls(gate.pollUrl, PHONE, 200);

  await second.start();
  await bothLinked(gate);
  await polls(second.pollUrl, OTHER, 202);
  t.equal(await polled(second.pollUrl, PHONE), 200, 'it knows what happened meanwhile');
});
