import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import t from 'tap';
import { createPollSecrets } from '../../../../proxy/poll/poll-secrets.ts';
import { createRoutes } from '../../../../proxy/poll/routes.ts';
import { watchWrongSecrets } from '../../../../proxy/poll/wrong-secrets.ts';
import { parseDeviceId } from '../../../../shared/device-id.ts';
import { silentLog } from '../../../../shared/log.ts';
import type { DeviceId } from '../../../../shared/device-id.ts';
import { POLL_SECRET_DIGITS, pollSecretOf } from '../../../../shared/poll-secret.ts';
import { createHandlerRig, IDLE_DEVICE, PENDING_DEVICE } from '../../../fixtures/poll-handler.ts';
import type { HandlerRig } from '../../../fixtures/poll-handler.ts';
import { exchange, PENDING, SITE, startPollDoor, statusOf } from '../../../fixtures/start-poll-door.ts';

const SECRET = Buffer.alloc(32, 7);
const FORMER = Buffer.alloc(32, 8);
const STRANGER = '00:1a:e8:00:00:99' as DeviceId;
const RIGHT = pollSecretOf(SECRET, PENDING_DEVICE);

const requestOf = (path: string, device: string): string =>
  `GET ${path}?device-id=${device} HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n`;

async function answerTo(rig: HandlerRig, path: string, device: string = PENDING_DEVICE): Promise<string> {
  const phone = rig.connect();
  phone.stream.write(requestOf(path, device));
  return phone.closed;
}

function openRig(told: readonly Buffer[] = [SECRET], prefixes?: (string | null)[]): HandlerRig {
  const rig = createHandlerRig({ secret: true, ...(prefixes === undefined ? {} : { prefixes }) });
  if (told.length > 0) {
    rig.secrets.set(
      0,
      told.map((secret) => secret.toString('base64')),
    );
  }
  return rig;
}

t.test('the secret of a device is as written down', async (t) => {
  t.equal(POLL_SECRET_DIGITS, 32);
  // echo -n 00:1a:e8:00:00:01 | openssl dgst -sha256 -mac HMAC -macopt hexkey:$(printf '07%.0s' {1..32}) | cut -c-32
  t.equal(RIGHT, '0a43efa85248e5dd16b27efce2464aa0');
});

t.test('wrong secrets are counted, and told of once a minute at most, without any id', async (t) => {
  const rig = openRig();
  await answerTo(rig, `/dcmp/${RIGHT}/contact-me`);
  await answerTo(rig, `/dcmp/${pollSecretOf(SECRET, STRANGER)}/contact-me`, STRANGER);
  t.equal(rig.stats().wrongSecret, 0, 'right ones are not, of unknown devices neither');
  const lines: [string, unknown][] = [];
  const log = { ...silentLog, warn: (msg: string, fields?: object) => void lines.push([msg, fields]) };
  const watch = watchWrongSecrets({ count: () => rig.stats().wrongSecret, clock: rig.clock, log });
  for (let i = 0; i < 5; i++) await answerTo(rig, '/dcmp/guess/contact-me');
  rig.clock.advance(180_000);
  await answerTo(rig, '/dcmp/guess/contact-me');
  rig.clock.advance(60_000);
  t.strictSame(lines, [
    ['polls without the right secret', { polls: 5, total: 5 }],
    ['polls without the right secret', { polls: 1, total: 6 }],
  ]);
  watch.cancel();
  const open = createHandlerRig({});
  await answerTo(open, '/dcmp/contact-me');
  t.equal(open.stats().wrongSecret, 0, 'where none is wanted, none is wrong');
});

t.test('a poll under the secret of its device is told what is pending, in every spelling', async (t) => {
  for (const path of [
    `/dcmp/${RIGHT}/contact-me`,
    `/dcmp/${RIGHT}contact-me`,
    `/dcmp//${RIGHT}//contact-me`,
    `//dcmp/${RIGHT}/contact-me`,
  ]) {
    for (const prefixes of [[null], ['/dcmp/'], ['/dcmp', '/other/'], ['/else/']]) {
      const answer = await answerTo(openRig([SECRET], prefixes), path);
      t.match(answer, prefixes[0] === '/else/' ? / 404 / : / 202 /, `${path} under ${String(prefixes[0])}`);
    }
  }
  t.match(await answerTo(openRig(), `/${RIGHT}/contact-me`), / 202 /, 'without any prefix');
  t.match(await answerTo(openRig(), `/dcmp/${RIGHT}/contact-me`, '001AE8000001'), / 202 /);
  t.match(await answerTo(openRig([FORMER, SECRET]), `/dcmp/${RIGHT}/contact-me`), / 202 /, 'the former one');
  t.match(
    await answerTo(openRig(), `/dcmp/${pollSecretOf(SECRET, IDLE_DEVICE)}/contact-me`, IDLE_DEVICE),
    / 200 /,
  );
});

t.test(
  'a poll without the right secret is answered, and leaves traces, as that of an unknown device',
  async (t) => {
    const unknownAnswer = await answerTo(
      openRig(),
      `/dcmp/${pollSecretOf(SECRET, STRANGER)}/contact-me`,
      STRANGER,
    );
    t.equal(unknownAnswer, 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    const percent = `%${RIGHT.charCodeAt(0).toString(16)}${RIGHT.slice(1)}`;
    for (const path of [
      '/dcmp/contact-me',
      '/dcmp//contact-me',
      '/contact-me',
      '/dcmpcontact-me',
      `/dcmp/${pollSecretOf(SECRET, IDLE_DEVICE)}/contact-me`,
      `/dcmp/${pollSecretOf(FORMER, PENDING_DEVICE)}/contact-me`,
      `/dcmp/${RIGHT.toUpperCase()}/contact-me`,
      `/dcmp/${percent}/contact-me`,
      `/dcmp/${RIGHT.slice(1)}/contact-me`,
      `/dcmp/${RIGHT}0/contact-me`,
      `/dcmp/${RIGHT}%00/contact-me`,
      `/dcmp/${RIGHT.slice(0, 16)}/${RIGHT.slice(16)}/contact-me`,
      `/${RIGHT}/dcmp/contact-me`,
      `/dcmp/${'0'.repeat(1_000)}/contact-me`,
    ]) {
      const rig = openRig();
      t.equal(await answerTo(rig, path), unknownAnswer, path);
      rig.clock.advance(10_000);
      t.strictSame([...rig.marks.scan()].flat(), [], 'nobody is told that the phone polled');
      t.match(rig.unknown.take(), [{ site: 'site0', device: PENDING_DEVICE }]);
      t.equal(rig.stats().wrongSecret, 1, 'it is counted');
    }
    t.equal(
      await answerTo(openRig([]), `/dcmp/${RIGHT}/contact-me`),
      unknownAnswer,
      'before a relay told it',
    );
    t.match(await answerTo(openRig([SECRET], ['/dcmp/']), '/dcmp/contact-me'), / 200 /);
    t.match(await answerTo(openRig([SECRET], ['/dcmp/']), '/dcmp/guess/contact-me'), / 200 /);
  },
);

t.test(
  'sites have secrets of their own, and a site without takes a secret for a part of its path',
  async (t) => {
    const rig = openRig([SECRET], ['/a/', '/b/', '/a/x/']);
    rig.marks.set('site1', PENDING_DEVICE, { pending: true, generation: 1, notBefore: 0, expiry: Infinity });
    rig.marks.set('site2', PENDING_DEVICE, { pending: true, generation: 1, notBefore: 0, expiry: Infinity });
    t.match(await answerTo(rig, `/a/${RIGHT}/contact-me`), / 202 /);
    t.match(await answerTo(rig, '/a/contact-me'), / 200 /);
    t.match(await answerTo(rig, '/b/contact-me'), / 202 /, 'no secret is wanted here');
    t.match(await answerTo(rig, `/b/${RIGHT}/contact-me`), / 404 /);
    t.match(await answerTo(rig, '/a/x/contact-me'), / 202 /, 'the longer prefix is another site');

    const routes = createRoutes([
      { number: 0, prefixes: ['/a/'], secret: true },
      { number: 1, prefixes: ['/b/'], secret: true },
    ]);
    const secrets = createPollSecrets();
    secrets.set(0, [SECRET.toString('base64')]);
    secrets.set(1, [FORMER.toString('base64')]);
    for (const [site, own] of [SECRET, FORMER].entries()) {
      for (const tried of [SECRET, FORMER]) {
        const path = Buffer.from(`/${'ab'[site]}/${pollSecretOf(tried, PENDING_DEVICE)}/contact-me`);
        t.equal(routes.siteOf(path, 0, path.length), site);
        const { start, end } = routes.secret ?? { start: 0, end: 0 };
        t.equal(secrets.opens(site, Buffer.from(PENDING_DEVICE), path, start, end), Number(tried === own));
      }
    }
  },
);

t.test('the secret of one device never opens another', async () => {
  const id = fc
    .oneof(fc.stringMatching(/^[0-9a-f]{12}$/), fc.stringMatching(/^[0-9A-Za-z:.\-_+]{1,64}$/))
    .map((raw) => parseDeviceId(raw)!);
  const secrets = createPollSecrets();
  fc.assert(
    fc.property(id, id, fc.uint8Array({ minLength: 32, maxLength: 32 }), (one, other, site) => {
      secrets.set(0, [Buffer.from(site).toString('base64')]);
      const shown = Buffer.from(pollSecretOf(site, one));
      const opens = (device: DeviceId): boolean =>
        secrets.opens(0, Buffer.from(device), shown, 0, shown.length) === 1;
      return opens(one) && opens(other) === (one === other);
    }),
  );
});

t.test('every worker hears of secrets, also one that takes the place of another', async (t) => {
  const workers: Worker[] = [];
  const again = Promise.withResolvers<void>();
  const { ports, door } = await startPollDoor(t, {
    workers: 2,
    sites: [{ name: SITE, pollPrefixes: ['/dcmp/'], pollSecret: 'path' }],
    startWorker(url, options) {
      const worker = new Worker(url, options);
      workers.push(worker);
      if (workers.length === 3) void once(worker, 'message').then(() => again.resolve());
      return worker;
    },
  });
  const poll = async (secret: Buffer): Promise<number | null> =>
    statusOf(
      await exchange(ports[0]!, requestOf(`/dcmp/${pollSecretOf(secret, PENDING)}/contact-me`, PENDING)),
    );
  t.equal(await poll(SECRET), 200, 'not known yet');
  door.setSecrets(SITE, [SECRET.toString('base64')]);
  // The kernel picks the worker: enough polls meet both, once both have heard.
  const settled = async (secret: Buffer, status: number): Promise<void> => {
    for (let inARow = 0; inARow < 40;) inARow = (await poll(secret)) === status ? inARow + 1 : 0;
  };
  await settled(SECRET, 202);
  await workers[0]!.terminate();
  await again.promise;
  for (let n = 0; n < 40; n += 1) t.equal(await poll(SECRET), 202);
  door.setSecrets(SITE, [FORMER.toString('base64')]);
  await settled(SECRET, 200);
  t.equal(await poll(FORMER), 202);
});
