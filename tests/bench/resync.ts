/** A proxy that was restarted gets everything that is pending again. */
import { startGate } from '../fixtures/gate.ts';
import type { Owner } from '../fixtures/gate.ts';
import { createMarks } from '../../proxy/marks.ts';
import { systemClock } from '../../shared/clock.ts';
import { parseDeviceId } from '../../shared/device-id.ts';
import { bulkPush } from './bulk-push.ts';
import { memoryMb } from './cpu.ts';
import { deviceOf } from './peer.ts';
import { absoluteRow } from './rows.ts';
import type { BenchOptions, BenchRow } from './rows.ts';

const BENCH = 'resync';
const DEVICES = 100_000;
/** Devices of a short look. */
const FEW_DEVICES = 20_000;
const SECONDS = { most: 2 };
const MEGABYTES = { most: 200 };
const MARK_BYTES = { most: 64 };
const MARKED = 1_000_000;
const PATIENCE_MS = 60_000;

export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const devices = options.seconds >= 1 ? DEVICES : FEW_DEVICES;
  const count = devices.toLocaleString('en');
  const name = `${count} pending devices rebuilt after a restart`;
  const marks = `marks of ${MARKED.toLocaleString('en')} devices, for each`;
  const rows: BenchRow[] = [];
  if (options.wanted(BENCH, name)) rows.push(...(await rebuild(owner, options, devices, name)));
  if (options.wanted(BENCH, marks)) {
    rows.push(
      absoluteRow({
        ...{ bench: BENCH, name: marks, unit: 'bytes', ours: [marksPerDevice()], goal: MARK_BYTES },
        note: 'shared memory in use after all have come one by one; it is not a matter of time, so one round does',
      }),
    );
  }
  return rows;
}

async function rebuild(
  owner: Owner,
  options: BenchOptions,
  devices: number,
  name: string,
): Promise<BenchRow[]> {
  const gate = await startGate(owner, { logLevel: 'info' });
  options.progress(`pushing to ${devices} devices`);
  await bulkPush(gate, { first: 0, count: devices });
  const seconds: number[] = [];
  const megabytes: number[] = [];
  for (let round = 0; round < options.rounds; round++) {
    options.progress(`restart ${round + 1} of ${options.rounds}`);
    await gate.proxy.stop();
    await gate.startProxy();
    const up = await gate.proxy.line(({ msg }) => msg === 'relay link up', PATIENCE_MS);
    const whole = await gate.proxy.line(({ msg }) => msg === 'site current', PATIENCE_MS);
    if (whole['devices'] !== devices) throw new Error(`the proxy holds ${String(whole['devices'])} devices`);
    seconds.push((Date.parse(String(whole['time'])) - Date.parse(String(up['time']))) / 1000);
    megabytes.push(memoryMb(gate.proxy.pid).now);
  }
  return [
    absoluteRow({
      ...{ bench: BENCH, name, unit: 's', ours: seconds, goal: SECONDS },
      note: 'from link up to current',
    }),
    absoluteRow({
      bench: BENCH,
      name: `proxy's memory with ${devices.toLocaleString('en')} pending`,
      unit: 'MB',
      ours: megabytes,
      goal: MEGABYTES,
      note: 'resident, right after',
    }),
  ];
}

/** Bytes of marks for each known device, once so many have come that the table has grown to their number. */
function marksPerDevice(): number {
  const marks = createMarks({
    ...{ sites: ['default'], clock: systemClock, random: (bytes) => void bytes.fill(1) },
    limit: MARKED,
  });
  for (let n = 0; n < MARKED; n++) {
    const device = parseDeviceId(deviceOf(n));
    if (device === null) throw new Error(`${deviceOf(n)} is no device id`);
    marks.set('default', device, { pending: false, generation: 1, notBefore: 0, expiry: Infinity });
  }
  const { bytes, known } = marks.stats();
  marks.close();
  return bytes / known;
}
