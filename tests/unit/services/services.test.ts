import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { duplexPair } from 'node:stream';
import t from 'tap';
import { systemClock } from '../../../shared/clock.ts';
import { silentLog } from '../../../shared/log.ts';
import type { ServiceConfig } from '../../../relay-client/services/config.ts';
import { createServices } from '../../../relay-client/services/services.ts';
import type { Services } from '../../../relay-client/services/services.ts';
import {
  answering,
  authority,
  ok,
  passiveObserver,
  post,
  startRawUpstream,
  startWpi,
  temporaryDirectory,
  writeCredentials,
} from './harness.ts';

const dependencies = { observer: () => passiveObserver, clock: systemClock, log: silentLog };
const origin = { proxy: 'dmz', door: 'wpi', address: '192.0.2.1', port: 1, tls: 'proxy' } as const;

const wpi = (upstream: string, more: Partial<ServiceConfig & { kind: 'wpi' }> = {}): ServiceConfig => ({
  name: 'wpi',
  kind: 'wpi',
  tls: null,
  upstream,
  upstreamTls: {},
  forwarded: 'none',
  rewriteContactMe: true,
  limits: {},
  ...more,
});

t.test('a stream goes to the service that its door names; of other names none is taken', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok('found')));
  const services: Services = createServices(
    [wpi(upstream.url), { name: 'wpi-secure', kind: 'tcp', upstream: `127.0.0.1:${upstream.port}` }],
    dependencies,
  );
  t.teardown(() => services.close());
  t.strictSame(
    services.list().map(({ name, kind }) => [name, kind]),
    [
      ['wpi', 'wpi'],
      ['wpi-secure', 'tcp'],
    ],
  );
  for (const name of ['wpi', 'wpi-secure']) {
    const [phone, stream] = duplexPair();
    t.equal(services.accept(name, stream, origin), true);
    phone.write(post('<x/>'));
    let text = '';
    for await (const chunk of phone) {
      text += String(chunk);
      if (text.endsWith('found')) break;
    }
    t.match(text, /^HTTP\/1\.1 200 OK\r\n/, name);
  }
  const [, stranger] = duplexPair();
  t.equal(services.accept('other', stranger, origin), false);
  t.equal(stranger.destroyed, false, 'the stream is left alone');
  t.equal(services.get('other'), undefined);
});

t.test('a name used twice and an upstream that is none are refused at the start', async (t) => {
  t.throws(() => createServices([wpi('http://127.0.0.1:1'), wpi('http://127.0.0.1:1')], dependencies), {
    code: 'CONFIG_INVALID',
  });
  t.throws(() => createServices([wpi('http://127.0.0.1:1/path')], dependencies), { code: 'ADDRESS_INVALID' });
  t.throws(() => createServices([{ name: 'x', kind: 'tcp', upstream: 'nowhere' }], dependencies), {
    code: 'ADDRESS_INVALID',
  });
});

t.test('reload tells which service keeps its old files', async (t) => {
  const files = writeCredentials(
    temporaryDirectory(t),
    'dls',
    await (await authority()).issue(['127.0.0.1']),
  );
  const tls = { ...files, profile: 'modern', clientCa: null } as const;
  const services = createServices(
    [
      wpi('http://127.0.0.1:1', { name: 'good', tls }),
      wpi('http://127.0.0.1:1', { name: 'bad', tls: { ...tls } }),
    ],
    dependencies,
  );
  t.teardown(() => services.close());
  await services.reload();
  writeFileSync(join(files.cert), 'garbage');
  await t.rejects(services.reload(), { code: 'KEY_INVALID', message: /good: .*bad: / });
});

t.test('draining lets the running exchange end, ends what is idle and cuts the rest', async (t) => {
  const upstream = await startRawUpstream(t, async ({ socket, until }) => {
    await until('running');
    socket.once('finish', () => undefined);
    release.then(() => socket.write(ok('just in time'))).catch(() => undefined);
  });
  let finish: () => void = () => undefined;
  const release = new Promise<void>((resolve) => (finish = resolve));
  const { phone, service } = await startWpi(t, { upstream: upstream.url });
  const idle = await phone();
  const running = await phone();
  running.send(post('<running/>'));
  await upstream.connection(0);
  const drained = service.drain(60_000);
  t.equal(await idle.over, 'ended');
  t.equal(await (await phone()).over, 'cut', 'nobody new');
  finish();
  const { head, body } = await running.answer();
  t.equal(body, 'just in time');
  t.match(head, /\r\nConnection: close/);
  t.equal(await running.over, 'ended');
  await drained;

  const served = await startRawUpstream(t, answering(ok()));
  const kept = await startWpi(t, { upstream: served.url, limits: { lingerMs: 3_600_000, halfCloseMs: 50 } });
  const staying = await kept.phone();
  staying.socket.allowHalfOpen = true;
  staying.send(post('<x/>'));
  await staying.answer();
  await kept.service.drain(3_600_000);
  t.equal(
    kept.service.connections(),
    0,
    'a phone that has its answer and stays after our end holds nothing up',
  );

  const stuck = await startRawUpstream(t);
  const second = await startWpi(t, { upstream: stuck.url });
  const waiting = await second.phone();
  waiting.send(post('<x/>'));
  await stuck.connection(0);
  await second.service.drain(20);
  t.equal(await waiting.over, 'cut');
  await second.observer.until('closed');
  t.strictSame(second.observer.calls(), ['connection', 'message', 'cut', 'closed']);
});
