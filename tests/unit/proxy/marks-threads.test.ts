import { randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { createMarks, type Mark } from '../../../proxy/marks.ts';
import { systemClock } from '../../../shared/clock.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import type { ReaderThreadData, ReaderThreadReport } from '../../fixtures/marks/reader-thread.ts';

const SITE = 'hq';
const WRITING_MS = 1_500;
const READERS = 2;

// Neither mark is offered, but every mixture of their times would be.
const OVER: Mark = { pending: true, generation: 1, notBefore: 0, expiry: 0 };
const TO_COME: Mark = { pending: true, generation: 2, notBefore: Infinity, expiry: Infinity };
const NOW: Mark = { pending: true, generation: 3, notBefore: 0, expiry: Infinity };

t.test('threads that read while marks are written and the table grows see whole marks only', async (t) => {
  const marks = createMarks({
    sites: [SITE],
    clock: systemClock,
    random: (bytes) => void randomFillSync(bytes),
    capacity: 1,
  });
  marks.site(SITE, { aliveUntil: Infinity, upstreamOk: true });
  const devices = Array.from({ length: 4 }, (_, i) => `d${i}` as DeviceId);
  for (const device of devices) marks.set(SITE, device, OVER);
  const phase = new Int32Array(new SharedArrayBuffer(4));
  const readers = Array.from({ length: READERS }, () => {
    const { seed, transfer, detach } = marks.attach();
    const workerData: ReaderThreadData = { seed, devices, phase: phase.buffer };
    const url = new URL('../../fixtures/marks/reader-thread.ts', import.meta.url);
    const worker = new Worker(url, { workerData, transferList: transfer });
    t.teardown(() => worker.terminate());
    return { worker, detach };
  });
  const allSay = (): Promise<unknown[][]> =>
    Promise.all(readers.map(({ worker }) => once(worker, 'message')));
  await allSay();

  const end = performance.now() + WRITING_MS;
  let writes = 0;
  for (let round = 0; performance.now() < end; round++) {
    for (const device of devices) marks.set(SITE, device, round % 2 === 0 ? TO_COME : OVER);
    writes += devices.length;
    if (round % 2_000 === 0)
      for (let i = 0; i < 100; i++) marks.set(SITE, `n${round}-${i}` as DeviceId, OVER);
  }
  const stopped = allSay();
  Atomics.store(phase, 0, 1);
  await stopped;
  for (const device of devices) marks.set(SITE, device, NOW);
  const reports = allSay();
  Atomics.store(phase, 0, 2);
  Atomics.notify(phase, 0);
  for (const [report] of await reports) {
    const { polls, during, after } = report as ReaderThreadReport;
    t.comment(`${polls} polls beside ${writes} writes and ${marks.stats().rebuilds} new tables`);
    t.ok(polls > 1_000);
    t.strictSame(
      { ...during, nothing: 0 },
      { offer: 0, nothing: 0, unknown: 0 },
      'no torn mark, no lost device',
    );
    t.strictSame(
      after,
      { offer: devices.length, nothing: 0, unknown: 0 },
      'the last write is seen by the next poll',
    );
  }
  t.ok(marks.stats().rebuilds > 2, 'the table was replaced meanwhile');
  for (const { detach } of readers) detach();
  marks.close();
});
