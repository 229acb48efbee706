import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { CLEAN_UP } from '../conformance/documents.ts';
import { startGate } from '../fixtures/gate.ts';
import { hostileDocuments } from '../fixtures/hostile-documents.ts';
import { macAfter } from '../phones/index.ts';

/** Processor time of the relay that one document may cost, TLS and log included. */
const SLOW_MS = 2_000;
/** What a megabyte may be to whoever reads it; an entity that is expanded takes gigabytes. */
const MEMORY_BYTES = 256 * 1_048_576;

/** Processor time and peak memory of a process. */
function costOf(pid: number): { cpuMs: number; peakBytes: number } {
  const [, fields = ''] = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ');
  const [user = 0, system = 0] = fields.split(' ').slice(11, 13).map(Number);
  const [, peak = ''] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? [];
  // A tick is 10 ms on every Linux that Node runs on.
  return { cpuMs: (user + system) * 10, peakBytes: Number(peak) * 1_024 };
}

t.test('a hostile document costs little, passes unchanged, and speaks for nobody', async (t) => {
  let received: Buffer[] = [];
  // The service that such a document would need: it takes everything for a session that is done.
  const service = createServer((asked, response) => {
    const pieces: Buffer[] = [];
    asked.on('data', (piece: Buffer) => pieces.push(piece));
    asked.on('end', () => {
      received.push(Buffer.concat(pieces));
      response.writeHead(200, { 'content-type': 'text/xml' }).end(CLEAN_UP);
    });
  }).listen(0, '127.0.0.1');
  await once(service, 'listening');
  t.teardown(() => service.close());
  const gate = await startGate(t, {
    wpi: { upstream: `http://127.0.0.1:${(service.address() as AddressInfo).port}`, upstream_tls: undefined },
  });
  const deviceOf = (index: number): string => macAfter('00:1A:E8:77:00:01', index);
  const documents = hostileDocuments(deviceOf);
  const pushed = await fetch(`${gate.api}/v1/messages`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: documents.map((_, i) => JSON.stringify({ device: deviceOf(i) })).join('\n'),
  });
  await pushed.text();
  await gate.polls(deviceOf(documents.length - 1), 202);

  const post = (body: Buffer): Promise<number> =>
    new Promise((resolve, reject) => {
      const options = { method: 'POST', rejectUnauthorized: false, agent: false } as const;
      const asked = request(`${gate.phoneService}/DeploymentService/LoginService`, options, (response) => {
        response.resume();
        response.once('end', () => resolve(response.statusCode ?? 0));
      });
      asked.on('error', reject);
      asked.setHeader('content-length', body.length);
      asked.end(body);
    });
  const stateOf = async (device: string): Promise<string | undefined> => {
    const { body } = await gate.call('GET', `/v1/devices/${device}`);
    return (body['messages'] as { state: string }[])[0]?.state;
  };

  const measured = process.platform === 'linux';
  const before = measured ? costOf(gate.relay.pid) : null;
  let cpuMs = before?.cpuMs ?? 0;
  for (const [i, { name, understood, body }] of documents.entries()) {
    received = [];
    t.equal(await post(body), 200, `${name}: the service answers it`);
    t.ok(received.length === 1 && received[0]?.equals(body), `${name}: once, byte for byte`);
    if (understood) await gate.polls(deviceOf(i), 200);
    if (!measured) continue;
    const now = costOf(gate.relay.pid).cpuMs;
    t.ok(now - cpuMs < SLOW_MS, `${name}: ${now - cpuMs} ms of ${body.length} bytes`);
    cpuMs = now;
  }
  for (const [i, { name, understood }] of documents.entries()) {
    t.equal(await stateOf(deviceOf(i)), understood ? 'cleared' : 'held', name);
    t.equal(await gate.poll(deviceOf(i)), understood ? 200 : 202, `${name}: polls`);
  }
  if (before !== null) {
    const grown = costOf(gate.relay.pid).peakBytes - before.peakBytes;
    t.ok(grown < MEMORY_BYTES, `the relay grew by ${Math.round(grown / 1_048_576)} MiB`);
  }
  const levels = gate.relay.lines.map(({ level }) => level);
  t.notOk(levels.includes('error') || levels.includes('fatal'), 'nothing failed');
  t.equal((await gate.call('GET', '/v1/status')).status, 200, 'and the relay is there');
});
