import { readFile, writeFile } from 'node:fs/promises';
import t from 'tap';
import { parse, stringify } from 'yaml';
import { startGate } from '../fixtures/gate.ts';
import { phoneOf } from '../fixtures/gate-phone.ts';
import type { Gate } from '../fixtures/gate.ts';
import { runProgram, startProgram } from '../fixtures/program.ts';
import { startTinyproxy, whyNoTinyproxy } from '../fixtures/tinyproxy.ts';

const DEVICE = '00:1a:e8:00:00:01';
const skip = whyNoTinyproxy();
const AUTH = { user: 'relay', password: 'open-sesame' };
/** As it may stand in a URL, where a password with an @ has to be written like this. */
const CREDENTIALS = `${AUTH.user}:${AUTH.password.replace('-', '%2D')}`;
const WRONG = 'wrong-sesame';
/** A try that fails waits half a second at most for the second one, a second for the third; the rest is for a busy machine. */
const TRIES_MS = 30_000;

/** Where the gate's relay dials, as `host:port`. */
async function relayDoor(gate: Gate): Promise<string> {
  const { proxies } = parse(await readFile(gate.relayConfig, 'utf8')) as { proxies: { url: string }[] };
  return new URL(proxies[0]!.url.replace('wss:', 'https:')).host;
}

/** Has the relay's config say another `via`. */
async function setVia(gate: Gate, via: string): Promise<void> {
  const config = parse(await readFile(gate.relayConfig, 'utf8')) as { proxies: object[] };
  config.proxies = config.proxies.map((proxy) => ({ ...proxy, via }));
  await writeFile(gate.relayConfig, stringify(config));
}

for (const auth of [null, AUTH]) {
  const how = auth === null ? 'that asks for nothing' : 'that wants a password';
  t.test(`a relay joins, links and serves phones through an HTTP proxy ${how}`, { skip }, async (t) => {
    const tinyproxy = await startTinyproxy(t, auth ?? undefined);
    const via = `http://${auth === null ? '' : `${CREDENTIALS}@`}${tinyproxy.address}`;
    const gate = await startGate(t, { via });
    const phone = phoneOf(t, gate, DEVICE);
    t.equal((await phone.start())?.outcome, 'completed', 'a session goes through');
    t.equal((await gate.call('POST', `/v1/devices/${DEVICE}/messages?wait=proxy`, {})).status, 201);
    t.equal(await gate.poll(DEVICE), 202, 'and so does a push');
    const connects = tinyproxy.log().split(`CONNECT ${await relayDoor(gate)} `).length - 1;
    t.equal(connects, 3, 'the HTTP proxy saw the join, the control lane and the stream lane');
    t.notMatch(JSON.stringify(gate.relay.lines), AUTH.password, 'no password in the log');
  });
}

// Tinyproxy answers 407 where there is no password, and 401 where it is wrong.
const LOGINS = {
  'a missing password': { login: '', answer: '407 Proxy Authentication Required' },
  'a wrong password': { login: `${AUTH.user}:${WRONG}@`, answer: '401 Unauthorized' },
};
t.test(
  'a refused password is named in the log, without being told, and the relay keeps trying',
  { skip },
  async (t) => {
    const tinyproxy = await startTinyproxy(t, AUTH);
    const gate = await startGate(t, { via: `http://${CREDENTIALS}@${tinyproxy.address}` });
    await gate.relay.stop();
    const door = await relayDoor(gate);
    for (const [what, { login, answer }] of Object.entries(LOGINS)) {
      await setVia(gate, `http://${login}${tinyproxy.address}`);
      const relay = await startProgram('sallyport-relay', ['run', '--config', gate.relayConfig]);
      t.teardown(() => relay.stop());
      const why =
        `the HTTP proxy ${tinyproxy.address} answered ${answer} to CONNECT ${door}; ` +
        'check user and password in via';
      const tries = (): number => relay.lines.filter(({ msg }) => msg === 'link down').length;
      t.match(
        await relay.line(({ msg }) => msg === 'link down'),
        { why },
        `${what}: the log says where to look`,
      );
      await relay.line(() => tries() >= 3, TRIES_MS);
      const { body } = await gate.call('GET', '/v1/proxies');
      t.match(body, { proxies: [{ why }] }, 'and so does the API');
      const said = JSON.stringify([relay.lines, body]);
      t.notMatch(said, WRONG, 'the password is told nowhere');
      t.notMatch(said, Buffer.from(`${AUTH.user}:${WRONG}`).toString('base64'), 'nor the header made of it');

      // As if the password had been mended at the other end.
      await tinyproxy.stop();
      await tinyproxy.start(login === '' ? undefined : { ...AUTH, password: WRONG });
      await relay.line(({ msg }) => msg === 'link up', 2 * TRIES_MS);
      t.pass('once it is accepted the link comes up by itself');
      await relay.stop();
      await tinyproxy.stop();
      await tinyproxy.start(AUTH);
    }
  },
);

t.test(
  'a join with a wrong password says so, keeps it to itself and leaves the invite good',
  { skip },
  async (t) => {
    const tinyproxy = await startTinyproxy(t, AUTH);
    const gate = await startGate(t);
    const invite = await runProgram('sallyport-proxy', ['invite', 'hq-2', '--config', gate.proxyConfig]);
    const args = ['join', invite.stdout.trim().split('\n').at(-1)!, '--dir', `${gate.dir}/second`, '--via'];
    const refused = await runProgram('sallyport-relay', [
      ...args,
      `http://${AUTH.user}:${WRONG}@${tinyproxy.address}`,
    ]);
    t.equal(refused.code, 1);
    t.match(refused.stderr, `the HTTP proxy ${tinyproxy.address} answered 401 Unauthorized`);
    t.notMatch(refused.stderr, WRONG);
    const taken = await runProgram('sallyport-relay', [
      ...args,
      `http://${CREDENTIALS}@${tinyproxy.address}`,
    ]);
    t.equal(taken.code, 0, taken.stderr);
  },
);

t.test('the link comes back when the HTTP proxy does', { skip }, async (t) => {
  const tinyproxy = await startTinyproxy(t, AUTH);
  const gate = await startGate(t, { via: `http://${CREDENTIALS}@${tinyproxy.address}` });
  await gate.call('POST', `/v1/devices/${DEVICE}/messages?wait=proxy`, {});
  await gate.polls(DEVICE, 202);
  await tinyproxy.stop();
  await gate.polls(DEVICE, 200);
  const refused = `cannot reach ${await relayDoor(gate)} through ${tinyproxy.address}`;
  await gate.relay.line(({ msg, why }) => msg === 'link down' && String(why).startsWith(refused));
  t.pass('the log names the HTTP proxy that is gone');
  await tinyproxy.start(AUTH);
  await gate.polls(DEVICE, 202, 2 * TRIES_MS);
  t.equal(await gate.poll(DEVICE), 202, 'what is pending is offered again');
});
