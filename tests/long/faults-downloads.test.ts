import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { get } from 'node:https';
import t from 'tap';
import { long, until } from '../fixtures/faults/until.ts';
import { seededRandom } from '../fixtures/seeded-random.ts';
import { fileSha256 } from '../fixtures/services/index.ts';
import { startSwitchedGate } from '../fixtures/switched-gate.ts';
import type { SwitchedDoor } from '../fixtures/switched-gate.ts';
import { createDialer, download } from '../phones/index.ts';

const DOWNLOADS = long ? 3_000 : 60;
/** Those at the end over which memory is to be flat: a program's heap grows until its first whole collection, at some 1 800. */
const JUDGED = long ? 1_000 : 45;
/** Memory is looked at once in so many. */
const SAMPLED = 10;
const AT_ONCE = 6;
const FILE_BYTES = 1_500_000;
const DOORS: SwitchedDoor[] = ['sealed', 'through'];
/** What a program may have grown by over these. */
const GROWTH_KB = 30_000;

/** Reads from `from` on until `stopAt` bytes of the file are there, then breaks off; resolves to what came. */
function part(url: string, from: number, stopAt: number): Promise<{ status: number; bytes: Buffer }> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let at = from;
    const headers = from === 0 ? {} : { range: `bytes=${from}-` };
    const request = get(url, { agent: false, rejectUnauthorized: false, headers }, (response) => {
      const done = (): void => resolve({ status: response.statusCode ?? 0, bytes: Buffer.concat(pieces) });
      response.on('data', (piece: Buffer) => {
        pieces.push(piece);
        at += piece.length;
        if (at >= stopAt && at < FILE_BYTES) {
          request.destroy();
          done();
        }
      });
      response.on('end', done);
      response.on('error', done);
    });
    request.on('error', reject);
  });
}

/** Resident memory of a process in kB; null where it is not told. */
function memoryOf(pid: number): number | null {
  const file = `/proc/${pid}/status`;
  if (!existsSync(file)) return null;
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(file, 'latin1'))?.[1] ?? NaN);
}

/** By how much the line through the values rises from its first to its last. */
function rise(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const middle = (values.length - 1) / 2;
  const squares = values.reduce((sum, _, i) => sum + (i - middle) ** 2, 0);
  const slope = values.reduce((sum, value, i) => sum + (i - middle) * (value - mean), 0) / squares;
  return slope * (values.length - 1);
}

t.test(
  `${DOWNLOADS} downloads that are broken off and resumed are whole, and leave nothing behind`,
  async (t) => {
    const gate = await startSwitchedGate(t, { logLevel: 'info' });
    const service = await gate.serve(t, { fileSize: FILE_BYTES, recordLimit: 10 });
    const bytes = seededRandom(7);
    const random = (): number => bytes(1)[0]! / 256;
    const whole = await fileSha256('firmware.app', FILE_BYTES);
    const memory: Record<'proxy' | 'relay', number[]> = { proxy: [], relay: [] };
    let begun = 0;
    let right = 0;
    const one = async (number: number): Promise<void> => {
      const url = `${gate.url(DOORS[number % DOORS.length]!)}/file/firmware.app`;
      const first = await part(url, 0, Math.floor(random() * FILE_BYTES * 0.9));
      const rest = await part(url, first.bytes.length, FILE_BYTES);
      const hash = createHash('sha256').update(first.bytes).update(rest.bytes).digest('hex');
      if (rest.status !== 206 || hash !== whole) t.fail(`download ${number}: ${rest.status}, ${hash}`);
      else right += 1;
      if (number % SAMPLED !== 0) return;
      for (const name of ['proxy', 'relay'] as const) {
        const kilobytes = memoryOf(gate[name].pid);
        if (kilobytes !== null) memory[name].push(kilobytes);
      }
    };
    const worker = async (): Promise<void> => {
      while (begun < DOWNLOADS) await one(begun++);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
    t.equal(right, DOWNLOADS, 'every one came byte for byte, in two parts');
    await until('nothing is open any more', async () => {
      const { body } = await gate.call('GET', '/v1/proxies');
      return (body['proxies'] as { streams: number }[])[0]!.streams === 0 && service.connections === 0;
    });
    for (const [name, values] of Object.entries(memory)) {
      const later = values.slice(-JUDGED / SAMPLED);
      if (later.length < 3) continue;
      const grown = Math.round(rise(later));
      t.comment(
        `${name}: ${later.at(-1)} kB at the end, grown by ${grown} kB over ${later.length * SAMPLED} downloads`,
      );
      if (long) t.ok(grown < GROWTH_KB, `${name} has grown by ${grown} kB`);
    }
  },
);

t.test('a site that is held to a rate moves files no faster, and sessions as ever', async (t) => {
  const rate = 2_000_000;
  const size = 4_000_000;
  /** What a download may be ahead by: a whole window. */
  const ahead = 1_048_576;
  const gate = await startSwitchedGate(t, {
    proxy: { sites: [{ name: 'default', session_gap_s: 0, bytes_per_s: rate }] },
  });
  await gate.serve(t, { fileSize: size });
  const dialer = createDialer();
  t.teardown(() => dialer.close());
  const began = performance.now();
  const files = DOORS.map((door) => download(dialer, `${gate.url(door)}/file/firmware.app`));
  const session = await gate.phone(t, 'sealed').openSession('start-up');
  t.equal(session.outcome, 'completed', 'a session beside them');
  const hash = await fileSha256('firmware.app', size);
  for (const file of await Promise.all(files)) t.match(file, { status: 200, bytes: size, sha256: hash });
  const seconds = (performance.now() - began) / 1_000;
  const least = (DOORS.length * (size - ahead)) / rate - 0.5;
  t.ok(seconds > least, `${seconds.toFixed(1)} s, more than ${least.toFixed(1)}`);
});
