/** A proxy that was restarted gets everything that is pending again. */
import { readFileSync } from 'node:fs';
import { startGate } from '../fixtures/gate.ts';
import type { Owner } from '../fixtures/gate.ts';
import { absoluteRow } from './rows.ts';
import type { BenchOptions, BenchRow } from './rows.ts';

const BENCH = 'resync';
const DEVICES = 100_000;
const SECONDS = { most: 2 };
const MEGABYTES = { most: 200 };
const PATIENCE_MS = 60_000;

export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const name = `${DEVICES.toLocaleString('en')} pending devices rebuilt after a restart`;
  if (!options.wanted(BENCH, name)) return [];
  const gate = await startGate(owner, { logLevel: 'info' });
  options.progress(`pushing to ${DEVICES} devices`);
  const lines = Array.from(
    { length: DEVICES },
    (_, i) => `{"device":"001ae8${i.toString(16).padStart(6, '0')}"}`,
  );
  const pushed = await fetch(`${gate.api}/v1/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: lines.join('\n'),
  });
  await pushed.arrayBuffer();
  if (pushed.status !== 200) throw new Error(`the bulk push was answered ${pushed.status}`);
  const seconds: number[] = [];
  const megabytes: number[] = [];
  for (let round = 0; round < options.rounds; round++) {
    options.progress(`restart ${round + 1} of ${options.rounds}`);
    await gate.proxy.stop();
    await gate.startProxy();
    const up = await gate.proxy.line(({ msg }) => msg === 'relay link up', PATIENCE_MS);
    const whole = await gate.proxy.line(({ msg }) => msg === 'site current', PATIENCE_MS);
    if (whole['devices'] !== DEVICES) throw new Error(`the proxy holds ${String(whole['devices'])} devices`);
    seconds.push((Date.parse(String(whole['time'])) - Date.parse(String(up['time']))) / 1000);
    megabytes.push(residentMb(gate.proxy.pid));
  }
  return [
    absoluteRow({
      bench: BENCH,
      name,
      unit: 's',
      ours: seconds,
      goal: SECONDS,
      note: 'from link up to current',
    }),
    absoluteRow({
      bench: BENCH,
      name: `proxy's memory with ${DEVICES.toLocaleString('en')} pending`,
      unit: 'MB',
      ours: megabytes,
      goal: MEGABYTES,
      note: 'resident, right after',
    }),
  ];
}

function residentMb(pid: number): number {
  const [, kb = '0'] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kb) / 1024;
}
