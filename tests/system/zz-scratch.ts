import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { DIALECTS, sendContactMe } from '../fixtures/services/index.ts';
import { createFleet } from '../phones/index.ts';
import type { Fleet, FleetOptions } from '../phones/index.ts';

t.setTimeout(120_000);

const skip = process.platform === 'linux' ? false : 'addresses of 127.0.0.0/8 need Linux';

const PHONES = 40;

interface Place {
  gate: Gate;
  fleet: Fleet;
  /** Where every device is contacted. */
  devicePort: number;
}

/** A gate before a service that knows phones by their address only, and many phones behind one address. */
async function start(
  t: Test,
  dialect: keyof typeof DIALECTS,
  options: Partial<FleetOptions> = {},
): Promise<Place> {
  const gate = await startGate(t, {
    service: { dialect: DIALECTS[dialect], startUpItems: (device) => ({ realm: `of ${device}` }) },
    contactMe: { device_port: 0 },
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
  const devicePort = Number(/:(\d+)$/.exec(String(gate.relay.ready['contactMeDevices']))?.[1]);
  return { gate, fleet, devicePort };
}

const sourceOf = ({ service }: Gate, deviceId: string): string => service.device(deviceId)?.sourceIp ?? '';

t.test('devices keep their addresses over a restart of the relay', { skip }, async (t) => {
  const { gate, fleet } = await start(t, 'gs5');
  await fleet.start();
  const before = fleet.phones.map(({ deviceId }) => sourceOf(gate, deviceId));
  t.equal(new Set(before).size, PHONES);
  await gate.relay.stop();
  await gate.startRelay();
  // In another order, so that it's not by chance.
  for (const phone of fleet.phones.toReversed()) {
    const b=Date.now(); const r = await phone.restart(); console.error(phone.deviceId, Date.now()-b, JSON.stringify(r).slice(0,300));
  }
  t.strictSame(
    fleet.phones.map(({ deviceId }) => sourceOf(gate, deviceId)),
    before,
  );
  const text = await readFile(join(gate.dir, 'relay', 'outbox', 'addresses.txt'), 'utf8');
  t.equal(text.match(/^127\.64\.0\.\d+ 00:1a:e8:76:/gm)?.length, PHONES, 'each written down once');
});
