import { request } from 'node:http';
import t from 'tap';
import type { Test } from 'tap';
import { createCatcher } from '../../../relay-client/catcher.ts';
import type { Catcher, CatcherOptions } from '../../../relay-client/catcher.ts';
import { createModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { ModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { freeAddress } from '../../fixtures/gate.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';

const skip = process.platform === 'linux' ? false : 'addresses of 127.0.0.0/8 need Linux';

const ONE = '00:1a:e8:00:00:01' as DeviceId;
const TWO = '00:1a:e8:00:00:02' as DeviceId;
const OWNERS = new Map([
  ['127.64.0.1', ONE],
  ['127.64.0.2', TWO],
]);
const PATH = '/contact_dls.html/ContactDLS';

async function startCatcher(
  t: Test,
  options: Partial<CatcherOptions> & { port?: number } = {},
): Promise<{ catcher: Catcher; outbox: ModelOutbox; port: number }> {
  const outbox = createModelOutbox({ clock: createFakeClock(), random: seededRandom(1) });
  const catcher = await createCatcher({
    listen: { host: '127.0.0.1', port: 0 },
    secret: Buffer.alloc(32, 7),
    outbox,
    devices: { port: options.port ?? 0, deviceAt: (address) => OWNERS.get(address) ?? null },
    log: silentLog,
    ...options,
  });
  t.teardown(() => catcher.close());
  return { catcher, outbox, port: catcher.devices?.port ?? 0 };
}

function ask(url: string, method: string, body?: string): Promise<{ status: number; server: string }> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'Content-Type': 'application/x-www-form-urlencoded' };
    const sent = request(url, { method, headers, agent: false }, (response) => {
      response.resume();
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, server: String(response.headers['server']) }),
      );
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const generations = async (outbox: ModelOutbox): Promise<(number | undefined)[]> =>
  Promise.all(
    [ONE, TWO].map(async (device) => {
      const held = (await outbox.messages(device, 100)).filter(({ state }) => state === 'held');
      return held[0]?.generation;
    }),
  );

t.test('whoever contacts a device’s own address contacts that device', { skip }, async (t) => {
  const { outbox, port } = await startCatcher(t);
  t.strictSame(await ask(`http://127.64.0.1:${port}${PATH}`, 'POST', 'ContactMe=true'), {
    status: 204,
    server: 'DlsClient',
  });
  t.strictSame(await generations(outbox), [1, undefined]);
  for (const [n, query] of ['', '?ContactMe=true&dls_ip_addr=10.0.0.9'].entries()) {
    t.equal((await ask(`http://127.64.0.2:${port}${PATH}${query}`, 'GET')).status, 204);
    t.strictSame(await generations(outbox), [1, n + 1]);
  }
});

t.test('nobody answers at an address that is no device’s, nor to another path', { skip }, async (t) => {
  const { outbox, port, catcher } = await startCatcher(t);
  for (const url of [
    `http://127.64.0.3:${port}${PATH}`,
    `http://127.0.0.1:${port}${PATH}`,
    `http://127.0.0.1:${catcher.listening.port}${PATH}`,
    `http://127.64.0.1:${port}/`,
    `http://127.64.0.1:${port}/x${PATH}`,
    `http://127.64.0.1:${port}${PATH}/`,
  ]) {
    t.equal((await ask(url, 'POST', 'ContactMe=true')).status, 404, url);
  }
  t.equal((await ask(`http://127.64.0.1:${port}${PATH}`, 'POST', 'ContactMe=no')).status, 400);
  t.equal((await ask(`http://127.64.0.1:${port}${PATH}`, 'PUT', 'ContactMe=true')).status, 405);
  t.strictSame(await generations(outbox), [undefined, undefined]);
});

t.test('an address in the path says more than the address that was asked', { skip }, async (t) => {
  const { catcher, outbox, port } = await startCatcher(t);
  const { pathname } = new URL(catcher.address(TWO));
  t.equal((await ask(`http://127.64.0.1:${port}${pathname}`, 'GET')).status, 204);
  t.strictSame(await generations(outbox), [undefined, 1]);
});

t.test('one port serves both where both are to be the same', { skip }, async (t) => {
  for (const advertise of [undefined, new URL('http://relay.example:8085/')]) {
    const port = Number((await freeAddress()).split(':')[1]);
    const { catcher, outbox } = await startCatcher(t, {
      listen: { host: advertise === undefined ? '127.0.0.1' : '0.0.0.0', port },
      port,
      ...(advertise === undefined ? {} : { advertise }),
    });
    t.equal(catcher.devices?.port, port);
    t.match(catcher.address(ONE), advertise?.href ?? `http://127.0.0.1:${port}/`);
    const { pathname } = new URL(catcher.address(ONE));
    t.equal((await ask(`http://127.0.0.1:${port}${pathname}`, 'GET')).status, 204);
    t.equal((await ask(`http://127.64.0.2:${port}${PATH}`, 'GET')).status, 204);
    t.strictSame(await generations(outbox), [1, 1]);
    await catcher.close();
  }
});

t.test('without source addresses nothing listens beside the catcher’s own address', async (t) => {
  const outbox = createModelOutbox({ clock: createFakeClock(), random: seededRandom(1) });
  const listen = { host: '127.0.0.1', port: 0 };
  const catcher = await createCatcher({ listen, secret: Buffer.alloc(32, 7), outbox, log: silentLog });
  t.teardown(() => catcher.close());
  t.equal(catcher.devices, null);
  t.equal((await ask(`http://127.0.0.1:${catcher.listening.port}${PATH}`, 'GET')).status, 404);
});

t.test('an occupied port is refused at the start, and nothing is left open', { skip }, async (t) => {
  const { port } = await startCatcher(t);
  const own = Number((await freeAddress()).split(':')[1]);
  const listen = { host: '127.0.0.1', port: own };
  await t.rejects(startCatcher(t, { listen, port }), { code: 'ADDRESS_IN_USE' });
  await startCatcher(t, { listen });
});
