import t from 'tap';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { phoneAt } from '../fixtures/phone-at.ts';
import { createLabelledService, LABEL } from '../fixtures/services/labelled-service.ts';
import type { CookieKind, LabelledService } from '../fixtures/services/labelled-service.ts';
import { inTurns } from '../fixtures/in-turns.ts';
import { untilGood } from '../fixtures/until.ts';
import { baseItems, createDialer, createPhone, macAfter, parseTarget } from '../phones/index.ts';
import type { CookieEcho, Phone } from '../phones/index.ts';
import { reply } from '../conformance/documents.ts';

const PHONES = 1_000;
const AT_ONCE = 60;
const ECHOES: readonly CookieEcho[] = ['whole', 'pair', 'none'];
const COOKIES: readonly CookieKind[] = ['own', 'none', 'shared'];
/** `vanishes`: does not come back with its reply. `stays away`: polls, and never calls. */
const FATES = ['finishes', 'finishes', 'finishes', 'busy', 'vanishes', 'stays away'] as const;

interface Actor {
  device: string;
  echo: CookieEcho;
  cookie: CookieKind;
  fate: (typeof FATES)[number];
}

const actor = (n: number): Actor => ({
  device: macAfter('00:1A:E8:76:00:01', n),
  echo: ECHOES[n % ECHOES.length] ?? 'whole',
  cookie: COOKIES[Math.floor(n / 3) % COOKIES.length] ?? 'own',
  fate: FATES[Math.floor(n / 9) % FATES.length] ?? 'finishes',
});
/** Whether anything but its address can tell it from others. */
const isTold = ({ echo, cookie }: Actor): boolean => echo !== 'none' && cookie !== 'shared';

/** What the gate says of a device in the end. */
interface Account {
  state: string;
  /** Outcomes of its sessions, in any order. */
  sessions: string[];
}

async function accountOf(gate: Gate, device: string): Promise<Account> {
  const { body } = await gate.call('GET', `/v1/devices/${device}`);
  const [message] = body['messages'] as { state: string }[];
  const history = body['history'] as { what: string | null; facts: Record<string, string> }[];
  const sessions = history.filter(({ what }) => what === 'session');
  return { state: message?.state ?? 'none', sessions: sessions.map(({ facts }) => facts['outcome'] ?? '') };
}

/** What was said of phones that did not do it, as sentences. */
function mistaken(
  actors: readonly Actor[],
  accounts: readonly Account[],
  service: LabelledService,
): string[] {
  return actors.flatMap(({ device, fate }, n) => {
    const { state, sessions } = accounts[n] ?? { state: 'unheard of', sessions: [] };
    const done = service.done.has(device);
    return [
      ...(state === 'cleared' && !done ? [`${device} ${fate}, and was cleared`] : []),
      ...(state === 'cleared' || state === 'held' || state === 'in_session' ? [] : [`${device} is ${state}`]),
      ...(sessions.includes('completed') && !done ? [`${device} ${fate}, and completed a session`] : []),
      ...(sessions.includes('busy') && fate !== 'busy' ? [`${device} ${fate}, and was busy`] : []),
      ...(sessions.length > 0 && fate === 'stays away' ? [`${device} had a session and never called`] : []),
    ];
  });
}

async function warned(gate: Gate, what: string): Promise<number> {
  const text = await (await fetch(`${gate.api}/metrics`)).text();
  return Number(new RegExp(`^sallyport_warnings_total\\{.*"${what}".*\\} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
}

t.test(`${PHONES} phones behind one address`, async (t) => {
  const actors = Array.from({ length: PHONES }, (_, n) => actor(n));
  const kinds = new Map(actors.map(({ device, cookie }) => [device, cookie]));
  const service = await createLabelledService((device) => kinds.get(device) ?? 'own');
  t.teardown(() => service.close());
  const inspected = { tls: 'proxy', cert: '../shown.pem', key: '../shown.key' };
  const gate = await startGate(t, {
    proxy: {
      doors: [
        { name: 'wpi', service: 'wpi', listen: '127.0.0.1:0', tls: 'relay' },
        { name: 'inspected', service: 'wpi', listen: '127.0.0.1:0', ...inspected },
      ],
      sites: [{ name: 'default', session_gap_s: 0, max_sessions: 10 * PHONES }],
    },
    wpi: { upstream: service.url, upstream_tls: undefined },
    logLevel: 'info',
  });
  const push = async (devices: readonly string[]): Promise<void> => {
    const lines = devices.map((device) => JSON.stringify({ device })).join('\n');
    const headers = { 'content-type': 'application/x-ndjson' };
    const pushed = await fetch(`${gate.api}/v1/messages`, { method: 'POST', headers, body: lines });
    await pushed.text();
    // Changes are applied in their order, so the last one tells of all.
    await gate.polls(devices.at(-1) ?? '', 202);
  };
  await push(actors.map(({ device }) => device));

  const dialer = createDialer({ maxOpen: AT_ONCE });
  t.teardown(() => dialer.close());
  const items = baseItems();
  const phones = actors.map(({ device, echo, fate }, n): Phone => {
    const phone = phoneAt(
      t,
      { phoneService: `https://${gate.doors[n % 2 === 0 ? 'wpi' : 'inspected']}`, pollUrl: gate.pollUrl },
      device,
      {
        keepAlive: false,
        cookie: echo,
        headers: [`${LABEL}: ${device}`],
        supportsSendSolicited: false,
        baseItems: items,
        dialer,
        onExchange() {
          if (fate === 'vanishes') throw new Error('it does not come back');
        },
      },
    );
    phone.setInCall(fate === 'busy');
    return phone;
  });

  const calling = phones.filter((_, n) => actors[n]?.fate !== 'stays away');
  const polled = await inTurns(calling, AT_ONCE, async (phone) => (await phone.pollNow()).status);
  t.strictSame([...new Set(polled)], [202], 'all are called');
  await Promise.all(phones.map((phone) => phone.idle()));

  const away = actors.filter(({ fate }) => fate === 'stays away');
  const polls = await inTurns(away, AT_ONCE, ({ device }) => gate.poll(device));
  t.strictSame([...new Set(polls)], [202], 'nobody who stays away is quiet');

  const replied = actors.filter(({ fate }) => fate === 'finishes' || fate === 'busy');
  t.equal(service.replies.size, replied.length, 'every reply has reached the service');
  t.strictSame(service.strange, [], 'which never sees our cookie');

  const known = ({ state, sessions }: Account): boolean => state === 'cleared' || sessions.includes('busy');
  const toBeKnown = actors.filter((each) => isTold(each) && replied.includes(each));
  await inTurns(toBeKnown, AT_ONCE, ({ device }) =>
    untilGood(`${device} is known`, () => accountOf(gate, device), known),
  );
  const accounts = await inTurns(actors, AT_ONCE, ({ device }) => accountOf(gate, device));

  t.strictSame(mistaken(actors, accounts, service), [], 'nobody is taken for another');
  t.ok(toBeKnown.length > 200, `${toBeKnown.length} that can be told from others are known`);
  const unknown = actors.filter((each, n) => replied.includes(each) && !known(accounts[n]!)).length;
  t.ok(unknown > 200, `${unknown} cannot be known`);
  t.equal(await warned(gate, 'unidentified'), unknown, 'and each of them is counted');

  await t.test('the same judgement finds a phone that is taken for another', async (t) => {
    const [victim, thief] = [macAfter('00:1A:E8:77:00:01', 0), macAfter('00:1A:E8:77:00:01', 1)];
    await push([victim, thief]);
    let cookie = '';
    const phone = createPhone({
      deviceId: victim,
      service: gate.phoneService,
      contactListen: false,
      keepAlive: false,
      headers: [`${LABEL}: ${victim}`],
      onExchange({ answer }) {
        cookie = /^set-cookie: ([^;]*)/im.exec(answer.toString('latin1'))?.[1] ?? '';
        throw new Error('it does not come back');
      },
    });
    t.teardown(() => phone.close());
    await phone.openSession('solicited');
    // Another phone answers with its cookie, which nobody between can see through.
    const body = Buffer.from(reply('WriteItems'));
    const connection = await createDialer().open(parseTarget(gate.phoneService));
    await connection.request(
      Buffer.concat([
        Buffer.from(
          'POST /DeploymentService/LoginService HTTP/1.1\r\nHost: dls\r\nContent-Type: text/xml\r\n' +
            `${LABEL}: ${thief}\r\nCookie: ${cookie}\r\nContent-Length: ${body.length}\r\n\r\n`,
        ),
        body,
      ]),
    );
    connection.close();
    await gate.polls(victim, 200);
    const both: Actor[] = [victim, thief].map((device) => ({ ...actor(0), device, fate: 'vanishes' }));
    const wrong = mistaken(
      both,
      await inTurns(both, AT_ONCE, ({ device }) => accountOf(gate, device)),
      service,
    );
    t.match(wrong, [`${victim} vanishes, and was cleared`]);
  });
});
