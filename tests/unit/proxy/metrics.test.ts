import { randomFillSync } from 'node:crypto';
import t from 'tap';
import { systemClock } from '../../../shared/clock.ts';
import { readProxyFrame } from '../../../shared/protocol-read.ts';
import { createMarks } from '../../../proxy/marks.ts';
import { createMetrics } from '../../../proxy/metrics.ts';
import type { MeasuredParts } from '../../../proxy/metrics.ts';

t.test('all that is told to relays is what the link protocol takes', async (t) => {
  const marks = createMarks({
    sites: ['default'],
    clock: systemClock,
    random: (bytes) => void randomFillSync(bytes),
  });
  t.teardown(() => marks.close());
  const parts = {
    pollDoor: {
      stats: () => ({
        answers: { '200': 3, '202': 1, '503': 0 },
        cut: { idle: 1, 'header-time': 2 },
        unknown: { polls: 4, reports: 1 },
        connections: { open: 2 },
        workers: { running: 1, replaced: 0 },
      }),
      siteStats: () => ({ 200: 2, 202: 1, open: 4, refused: 5 }),
    },
    relayDoor: {
      refused: () => ({ 'unknown-key': 1 }),
      fenced: () => 0,
      taken: () => [{ site: 'default', relay: 'hq-1', busyMs: 5, heldBackMs: 2 }],
    },
    sessionDoors: () => [
      { name: 'wpi', stats: () => ({ accepted: 1, open: 1, cut: 0, refused: { too_many: 1 } }) },
    ],
    sites: [
      {
        name: 'default',
        status: () => ({
          ready: true,
          held: 1,
          pendingDevices: 1,
          sessions: 0,
          relays: [{ name: 'hq-1', roundTripMs: 1.5 }],
        }),
      },
    ],
    marks,
    certificates: () => [{ name: 'door old', notAfter: 5_000 }],
    clock: { ...systemClock, wall: () => 7_000 },
  } as unknown as MeasuredParts;
  const metrics = createMetrics(parts);
  const samples = await metrics.samples();
  t.ok(samples.length > 15);
  const read = readProxyFrame(JSON.stringify({ type: 'metrics', samples }));
  t.same(read, { frame: { type: 'metrics', samples } });
  t.match(
    samples.find(({ name }) => name === 'sallyport_certificate_left_seconds'),
    { labels: { certificate: 'door old' }, value: -2 },
  );
  t.ok(samples.every(({ name }) => name.startsWith('sallyport_')));
  t.notOk(
    samples.some(({ name }) => name.startsWith('sallyport_proxy_')),
    'the process is its own affair',
  );
  t.match(await metrics.text(), /sallyport_proxy_process_cpu/);
  const again = await metrics.samples();
  t.same(again, samples, 'counts are read, not added up');
});
