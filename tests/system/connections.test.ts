import t from 'tap';
import { fileSha256 } from '../fixtures/services/index.ts';
import type { PlainService, RawAnswer } from '../fixtures/services/index.ts';
import { startSwitchedGate } from '../fixtures/switched-gate.ts';
import type { SwitchedDoor, SwitchedGate } from '../fixtures/switched-gate.ts';
import { until } from '../fixtures/until.ts';
import { phoneDocument } from '../fixtures/wpi-documents.ts';
import { createDialer, download, parseTarget } from '../phones/index.ts';

const WPI_DOORS = ['sealed', 'inspected'] as const;
const ALL_DOORS = [...WPI_DOORS, 'through'] as const;
const DEVICE = '00:1A:E8:71:00:01';
const FILE_BYTES = 20 * 1024 * 1024;

/** The metrics of one name that are not 0, as `name{labels} value`. */
async function nonZero(url: string, name: string): Promise<string[]> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return text.split('\n').filter((line) => line.startsWith(`${name}{`) && !line.endsWith(' 0'));
}

/** Resolves once nothing of any phone's connection is left, in proxy, link, relay and service. */
async function allFreed(gate: SwitchedGate, service: PlainService): Promise<void> {
  await until('nothing is open any more', async () => {
    const open = [
      ...(await nonZero(gate.ops, 'sallyport_session_connections')),
      ...(await nonZero(gate.api, 'sallyport_service_connections')),
    ];
    const { body } = await gate.call('GET', '/v1/proxies');
    const streams = (body['proxies'] as { streams: number }[]).map((proxy) => proxy.streams);
    return open.length === 0 && streams.every((count) => count === 0) && service.connections === 0;
  });
}

/** A phone's first message, as bytes. */
function message(gate: SwitchedGate, door: SwitchedDoor): Buffer {
  const body = phoneDocument({ reason: 'status', items: [['mac-addr', DEVICE]] });
  return Buffer.from(
    `POST /DeploymentService/LoginService HTTP/1.1\r\nHost: ${gate.doors[door]}\r\nContent-Type: text/xml\r\n` +
      `Content-Length: ${body.length}\r\n\r\n${body}`,
  );
}

t.test('connections through a gate', async (t) => {
  const gate = await startSwitchedGate(t);
  const dialer = createDialer();
  t.teardown(() => dialer.close());

  for (const door of WPI_DOORS) {
    await t.test(`a phone's connection outlives that of the service: ${door}`, async (t) => {
      const service = await gate.serve(t, { dialect: { keepAliveTimeoutMs: 100 } });
      const connection = await dialer.open(parseTarget(gate.url(door)));
      for (const round of [1, 2, 3]) {
        const { status, headers, close } = await connection.request(message(gate, door));
        t.equal(status, 200);
        t.equal(close, false);
        const announced = headers.find(([name]) => name.toLowerCase() === 'keep-alive')?.[1] ?? '';
        t.ok(Number(/timeout=(\d+)/.exec(announced)?.[1]) >= 30, `what is announced is ours: ${announced}`);
        await until('the service has closed the idle connection', () => service.connections === 0);
        t.equal(service.requests.length, round, 'and has counted each request once');
        t.equal(service.requests.at(-1)?.sequence, 1, 'each on a connection of its own');
        t.ok(connection.alive(), "the phone's stays");
      }
      connection.close();
    });

    await t.test(`a service that refuses is a 502, and nobody is sent to it: ${door}`, async (t) => {
      await gate.serve(t);
      const phone = gate.phone(t, door, { deviceId: DEVICE });
      await gate.push(DEVICE);
      await gate.polls(DEVICE, 202);
      await gate.board.refuse();
      const result = await phone.openSession('solicited');
      t.equal(result.status, 502);
      await gate.polls(DEVICE, 200);
      await gate.board.admit();
      await gate.polls(DEVICE, 202);
      t.equal((await phone.openSession('solicited')).outcome, 'completed');
      await gate.polls(DEVICE, 200);
    });

    await t.test(
      `a service that dies before or within its answer is none that answered: ${door}`,
      async (t) => {
        const whole = Buffer.alloc(3_000_000, 'x');
        const head = (length: number): Buffer =>
          Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: ${length}\r\n\r\n`);
        const deaths: Record<string, RawAnswer | 'destroy'> = {
          'before its first byte': 'destroy',
          'after the head': { head: head(10), body: whole.subarray(0, 10), close: false, cutAfter: 0 },
          'within a small answer': {
            head: head(1000),
            body: whole.subarray(0, 1000),
            close: false,
            cutAfter: 999,
          },
          'within a big one': { head: head(whole.length), body: whole, close: false, cutAfter: 600_000 },
        };
        await gate.push(DEVICE);
        for (const [when, death] of Object.entries(deaths)) {
          const service = await gate.serve(t, { intercept: () => Promise.resolve(death) });
          const { outcome, failure, status } = await gate
            .phone(t, door, { deviceId: DEVICE })
            .openSession('solicited');
          t.equal(outcome, 'failed', when);
          t.match(status ?? failure, /^(502|cut)$/, `${when}: ${String(status ?? failure)}`);
          t.equal(service.requests.length, 1, 'the request went there once');
        }
        await gate.polls(DEVICE, 202);
        await gate.call('DELETE', `/v1/devices/${DEVICE}/messages`);
      },
    );
  }

  for (const door of ALL_DOORS) {
    await t.test(`downloads are whole, in one piece or several: ${door}`, async (t) => {
      const service = await gate.serve(t, { fileSize: FILE_BYTES });
      const url = `${gate.url(door)}/file/firmware.app`;
      const got = await download(dialer, url);
      t.equal(got.status, 200);
      t.equal(got.bytes, FILE_BYTES);
      t.equal(got.sha256, await fileSha256('firmware.app', FILE_BYTES));
      t.comment(`${Math.round(FILE_BYTES / 1e3 / got.durationMs)} MB/s`);

      const range = await download(dialer, url, { range: 'bytes=1000000-6999999' });
      t.equal(range.status, 206);
      t.equal(range.sha256, await fileSha256('firmware.app', 7_000_000, 1_000_000));
      const past = await download(dialer, url, { range: `bytes=${FILE_BYTES}-` });
      t.equal(past.status, 416);
      await allFreed(gate, service);
    });

    await t.test(`a download that the phone breaks off leaves nothing behind: ${door}`, async (t) => {
      const service = await gate.serve(t);
      const socket = await gate.connect(door);
      socket.write(`GET /file/endless?size=${1024 ** 3} HTTP/1.1\r\nHost: ${gate.doors[door]}\r\n\r\n`);
      await new Promise((resolve) => socket.once('data', resolve));
      // That of the download, and perhaps one by which the relay looks whether the service is there.
      t.ok(service.connections >= 1);
      socket.destroy();
      await allFreed(gate, service);
    });

    await t.test(`a download that the service breaks off does not look whole: ${door}`, async (t) => {
      const service = await gate.serve(t, { fileSize: FILE_BYTES, cutDownloadsAfter: FILE_BYTES / 2 });
      const got = await download(dialer, `${gate.url(door)}/file/firmware.app`);
      t.equal(got.reason, 'cut');
      t.ok(got.bytes <= FILE_BYTES / 2);
      await allFreed(gate, service);
    });
  }
});
