import { request } from 'node:http';
import { request as requestTls } from 'node:https';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import t from 'tap';
import type { Test } from 'tap';
import { createCatcher } from '../../../relay-client/catcher/catcher.ts';
import type { Catcher, CatcherOptions } from '../../../relay-client/catcher/catcher.ts';
import type { DevicePorts } from '../../../relay-client/catcher/doors.ts';
import { createModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { ModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { silentLog } from '../../../shared/log.ts';
import { createAuthority } from '../../fixtures/certificates.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import { ownPort } from '../../fixtures/ports.ts';
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
  options: Partial<Omit<CatcherOptions, 'devices'>> & Partial<DevicePorts> = {},
): Promise<{ catcher: Catcher; outbox: ModelOutbox; port: number }> {
  const { port = 0, webPort = null, tls = null, ...rest } = options;
  const outbox = createModelOutbox({ clock: createFakeClock(), random: seededRandom(1) });
  const catcher = await createCatcher({
    listen: { host: '127.0.0.1', port: 0 },
    secret: Buffer.alloc(32, 7),
    outbox,
    devices: { port, webPort, tls, deviceAt: (address) => OWNERS.get(address) ?? null },
    log: silentLog,
    ...rest,
  });
  t.teardown(() => catcher.close());
  return { catcher, outbox, port: catcher.devices.contact?.port ?? 0 };
}

function ask(url: string, method: string, body?: string): Promise<{ status: number; server: string }> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'Content-Type': 'application/x-www-form-urlencoded' };
    const send = url.startsWith('https:') ? requestTls : request;
    const sent = send(url, { method, headers, agent: false, rejectUnauthorized: false }, (response) => {
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
    const port = await ownPort();
    const { catcher, outbox } = await startCatcher(t, {
      listen: { host: advertise === undefined ? '127.0.0.1' : '0.0.0.0', port },
      port,
      ...(advertise === undefined ? {} : { advertise }),
    });
    t.equal(catcher.devices.contact?.port, port);
    t.match(catcher.address(ONE), advertise?.href ?? `http://127.0.0.1:${port}/`);
    const { pathname } = new URL(catcher.address(ONE));
    t.equal((await ask(`http://127.0.0.1:${port}${pathname}`, 'GET')).status, 204);
    t.equal((await ask(`http://127.64.0.2:${port}${PATH}`, 'GET')).status, 204);
    t.strictSame(await generations(outbox), [1, 1]);
    await catcher.close();
  }
});

/** A pair of PEM files whose certificate is for `name`. */
async function pemFiles(dir: string, name: string): Promise<{ cert: string; key: string }> {
  const { cert, key } = await (await createAuthority()).issue([name]);
  const files = { cert: join(dir, 'shown.pem'), key: join(dir, 'shown.key') };
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key);
  return files;
}

/** Whose certificate is shown there. */
function shownAt(host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerX509Certificate()?.subjectAltName));
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

t.test('a device’s web ports take contacts too, in the clear and by TLS', { skip }, async (t) => {
  const files = await pemFiles(t.testdir({}), 'phone.example');
  const tls = { port: 0, ...files, profile: 'intermediate' as const };
  const { catcher, outbox } = await startCatcher(t, { webPort: 0, tls });
  const web = `http://127.64.0.1:${catcher.devices.web?.port}`;
  const secure = `https://127.64.0.2:${catcher.devices.tls?.port}`;
  t.equal((await ask(`${web}${PATH}?ContactMe=true&dls_ip_addr=10.0.0.9`, 'GET')).status, 204);
  t.strictSame(await generations(outbox), [1, undefined]);
  t.strictSame(await ask(`${secure}${PATH}`, 'POST', 'ContactMe=true'), { status: 204, server: 'DlsClient' });
  t.strictSame(await generations(outbox), [1, 1]);
  for (const url of [`${web}/index.html`, `${secure}/`]) t.equal((await ask(url, 'GET')).status, 404, url);
  const nobody = `https://127.64.0.9:${catcher.devices.tls?.port}${PATH}`;
  t.equal((await ask(nobody, 'GET')).status, 404, 'an address that is nobody’s');
  t.strictSame(await generations(outbox), [1, 1]);
});

t.test(
  'the certificate at devices’ addresses is read again, and kept where the new one is none',
  { skip },
  async (t) => {
    const dir = t.testdir({});
    const tls = { port: 0, ...(await pemFiles(dir, 'old.example')), profile: 'intermediate' as const };
    const { catcher } = await startCatcher(t, { tls });
    const port = catcher.devices.tls?.port ?? 0;
    t.equal(await shownAt('127.64.0.1', port), 'DNS:old.example');
    await pemFiles(dir, 'new.example');
    catcher.reload();
    t.equal(await shownAt('127.64.0.1', port), 'DNS:new.example');
    writeFileSync(tls.key, 'no key');
    t.throws(() => catcher.reload(), { code: 'KEY_INVALID', message: /contact_me\.device_tls/ });
    t.equal(await shownAt('127.64.0.1', port), 'DNS:new.example');
    await t.rejects(startCatcher(t, { tls }), { code: 'KEY_INVALID' });
  },
);

t.test('without source addresses nothing listens beside the catcher’s own address', async (t) => {
  const outbox = createModelOutbox({ clock: createFakeClock(), random: seededRandom(1) });
  const listen = { host: '127.0.0.1', port: 0 };
  const catcher = await createCatcher({ listen, secret: Buffer.alloc(32, 7), outbox, log: silentLog });
  t.teardown(() => catcher.close());
  t.strictSame(catcher.devices, { contact: null, web: null, tls: null });
  t.equal((await ask(`http://127.0.0.1:${catcher.listening.port}${PATH}`, 'GET')).status, 404);
});

t.test('an occupied port is refused at the start, and nothing is left open', { skip }, async (t) => {
  const { port } = await startCatcher(t);
  const own = await ownPort();
  const listen = { host: '127.0.0.1', port: own };
  await t.rejects(startCatcher(t, { listen, port }), { code: 'ADDRESS_IN_USE' });
  await startCatcher(t, { listen });
});
