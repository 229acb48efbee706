import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import t from 'tap';
import type { Test } from 'tap';
import { createDeskClient } from '../../../relay-client/api/client.ts';
import { createApi } from '../../../relay-client/api/server.ts';
import { systemClock } from '../../../shared/clock.ts';
import { silentLog } from '../../../shared/log.ts';
import type { DeskEvent } from '../../../relay-client/api/event-stream.ts';
import { device, linkedProxy, PROXY_URL } from '../../fixtures/fake-view.ts';
import { startApi } from '../../fixtures/start-api.ts';
import type { StartedApi } from '../../fixtures/start-api.ts';

const PHONE = device('00:1a:e8:00:00:01');

/** Follows by a plain socket; `next` gives one event's raw text after another. */
async function follow(
  t: Test,
  api: StartedApi,
  query = '',
  headers = '',
): Promise<{ socket: Socket; next(): Promise<string> }> {
  const socket = connect(api.api.address.port, '127.0.0.1');
  t.teardown(() => socket.destroy());
  socket.setEncoding('utf8');
  socket.write(`GET /v1/events${query} HTTP/1.0\r\nHost: localhost\r\n${headers}\r\n`);
  let text = '';
  let more = Promise.withResolvers<void>();
  socket.on('data', (part: string) => {
    text += part;
    more.resolve();
  });
  socket.on('close', () => more.resolve());
  const take = async (end: string): Promise<string> => {
    for (let at = text.indexOf(end); ; at = text.indexOf(end)) {
      if (at !== -1) {
        const taken = text.slice(0, at);
        text = text.slice(at + end.length);
        return taken;
      }
      if (socket.closed) return `closed after ${text}`;
      more = Promise.withResolvers<void>();
      await more.promise;
    }
  };
  const head = await take('\r\n\r\n');
  t.match(head, /^HTTP\/1\.1 200 OK\r\n/);
  t.match(head, /content-type: text\/event-stream/);
  t.equal(await take('\n\n'), 'retry: 2000');
  return { socket, next: () => take('\n\n') };
}

t.test('a follower is told what becomes of a campaign, also from before', async (t) => {
  const api = await startApi(t);
  const NDJSON = { 'content-type': 'application/x-ndjson' };
  await api.ask('POST', '/v1/messages?campaign=spring', '{"device":"aa"}', NDJSON);
  await api.ask('POST', '/v1/campaigns/spring/pause', {});
  const { next } = await follow(t, api, '?after=0');
  await next();
  const facts = { campaign: 'spring', state: 'running', phase: 'all', why: null };
  const [id, event, data] = (await next()).split('\n');
  t.same([id, event], ['id: 1', 'event: campaign']);
  t.match(JSON.parse(data!.slice('data: '.length)), { seq: 1, device: null, what: 'begun', facts });
  t.match(await next(), /^id: 2\nevent: accepted\n/);
  t.match(await next(), /^id: 3\nevent: campaign\n.*"what":"paused"/);
  t.match(await next(), /^id: 4\nevent: deferred\n/);
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  const seen: DeskEvent[] = [];
  for await (const told of createDeskClient({ url: api.url, token: null }).events({
    after: 2,
    signal: stop.signal,
  })) {
    if (seen.push(told) === 2) break;
  }
  t.match(seen[1], { type: 'history', entry: { event: 'campaign', what: 'paused', device: null } });
});

t.test('a follower is greeted, then told each change with its sequence as id', async (t) => {
  const api = await startApi(t);
  await api.ask('POST', '/v1/devices/before/messages', {});
  const { next } = await follow(t, api);
  t.equal(
    await next(),
    `event: hello\ndata: ${JSON.stringify({ relay: 'hq-1', version: '0.1.0', incarnation: api.outbox.incarnation, sequence: 1 })}`,
  );
  await api.ask('POST', `/v1/devices/${PHONE}/messages`, {});
  await api.ask('DELETE', `/v1/devices/${PHONE}/messages`);
  const [id, name, data] = (await next()).split('\n');
  t.equal(id, 'id: 2');
  t.equal(name, 'event: accepted');
  t.match(JSON.parse((data ?? '').slice('data: '.length)), {
    seq: 2,
    at: /Z$/,
    event: 'accepted',
    device: PHONE,
    generation: 1,
    message: String,
  });
  t.match(await next(), /^id: 3\nevent: cleared\ndata: \{"seq":3/);
});

t.test('a follower resumes after Last-Event-ID, or after a sequence of his choice', async (t) => {
  const api = await startApi(t, { limits: { eventBatch: 2 } });
  for (let i = 0; i < 5; i++)
    await api.outbox.push({ device: device(`p${i}`), kind: 'contact-me', ttl: 60_000, delay: 0 });
  const resumed = await follow(t, api, '?after=0', 'Last-Event-ID: 3\r\n');
  await resumed.next();
  t.match(await resumed.next(), /^id: 4\n/);
  t.match(await resumed.next(), /^id: 5\n/);
  const fromStart = await follow(t, api, '?after=0');
  await fromStart.next();
  for (const id of [1, 2, 3, 4, 5]) t.match(await fromStart.next(), new RegExp(`^id: ${id}\n`));
});

t.test('a follower is told what he missed for good', async (t) => {
  const api = await startApi(t, { outboxLimits: { history: 2 } });
  for (let i = 0; i < 5; i++)
    await api.outbox.push({ device: device(`p${i}`), kind: 'contact-me', ttl: 60_000, delay: 0 });
  const behind = await follow(t, api, '', 'Last-Event-ID: 1\r\n');
  await behind.next();
  t.equal(await behind.next(), 'event: reset\ndata: {"reason":"trimmed","sequence":5}');
  t.match(await behind.next(), /^id: 4\n/);
  const ahead = await follow(t, api, '', 'Last-Event-ID: 99\r\n');
  await ahead.next();
  t.equal(await ahead.next(), 'event: reset\ndata: {"reason":"ahead","sequence":5}');
  await api.ask('POST', '/v1/devices/x/messages', {});
  t.match(await ahead.next(), /^id: 6\n/);
});

t.test('changes of links, services and sessions are told without an id', async (t) => {
  const api = await startApi(t);
  const { next } = await follow(t, api);
  await next();
  api.view.emit({ type: 'link', proxy: linkedProxy({ state: 'down', why: 'gone' }) });
  t.match(
    await next(),
    new RegExp(`^event: link\ndata: .*"url":"${PROXY_URL}","state":"down".*"why":"gone"`),
  );
  api.view.emit({ type: 'service', name: 'wpi', health: { up: false, why: 'refused', since: 0 } });
  t.match(await next(), /^event: service\ndata: \{"name":"wpi","up":false,"why":"refused"/);
  api.view.emit({ type: 'session', device: PHONE, phase: 'ended', outcome: 'completed' });
  t.equal(await next(), `event: session\ndata: {"device":"${PHONE}","phase":"ended","outcome":"completed"}`);
});

t.test('a follower of one device hears of no other', async (t) => {
  const api = await startApi(t);
  const { next } = await follow(t, api, '?device=001AE8000001');
  await next();
  await api.ask('POST', '/v1/devices/other/messages', {});
  api.view.emit({ type: 'link', proxy: linkedProxy() });
  api.view.emit({ type: 'session', device: device('other'), phase: 'began', outcome: null });
  api.view.emit({ type: 'session', device: PHONE, phase: 'began', outcome: null });
  t.match(await next(), /^event: session\n.*00:1a:e8:00:00:01/);
  await api.ask('POST', `/v1/devices/${PHONE}/messages`, {});
  t.match(await next(), /^id: 2\nevent: accepted\n.*00:1a:e8:00:00:01/);
});

t.test('an idle stream carries comments', async (t) => {
  const api = await startApi(t, { limits: { heartbeatMs: 10 } });
  const { next } = await follow(t, api);
  await next();
  t.equal(await next(), ': beat');
});

t.test('a follower who takes nothing is cut, and the others are not', async (t) => {
  const api = await startApi(t, { limits: { eventBacklogBytes: 1024 } });
  const slow = await follow(t, api);
  const quick = await follow(t, api);
  await slow.next();
  await quick.next();
  slow.socket.pause();
  const cut = new Promise((resolve) => slow.socket.on('close', resolve));
  const why = 'x'.repeat(60_000);
  // Enough to fill the kernel's buffers on both sides, then ours.
  for (let i = 0; i < 400; i++) {
    api.view.emit({ type: 'link', proxy: linkedProxy({ why }) });
    t.match(await quick.next(), /^event: link\n/);
  }
  slow.socket.resume();
  await cut;
  api.view.emit({ type: 'session', device: PHONE, phase: 'began', outcome: null });
  t.match(await quick.next(), /^event: session\n/);
  t.equal((await api.client.status()).event_clients, 1);
});

t.test('only so many may follow, and one who leaves makes room', async (t) => {
  const api = await startApi(t, { limits: { eventClients: 1 } });
  const first = await follow(t, api);
  t.match(await api.ask('GET', '/v1/events'), { status: 429, json: { code: 'API_BUSY' } });
  first.socket.destroy();
  await once(first.socket, 'close');
  let events = 1;
  while (events > 0) events = (await api.client.status()).event_clients;
  await follow(t, api);
});

t.test('closing the API ends the streams and lets go of outbox and view', async (t) => {
  const api = await startApi(t);
  const { socket, next } = await follow(t, api);
  await next();
  const ended = once(socket, 'close');
  await api.api.close();
  await ended;
  t.equal(api.view.listeners(), 0);
});

t.test('the client follows on over a lost stream and misses nothing', async (t) => {
  const first = await startApi(t);
  const stop = new AbortController();
  t.teardown(() => stop.abort());
  const impatient = { ...systemClock, after: (_ms: number, task: () => void) => systemClock.after(5, task) };
  const client = createDeskClient({ url: first.url, token: null, clock: impatient });
  const seen: DeskEvent[] = [];
  const more = { wake: Promise.withResolvers<void>() };
  const following = (async () => {
    for await (const event of client.events({ signal: stop.signal })) {
      seen.push(event);
      more.wake.resolve();
    }
  })();
  const until = async (count: number): Promise<void> => {
    while (seen.length < count) {
      more.wake = Promise.withResolvers();
      await more.wake.promise;
    }
  };
  await until(1);
  await first.ask('POST', '/v1/devices/aa/messages', {});
  await until(2);
  await first.api.close();
  await first.outbox.push({ device: device('bb'), kind: 'contact-me', ttl: 60_000, delay: 0 });
  const again = await createApi({
    listen: first.api.address,
    token: null,
    outbox: first.outbox,
    view: first.view,
    campaigns: first.campaigns,
    clock: systemClock,
    log: silentLog,
    metricsText: async () => '',
  });
  t.teardown(() => again.close());
  await until(4);
  t.match(seen, [
    { type: 'hello', sequence: 0 },
    { type: 'history', entry: { device: 'aa', seq: 1 } },
    { type: 'hello', sequence: 2 },
    { type: 'history', entry: { device: 'bb', seq: 2 } },
  ]);
  stop.abort();
  await following;
});
