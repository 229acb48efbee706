import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { DIALECTS, makeCertificate, sendContactMe } from '../fixtures/services/index.ts';
import { createFleet } from '../phones/index.ts';
import type { Fleet, FleetOptions } from '../phones/index.ts';

const skip = process.platform === 'linux' ? false : 'addresses of 127.0.0.0/8 need Linux';

const PHONES = 40;

interface Place {
  gate: Gate;
  fleet: Fleet;
  /** Where a device is contacted at its source address, as a service of that dialect does. */
  contactUri(source: string): string;
}

/** Services contact phones at their contact-me port, at their web port, or there by HTTPS. */
const CONTACTED = {
  gs5: ['http', 'contactMeDevicesWeb'],
  dlsir: ['http', 'contactMeDevices'],
  'wpi-php': ['https', 'contactMeDevicesTls'],
} as const;

/** A gate before a service that knows phones by their address only, and many phones behind one address. */
async function start(
  t: Test,
  dialect: keyof typeof CONTACTED,
  options: Partial<FleetOptions> = {},
): Promise<Place> {
  const { cert, key } = makeCertificate();
  const dir = t.testdir({ 'phone.pem': cert, 'phone.key': key });
  const gate = await startGate(t, {
    service: { dialect: DIALECTS[dialect], startUpItems: (device) => ({ realm: `of ${device}` }) },
    contactMe: {
      device_port: 0,
      device_web_port: 0,
      device_tls: { port: 0, cert: join(dir, 'phone.pem'), key: join(dir, 'phone.key') },
    },
    wpi: { source_addresses: '127.64.0.0/16' },
    logLevel: 'info',
  });
  const fleet = createFleet({
    count: PHONES,
    firstMac: '00:1A:E8:76:00:01',
    service: gate.phoneService,
    pollUrl: gate.pollUrl,
    pollIntervalMs: 0,
    startUp: true,
    ...options,
  });
  t.teardown(() => fleet.close());
  const [scheme, door] = CONTACTED[dialect];
  const port = /:(\d+)$/.exec(String(gate.relay.ready[door]))?.[1];
  return {
    gate,
    fleet,
    contactUri: (source) => `${scheme}://${source}:${port}/contact_dls.html/ContactDLS`,
  };
}

const sourceOf = ({ service }: Gate, deviceId: string): string => service.device(deviceId)?.sourceIp ?? '';

for (const [dialect, phones] of [
  ['gs5', {}],
  ['dlsir', { keepAlive: false }],
  ['wpi-php', { keepAlive: false }],
] as const) {
  const how = 'keepAlive' in phones ? 'closing after each message' : 'keeping their connections';
  t.test(`a service as ${dialect} mixes up none of ${PHONES} phones, ${how}`, { skip }, async (t) => {
    const { gate, fleet, contactUri } = await start(t, dialect, phones);
    await fleet.start();
    t.strictSame(fleet.stats().sessionsBy, { completed: PHONES }, 'all have registered');
    const items = (): boolean =>
      fleet.phones.every(({ deviceId, items: of }) => of.get('realm') === `of ${deviceId}`);
    t.ok(items(), 'each was told its own');
    const sources = fleet.phones.map(({ deviceId }) => sourceOf(gate, deviceId));
    t.equal(new Set(sources).size, PHONES, 'each has its own address');
    t.ok(sources.every((address) => address.startsWith('127.64.')));

    const called = fleet.phones.slice(0, 5);
    const jobs = called.map(({ deviceId }) =>
      gate.service.enqueue(deviceId, [{ action: 'WriteItems', items: { realm: `called ${deviceId}` } }]),
    );
    for (const { deviceId } of called) {
      const uri = contactUri(sourceOf(gate, deviceId));
      t.equal((await sendContactMe(uri, dialect === 'gs5' ? { method: 'GET' } : {})).status, 204);
    }
    await Promise.all(called.map(({ deviceId }) => gate.polls(deviceId, 202)));
    t.strictSame(await fleet.pollAll(), { 200: PHONES - called.length, 202: called.length });
    const results = await Promise.all(jobs);
    t.ok(results.every(([result]) => result?.status === 'accepted'));
    await Promise.all(fleet.phones.map((phone) => phone.idle()));
    t.ok(
      called.every(({ deviceId, items: of }) => of.get('realm') === `called ${deviceId}`),
      'the phones that were contacted, and no other',
    );
    await Promise.all(called.map(({ deviceId }) => gate.polls(deviceId, 200)));
    t.equal(fleet.stats().failures, 0);
    const metrics = await (await fetch(`${gate.api}/metrics`)).text();
    t.notMatch(metrics, /event="address_unknown"/, 'nobody was unknown');
  });
}

t.test('devices keep their addresses over a restart of the relay', { skip }, async (t) => {
  const { gate, fleet } = await start(t, 'gs5');
  await fleet.start();
  const before = fleet.phones.map(({ deviceId }) => sourceOf(gate, deviceId));
  t.equal(new Set(before).size, PHONES);
  await gate.relay.stop();
  await gate.startRelay();
  // In another order, so that it's not by chance.
  for (const phone of fleet.phones.toReversed()) {
    t.equal((await phone.restart()).outcome, 'completed');
  }
  t.strictSame(
    fleet.phones.map(({ deviceId }) => sourceOf(gate, deviceId)),
    before,
  );
  const text = await readFile(join(gate.dir, 'relay', 'outbox', 'addresses.txt'), 'utf8');
  t.equal(text.match(/^127\.64\.0\.\d+ 00:1a:e8:76:/gm)?.length, PHONES, 'each written down once');
});
