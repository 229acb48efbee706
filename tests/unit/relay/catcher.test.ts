import { connect } from 'node:net';
import { request } from 'node:http';
import fc from 'fast-check';
import t from 'tap';
import type { Test } from 'tap';
import { createCatcher } from '../../../relay-client/catcher/catcher.ts';
import type { Catcher, CatcherOptions } from '../../../relay-client/catcher/catcher.ts';
import { createModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { ModelFaults, ModelOutbox } from '../../../relay-client/outbox/model.ts';
import { parseDeviceId } from '../../../shared/device-id.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';
import { until } from '../../fixtures/until.ts';

const ONE = '00:1a:e8:00:00:01' as DeviceId;
const SECRET = Buffer.alloc(32, 7);

interface Place {
  catcher: Catcher;
  outbox: ModelOutbox;
  faults: Partial<ModelFaults>;
  clock: ReturnType<typeof createFakeClock>;
}

async function startCatcher(t: Test, options: Partial<CatcherOptions> = {}): Promise<Place> {
  const clock = createFakeClock();
  const faults: Partial<ModelFaults> = {};
  const outbox = createModelOutbox({ clock, random: seededRandom(1), faults });
  const listen = { host: '127.0.0.1', port: 0 };
  const catcher = await createCatcher({ listen, secret: SECRET, outbox, log: silentLog, ...options });
  t.teardown(() => catcher.close());
  return { catcher, outbox, faults, clock };
}

interface Answered {
  status: number;
  headers: string[];
}

function ask(url: string, method: string, body?: string): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const headers =
      body === undefined ? {} : { 'Content-Type': 'application/x-www-form-urlencoded; charset=utf-8' };
    const sent = request(url, { method, headers, agent: false }, (response) => {
      response.resume();
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.rawHeaders }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const held = async (outbox: ModelOutbox, device = ONE) =>
  (await outbox.messages(device, 100)).filter(({ state }) => state === 'held');

t.test('a contact-me for a phone is pushed, and answered as the phone would', async (t) => {
  const { catcher, outbox } = await startCatcher(t);
  const answer = await ask(catcher.address(ONE), 'POST', 'ContactMe=true');
  t.equal(answer.status, 204);
  t.strictSame(answer.headers.slice(0, 6), [
    'Server',
    'DlsClient',
    'Content-Length',
    '0',
    'Content-type',
    'text/html',
  ]);
  t.match(await held(outbox), [
    { device: ONE, kind: 'contact-me', generation: 1, expiresIn: 7 * 86_400_000 },
  ]);
});

t.test('all the ways in which services ask are understood', async (t) => {
  const { catcher, outbox } = await startCatcher(t);
  const url = catcher.address(ONE);
  const asks: [string, string, string?][] = [
    [url, 'POST', 'ContactMe=true&dls_ip_addr=10.0.0.9&dls_ip_port=18443'],
    [url, 'POST', 'dls_ip_addr=10.0.0.9&ContactMe=TRUE\r\n'],
    [`${url}?ContactMe=true&dls_ip_addr=10.0.0.9&dls_ip_port=18443`, 'GET'],
    [`${url}?ContactMe=true`, 'POST', ''],
    [url, 'GET'],
    [`${url}?`, 'GET'],
  ];
  for (const [n, given] of asks.entries()) {
    t.equal((await ask(...given)).status, 204, given[0].slice(-40));
    t.match(await held(outbox), [{ generation: n + 1 }], 'each is a push that supersedes');
  }
});

t.test('what is no contact-me is refused', async (t) => {
  const { catcher, outbox } = await startCatcher(t);
  const url = catcher.address(ONE);
  const cases: [number, string, string, string?][] = [
    [400, url, 'POST', ''],
    [400, url, 'POST', 'ContactMe=false'],
    [400, `${url}?ContactMe=no`, 'GET'],
    [405, url, 'PUT', 'ContactMe=true'],
    [405, url, 'DELETE'],
    [413, url, 'POST', `ContactMe=true&x=${'x'.repeat(4096)}`],
    [404, url.replace('contact_dls.html', 'other.html'), 'POST', 'ContactMe=true'],
    [404, url.replace('001ae8000001', '001ae8000002'), 'POST', 'ContactMe=true'],
    [404, url.replace(/-[0-9a-f]/, (digit) => (digit === '-0' ? '-1' : '-0')), 'POST', 'ContactMe=true'],
    [404, new URL('/contact_dls.html/ContactDLS', url).href, 'POST', 'ContactMe=true'],
    [404, new URL('/', url).href, 'GET'],
  ];
  for (const [status, ...given] of cases) {
    const answer = await ask(...given);
    t.equal(answer.status, status, `${given[1]} ${given[0].slice(-40)}`);
  }
  t.strictSame(await held(outbox), []);
});

t.test('it answers only once the push is durable', async (t) => {
  const { catcher, clock, faults } = await startCatcher(t);
  faults.syncDelay = 50;
  let answered = false;
  const answer = ask(catcher.address(ONE), 'POST', 'ContactMe=true').then((got) => {
    answered = true;
    return got;
  });
  // A second one in the meantime is the same contact, and a third shows that the catcher had time to answer.
  const second = ask(catcher.address(ONE), 'GET');
  t.equal((await ask(catcher.address(ONE), 'PUT')).status, 405);
  t.equal(answered, false);
  clock.advance(50);
  t.equal((await answer).status, 204);
  faults.syncDelay = 0;
  clock.advance(50);
  t.equal((await second).status, 204);
});

t.test('two contacts for one phone before the first is durable are one push', async (t) => {
  const { outbox } = await startCatcher(t);
  const gate = Promise.withResolvers<void>();
  let pushes = 0;
  const slow: ModelOutbox = {
    ...outbox,
    push: async (push) => {
      pushes += 1;
      await gate.promise;
      return outbox.push(push);
    },
  };
  const { catcher } = await startCatcher(t, { outbox: slow });
  const asks = [1, 2, 3].map(() => ask(catcher.address(ONE), 'POST', 'ContactMe=true'));
  const probe = parseDeviceId('softphone-7') as DeviceId;
  const other = ask(catcher.address(probe), 'GET');
  await until('both have been pushed', () => pushes >= 2);
  gate.resolve();
  for (const answer of await Promise.all([...asks, other])) t.equal(answer.status, 204);
  t.equal((await held(outbox)).length, 1);
  t.equal((await held(outbox, probe)).length, 1);
});

t.test('when the outbox refuses, the service is told to try again', async (t) => {
  const { catcher, faults, outbox } = await startCatcher(t);
  faults.full = true;
  const answer = await ask(catcher.address(ONE), 'POST', 'ContactMe=true');
  t.equal(answer.status, 503);
  t.ok(answer.headers.includes('Retry-After'));
  faults.full = false;
  t.equal((await ask(catcher.address(ONE), 'POST', 'ContactMe=true')).status, 204);
  t.equal((await held(outbox)).length, 1);
});

t.test('a request that breaks off or dawdles changes nothing', async (t) => {
  const { catcher, outbox } = await startCatcher(t, { limits: { requestMs: 300 } });
  const url = new URL(catcher.address(ONE));
  const head = `POST ${url.pathname} HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n`;
  const broken = connect(Number(url.port), url.hostname);
  broken.on('error', () => undefined);
  broken.end(`${head}ContactMe=`);
  broken.resume();
  const slow = connect(Number(url.port), url.hostname);
  slow.on('error', () => undefined);
  slow.write(`${head}Contact`);
  slow.resume();
  await Promise.all([broken, slow].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
  t.strictSame(await held(outbox), []);
});

t.test(
  'an address leads back to its device, is hard to make up, and is short enough to be announced',
  async (t) => {
    const advertise = new URL(`http://${'relay.'.repeat(9)}example:8085/x/`);
    const { catcher, outbox } = await startCatcher(t, { advertise });
    const id = fc
      .string({
        unit: fc.constantFrom(...'0123456789abcdefghijklmnopqrstuvwxyz:.-_+'),
        minLength: 1,
        maxLength: 64,
      })
      .map((text) => parseDeviceId(text))
      .filter((device) => device !== null);
    const seen = new Map<string, DeviceId>();
    await fc.assert(
      fc.asyncProperty(id, async (device) => {
        const address = catcher.address(device);
        if (address.length > 255 || !address.startsWith(advertise.href)) return false;
        if ((seen.get(address) ?? device) !== device) return false;
        seen.set(address, device);
        const local = `http://127.0.0.1:${catcher.listening.port}${new URL(address).pathname}`;
        const { status } = await ask(local, 'GET');
        return status === 204 && (await held(outbox, device)).length === 1;
      }),
      { numRuns: 40 },
    );
    const { catcher: elsewhere } = await startCatcher(t, { secret: Buffer.alloc(32, 8) });
    const foreign = new URL(elsewhere.address(ONE)).pathname;
    t.equal((await ask(`http://127.0.0.1:${catcher.listening.port}${foreign}`, 'GET')).status, 404);
  },
);

t.test(
  'an address that cannot be announced, a short secret and an occupied port are refused at the start',
  async (t) => {
    const advertise = new URL(`http://${'relay.'.repeat(12)}example:8085/`);
    await t.rejects(startCatcher(t, { advertise }), { code: 'ADDRESS_INVALID', message: /at most \d+ fit/ });
    await t.rejects(startCatcher(t, { secret: Buffer.alloc(8) }), { code: 'KEY_INVALID' });
    const { catcher } = await startCatcher(t);
    await t.rejects(startCatcher(t, { listen: catcher.listening }), { code: 'ADDRESS_IN_USE' });
  },
);

t.test('an address that was made by the former secret is still known, and no other', async (t) => {
  const before = await startCatcher(t, { secret: Buffer.alloc(32, 9) });
  const { pathname } = new URL(before.catcher.address(ONE));
  const { catcher, outbox } = await startCatcher(t, { formerSecret: Buffer.alloc(32, 9) });
  const { origin } = new URL(catcher.address(ONE));
  t.equal((await ask(`${origin}${pathname}`, 'POST', 'ContactMe=true')).status, 204);
  t.equal((await held(outbox)).length, 1);
  const without = await startCatcher(t);
  const elsewhere = new URL(without.catcher.address(ONE)).origin;
  t.equal((await ask(`${elsewhere}${pathname}`, 'POST', 'ContactMe=true')).status, 404);
});
