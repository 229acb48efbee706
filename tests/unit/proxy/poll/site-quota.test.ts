import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Socket } from 'node:net';
import t from 'tap';
import { createAuthority } from '../../../fixtures/certificates.ts';
import { createHandlerRig } from '../../../fixtures/poll-handler.ts';
import { certificateFiles, poll, SITE, startPollDoor } from '../../../fixtures/start-poll-door.ts';
import { until } from '../../../fixtures/until.ts';

const ANSWERED = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n';
const REFUSED = /^HTTP\/1.1 503 /;
const pollAt = (site: string): string =>
  `GET /${site}/contact-me?device-id=x HTTP/1.1\r\nHost: proxy\r\n\r\n`;
/** Of which the door waits for the rest. */
const HALF = 'GET /';
const QUOTA = 3;
const FLOOD = 10;

t.test('where the path decides a connection counts to its site from its first poll on', async (t) => {
  const rig = createHandlerRig({ prefixes: ['/a/', '/b/'], quotas: [QUOTA, Infinity] });
  const come = (text: string) => {
    const phone = rig.connect();
    phone.stream.write(text);
    return phone;
  };
  const silent = Array.from({ length: FLOOD }, () => come(HALF));
  await until('all are there', () => rig.stats().connections.open === FLOOD);
  t.match(rig.siteStats(0), { open: 0 }, 'who has not polled yet is of no site');
  for (const phone of silent) phone.stream.end();
  await until('they are gone', () => rig.stats().connections.open === 0);

  const busy = Array.from({ length: QUOTA }, () => come(pollAt('a') + HALF));
  await until('they are counted', () => rig.siteStats(0).open === QUOTA);
  t.match(await come(pollAt('a')).closed, REFUSED, 'one more is refused');
  const other = come(pollAt('b'));
  await until('the other site answers', () => other.received() === ANSWERED);
  t.match(rig.siteStats(0), { open: QUOTA, refused: 1 });
  t.match(rig.siteStats(1), { open: 1, refused: 0 });

  rig.clock.advance(1_500);
  const patient = come(pollAt('a'));
  await until('who was slow gives way', () => patient.received() === ANSWERED);
  t.equal(await busy[0]!.closed, ANSWERED);
  const next = come(pollAt('a') + HALF);
  await until('who idles gives way before who is slow', () => next.received() === ANSWERED);
  t.equal(await patient.closed, ANSWERED);
  t.equal(other.received(), ANSWERED);
  t.equal(rig.stats().cut.evicted, 2);
  t.match(rig.siteStats(0), { open: QUOTA, refused: 1 });

  next.stream.write(pollAt('b').slice(HALF.length));
  await until('it polls for the other site', () => next.received() === ANSWERED + ANSWERED);
  t.match([rig.siteStats(0).open, rig.siteStats(1).open], [QUOTA, 1], 'and stays where it was counted');
  for (const phone of [...busy, next, other]) phone.stream.end();
  await until('all places are free again', () => rig.siteStats(0).open + rig.siteStats(1).open === 0);
});

const authority = await createAuthority();
const credentials = await authority.issue(['127.0.0.1']);
for (const how of ['on TCP handles', 'on streams', 'with TLS', 'behind a balancer'] as const) {
  t.test(`at its own door a site's connections count from the start: ${how}`, async (t) => {
    const tls =
      how === 'with TLS' ? { ...certificateFiles(t, credentials), profile: 'modern' as const } : null;
    const { ports, door } = await startPollDoor(t, {
      rawTcp: how !== 'on streams',
      others: ['own'],
      sites: [
        { name: SITE, pollPrefixes: ['/dcmp/'] },
        { name: 'own', pollPrefixes: null, pollConnections: QUOTA },
      ],
      listeners: [{}, { site: 'own', tls, proxyProtocol: how === 'behind a balancer' }],
    });
    const sockets: Socket[] = [];
    t.teardown(() => sockets.forEach((socket) => socket.destroy()));
    const gone = { count: 0 };
    for (let n = 0; n < FLOOD; n++) {
      const socket =
        tls === null
          ? connect(ports[1]!, '127.0.0.1')
          : connectTls({ port: ports[1]!, host: '127.0.0.1', ca: authority.cert });
      socket.on('error', () => undefined);
      socket.on('data', () => undefined);
      socket.on('close', () => (gone.count += 1));
      sockets.push(socket);
    }
    await until('those beyond the quota are gone', () => gone.count >= FLOOD - QUOTA);
    const { cut } = door.stats();
    const { open, refused } = door.siteStats('own');
    t.equal(open, QUOTA);
    // Who has been slow for a second gives way, on a machine that is so slow.
    t.equal(refused + cut.evicted, FLOOD - QUOTA);
    t.equal(cut.site_full, tls === null && how !== 'behind a balancer' ? 0 : refused);
    t.equal(await poll(ports[0]!), 202, "the other site's phones are answered");
    for (const socket of sockets) socket.destroy();
    await until('all places are free again', () => door.siteStats('own').open === 0);
  });
}
