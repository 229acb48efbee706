import t from 'tap';
import { startGate } from '../fixtures/gate.ts';

const PHONE = '00:1A:E8:D1:00:01';

t.test('a direct site: 202 while link and service are down, cleared by API, and said so', async (t) => {
  const gate = await startGate(t, {
    proxy: { sites: [{ name: 'default', session_gap_s: 0, sessions: 'direct' }] },
    wpi: { teach: { 'dcmp-url': 'http://proxy.example:8080/dcmp/' } },
  });
  const pushed = await gate.call('POST', `/v1/devices/${PHONE}/messages?wait=proxy`, {});
  t.equal(pushed.status, 201);
  await gate.polls(PHONE, 202);
  await gate.service.close();
  t.equal(await gate.poll(PHONE), 202, 'the service is its own to reach');

  const { body: proxies } = await gate.call('GET', '/v1/proxies');
  t.match(proxies, { proxies: [{ direct: true }] });
  const told = async (): Promise<Record<string, unknown>> => {
    for (;;) {
      const { body } = await gate.call('GET', `/v1/devices/${PHONE}/why`);
      if (body['verdict'] !== 'awaiting-poll' && body['verdict'] !== 'never-polled') return body;
      await gate.poll(PHONE);
    }
  };
  t.match(await told(), { verdict: 'blind', sentence: /pass unread/, advice: /Clear it by the API/ });
  t.ok(
    gate.relay.lines.some(({ msg }) => msg.startsWith('nobody is taught at a direct site')),
    'teaching is refused with the reason',
  );

  await gate.relay.stop();
  t.equal(await gate.poll(PHONE), 202, 'nor does it hang on the link');
  await gate.startRelay();
  await gate.call('DELETE', `/v1/devices/${PHONE}/messages`);
  await gate.polls(PHONE, 200);
});
