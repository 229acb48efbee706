import { request } from 'node:http';
import t from 'tap';
import type { Test } from 'tap';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import {
  createBrowserSessions,
  DEFAULT_BROWSER_SESSIONS,
  LOOK_MS,
} from '../../../relay-client/dashboard-server/browser-sessions.ts';
import {
  createTokenLimit,
  FAILURES,
  FAILURES_MS,
  VOUCHED_MS,
} from '../../../relay-client/dashboard-server/token-limit.ts';
import { startApi } from '../../fixtures/start-api.ts';
import type { StartOptions } from '../../fixtures/start-api.ts';

const TOKEN = 'correct-horse-battery';
const PUSH = '/v1/devices/00:1a:e8:00:00:01/messages';

/** A browser that never sends the token but to sign in. */
async function startBrowser(t: Test, options: StartOptions = {}) {
  const api = await startApi(t, { token: TOKEN, ...options });
  const ask = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
    // An empty one keeps the fixture from sending the token.
    api.ask(method, path, body, { authorization: '', ...headers });
  const signIn = async (token = TOKEN, headers: Record<string, string> = {}) => {
    const answer = await ask('POST', '/v1/session', { token }, headers);
    const setCookie = answer.headers.get('set-cookie') ?? '';
    return { ...answer, setCookie, cookie: setCookie.split(';')[0] ?? '', csrf: String(answer.json['csrf']) };
  };
  return { ...api, ask, signIn };
}

t.test(
  'who signs in with the token gets a cookie that no script reads and no other site sends',
  async (t) => {
    const { ask, signIn, api } = await startBrowser(t);
    t.match((await ask('GET', '/v1/session')).json, { needed: true, signed_in: false, csrf: null });
    const { status, setCookie, cookie, json, text } = await signIn();
    t.equal(status, 200);
    t.match(json, { needed: true, signed_in: true, csrf: /^[\w-]{43}$/ });
    t.match(setCookie, new RegExp(`^sallyport_session_${api.address.port}=[\\w-]{43}; `));
    for (const part of ['HttpOnly', 'SameSite=Strict', 'Path=/', /Max-Age=\d+/]) t.match(setCookie, part);
    t.notMatch(setCookie, /Secure/, 'this page came without TLS');
    t.notMatch(setCookie + text, TOKEN);
    t.equal((await ask('GET', '/v1/status', undefined, { cookie })).status, 200);
    t.equal((await ask('GET', '/v1/status', undefined, { cookie: `other=1; ${cookie}` })).status, 200);
    t.match((await ask('GET', '/v1/session', undefined, { cookie })).json, {
      signed_in: true,
      csrf: json['csrf'],
    });
    for (const wrong of [`${cookie}x`, cookie.slice(0, -1), cookie.replace('session', 'sessio')])
      t.equal((await ask('GET', '/v1/status', undefined, { cookie: wrong })).status, 401, wrong);
  },
);

t.test('a page that came by TLS gets its cookie by TLS only', async (t) => {
  const { signIn, url } = await startBrowser(t);
  // Before the relay a proxy ends TLS; the browser says where its page is from.
  const { setCookie } = await signIn(TOKEN, { origin: url.replace('http:', 'https:') });
  t.match(setCookie, /; Secure/);
});

t.test('the cookie is good by names of this machine only', async (t) => {
  const { signIn, url } = await startBrowser(t, { hosts: ['relay.example'] });
  const { cookie } = await signIn();
  const statusBy = (host: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      request(`${url}/v1/status`, { headers: { host, cookie } }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end();
    });
  t.equal(await statusBy('localhost'), 200);
  t.equal(await statusBy('relay.example'), 200);
  t.equal(await statusBy('evil.example'), 421);
});

t.test('with the cookie nothing changes without the proof that the page is ours', async (t) => {
  const { ask, signIn, outbox, url } = await startBrowser(t);
  const { cookie, csrf } = await signIn();
  const other = await signIn();
  const refused: Record<string, string>[] = [
    {},
    { 'x-csrf-token': '' },
    { 'x-csrf-token': `${csrf}x` },
    { 'x-csrf-token': other.csrf },
  ];
  for (const headers of refused)
    t.match(await ask('POST', PUSH, {}, { cookie, ...headers }), {
      status: 403,
      json: { code: 'CSRF_REFUSED' },
    });
  const foreign = { cookie, 'x-csrf-token': csrf, origin: 'https://evil.example' };
  t.match(await ask('POST', PUSH, {}, foreign), { status: 403, json: { code: 'ORIGIN_REFUSED' } });
  t.match(await ask('DELETE', PUSH, undefined, { cookie }), { status: 403 });
  t.equal((await outbox.counts()).accepted, 0, 'nothing came through');
  t.equal((await ask('POST', PUSH, {}, { cookie, 'x-csrf-token': csrf, origin: url })).status, 201);
  t.equal((await ask('GET', '/v1/status', undefined, { cookie })).status, 200, 'looking needs none');
  t.equal(
    (await ask('POST', PUSH, {}, { authorization: `Bearer ${TOKEN}` })).status,
    201,
    'nor does the token',
  );
  const both = { cookie, authorization: 'Bearer wrong', 'x-csrf-token': csrf };
  t.equal((await ask('POST', PUSH, {}, both)).status, 401, 'a wrong token is not made good by a cookie');
});

t.test('who signs out is out', async (t) => {
  const { ask, signIn } = await startBrowser(t);
  const { cookie } = await signIn();
  const out = await ask('DELETE', '/v1/session', undefined, { cookie });
  t.match(out.headers.get('set-cookie'), /=; .*Max-Age=0/);
  t.equal((await ask('GET', '/v1/status', undefined, { cookie })).status, 401);
});

t.test('wrong tokens are refused, and after some of them so is every one from that address', async (t) => {
  const { signIn } = await startBrowser(t);
  for (let i = 0; i < FAILURES; i++) {
    const { status, setCookie, json, text } = await signIn(`wrong-${i}`);
    t.equal(status, 401);
    t.match(json, { code: 'UNAUTHORIZED', field: 'token' });
    t.equal(setCookie, '');
    t.notMatch(text, /wrong-|correct/);
  }
  const { status, headers, json } = await signIn();
  t.equal(status, 429, 'also the right one: a guesser must not learn of it');
  t.match(json, { code: 'LOGIN_LIMITED' });
  t.ok(Number(headers.get('retry-after')) > 0 && Number(headers.get('retry-after')) <= 60);
});

t.test('wrong tokens count alike at the form and as Bearer, and then none is looked at', async (t) => {
  const clock = createFakeClock();
  const { signIn, ask } = await startBrowser(t, { clock });
  const bearer = (token: string, headers: Record<string, string> = {}, path = '/v1/status') =>
    ask('GET', path, undefined, { authorization: `Bearer ${token}`, ...headers });
  for (let i = 0; i < FAILURES - 1; i++)
    t.match(await bearer(`wrong-${i}`), { status: 401, json: { code: 'UNAUTHORIZED' } });
  t.equal((await signIn('wrong')).status, 401, 'the last one, at the form');
  const { status, headers, json } = await bearer(TOKEN);
  t.equal(status, 429, 'also the right one: a guesser must not learn of it');
  t.match(json, { code: 'LOGIN_LIMITED' });
  t.match(headers.get('retry-after'), /^(60|[1-5]?\d)$/);
  t.equal((await signIn()).status, 429, 'nor is anybody signed in');
  t.equal((await ask('GET', '/v1/status')).status, 401, 'who sends none is told that one is needed');
  t.equal((await ask('GET', '/healthz')).status, 200);

  clock.advance(FAILURES_MS);
  t.equal((await bearer(TOKEN)).status, 200, 'after a minute it may try again');
  for (let i = 0; i < FAILURES; i++) t.equal((await bearer('wrong')).status, 401);
  t.equal((await bearer('wrong')).status, 429);
  t.equal((await signIn()).status, 429);
  t.equal(
    (await bearer(TOKEN)).status,
    200,
    'a program in use at that address is not kept out by others there',
  );
  t.equal((await bearer('wrong')).status, 429, 'which does not let them go on');
  clock.advance(VOUCHED_MS);
  for (let i = 0; i < FAILURES; i++) t.equal((await bearer('wrong')).status, 401);
  t.equal((await bearer(TOKEN)).status, 429, 'one that was long not heard of is');
});

t.test('a token is not guessed by way of the Host header either', async (t) => {
  const { url } = await startBrowser(t);
  const statusOf = (token: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const headers = { host: 'evil.example', authorization: `Bearer ${token}` };
      request(`${url}/v1/session`, { headers }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end();
    });
  for (let i = 0; i < FAILURES; i++) t.equal(await statusOf(`wrong-${i}`), 421);
  t.equal(await statusOf(TOKEN), 429);
});

t.test('who signs out is told nothing more, and neither is who was signed out', async (t) => {
  const { url, signIn, ask } = await startBrowser(t);
  const follow = async (headers: Record<string, string>) => {
    const response = await fetch(`${url}/v1/events`, { headers });
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    t.match((await reader.read()).value, /hello/);
    let over = false;
    const ended = (async () => {
      while (!(await reader.read()).done);
      over = true;
    })();
    return { ended, over: () => over, cancel: () => reader.cancel() };
  };
  const [mine, other] = [await signIn(), await signIn()];
  const streams = await Promise.all([
    follow({ cookie: mine.cookie }),
    follow({ cookie: mine.cookie }),
    follow({ cookie: other.cookie }),
    follow({ authorization: `Bearer ${TOKEN}` }),
  ]);
  await ask('DELETE', '/v1/session', undefined, { cookie: mine.cookie });
  await Promise.all([streams[0]?.ended, streams[1]?.ended]);
  t.same(
    streams.map(({ over }) => over()),
    [true, true, false, false],
    'others and programs follow on',
  );
  for (let i = 0; i < DEFAULT_BROWSER_SESSIONS.sessions; i++) await signIn();
  await streams[2]?.ended;
  t.pass('a session that gives way to newer ones takes its streams along');
  t.notOk(streams[3]?.over());
  await streams[3]?.cancel();
});

t.test('a page of another origin can sign nobody in', async (t) => {
  const { signIn } = await startBrowser(t);
  t.match(await signIn(TOKEN, { origin: 'https://evil.example' }), { status: 403, setCookie: '' });
});

t.test('where no token is set nobody signs in', async (t) => {
  const { ask } = await startApi(t);
  const answers = { status: 200, json: { needed: false, signed_in: true, csrf: null } };
  t.match(await ask('GET', '/v1/session'), answers);
  const posted = await ask('POST', '/v1/session', { token: 'x' });
  t.match(posted, answers);
  t.equal(posted.headers.get('set-cookie'), null);
  t.equal((await ask('POST', PUSH, {})).status, 201);
});

t.test('sessions end when they are idle, when they are old, and when too many begin', async (t) => {
  const clock = createFakeClock();
  const limits = { ...DEFAULT_BROWSER_SESSIONS, sessions: 2 };
  const sessions = createBrowserSessions(clock, limits);
  const first = sessions.begin();
  t.equal(sessions.find(first.id)?.csrf, first.csrf);
  clock.advance(limits.idle - 1);
  t.ok(sessions.find(first.id), 'used just in time');
  clock.advance(limits.idle);
  t.equal(sessions.find(first.id), null, 'idle too long');
  t.equal(sessions.count(), 0, 'and forgotten');

  const old = sessions.begin();
  for (let spent = 0; spent < limits.life; spent += limits.idle / 2) {
    t.ok(sessions.find(old.id));
    clock.advance(limits.idle / 2);
  }
  t.equal(sessions.find(old.id), null, 'used all the time, and over all the same');

  const [a, b] = [sessions.begin(), sessions.begin()];
  sessions.find(a.id);
  const c = sessions.begin();
  t.equal(sessions.find(b.id), null, 'the one that was used longest ago gave way');
  t.ok(sessions.find(a.id) && sessions.find(c.id));
  t.equal(sessions.count(), 2);
  t.same(
    [a.over.aborted, b.over.aborted, c.over.aborted],
    [false, true, false],
    'and whoever looks on is told',
  );
  sessions.end(a.id);
  t.ok(a.over.aborted, 'at once, where somebody ended it');
  clock.advance(limits.idle - 1);
  t.notOk(c.over.aborted);
  clock.advance(LOOK_MS);
  t.ok(c.over.aborted, 'also where its browser asks for nothing more');
  sessions.close();
});

t.test('the limit of sign-ins is per address, and over after a minute', async (t) => {
  const clock = createFakeClock();
  const limit = createTokenLimit(clock);
  for (let i = 0; i < FAILURES; i++) {
    t.equal(limit.wait('a'), 0);
    limit.failed('a');
  }
  t.equal(limit.wait('a'), 60_000);
  t.equal(limit.wait('b'), 0);
  for (let i = 0; i < FAILURES; i++) limit.failed(`2001:db8::${i}`);
  t.equal(limit.wait('2001:db8::ffff'), 60_000, 'a host has all addresses of its network');
  t.equal(limit.wait('2001:db8:1::1'), 0);
  clock.advance(59_999);
  t.equal(limit.wait('a'), 1);
  clock.advance(1);
  t.equal(limit.wait('a'), 0);
  for (let i = 1; i < FAILURES; i++) limit.failed('a');
  limit.succeeded('a');
  limit.failed('a');
  t.equal(limit.wait('a'), 0, 'who got it right begins anew');
});
