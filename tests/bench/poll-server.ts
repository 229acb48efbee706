/**
 * The poll door alone, as a process of its own for the benchmark to measure: `node poll-server.ts '<json>'` with
 * `{ "tls": { "cert": "c.pem", "key": "k.pem" }, "known": 1000, "workers": 1 }`; `tls` null = no HTTPS. Prints a line of JSON with its ports when it is ready.
 */
import { randomFillSync } from 'node:crypto';
import { createMarks } from '../../proxy/marks.ts';
import { createPollDoor } from '../../proxy/poll/poll-door.ts';
import { systemClock } from '../../shared/clock.ts';
import { parseDeviceId } from '../../shared/device-id.ts';
import { createLog } from '../../shared/log.ts';
import { deviceOf, isPending } from './peer.ts';

const options = JSON.parse(process.argv[2] ?? '{}') as {
  tls: { cert: string; key: string } | null;
  known: number;
  workers: number;
};
const log = createLog('warn');
const marks = createMarks({
  sites: ['default'],
  clock: systemClock,
  random: (bytes) => void randomFillSync(bytes),
  capacity: options.known,
});
marks.site('default', { aliveUntil: Infinity, upstreamOk: true });
for (let i = 0; i < options.known; i++) {
  const device = parseDeviceId(deviceOf(i));
  if (device !== null) {
    marks.set('default', device, { pending: isPending(i), generation: 1, notBefore: 0, expiry: Infinity });
  }
}
const listen = { host: '127.0.0.1', port: 0 };
const common = { listen, allow: ['0.0.0.0/0'], proxyProtocol: false };
const door = await createPollDoor(
  {
    listeners: [
      { ...common, tls: null },
      ...(options.tls === null ? [] : [{ ...common, tls: { ...options.tls, profile: 'modern' as const } }]),
    ],
    sites: [{ name: 'default', pollPrefixes: null }],
    workers: options.workers,
  },
  { marks, log, clock: systemClock },
);
console.log(JSON.stringify({ msg: 'ready', ports: door.addresses.map((address) => address.port) }));
process.once('SIGTERM', () => {
  void door.close().then(() => marks.close());
});
