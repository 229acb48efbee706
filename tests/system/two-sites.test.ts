import { readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { CLOSE } from '../../shared/protocol.ts';
import { until } from '../fixtures/faults/until.ts';
import { startGate } from '../fixtures/gate.ts';
import { startPolling } from '../fixtures/polling.ts';
import { runProgram, startProcess, startProgram } from '../fixtures/program.ts';
import { startBystander } from '../fixtures/bystander.ts';
import { phoneAt } from '../fixtures/phone-at.ts';
import { startSecondSite, TWO_SITES } from '../fixtures/second-site.ts';

/** One phone of each customer, with one and the same MAC. */
const MAC = '00:1A:E8:2E:00:01';
const PLACES = 12;
const FLOOD = 30;
/** The same for polls: enough for those that {@link POLLS} opens while a busy machine lets them wait. */
const POLL_PLACES = 60;
const POLL_FLOOD = 120;
/** What one relay may take of each second of the proxy, in milliseconds: little, so that what is saved up is soon used. */
const SHARE_MS = 20;
/** Polls beside a flood of frames, one each {@link EVERY_MS}, and what 99 in 100 of them may take at most. */
const POLLS = 100;
const EVERY_MS = 20;
const P99_MS = 500;
/** On a machine that is slow by itself: how many times as long as at a proxy that nobody floods, at the same time. */
const TIMES_CONTROL = 3;

t.test('two customers of one proxy, with phones of the same MACs', async (t) => {
  const [north, south] = TWO_SITES.sites;
  const gate = await startGate(t, {
    site: 'north',
    proxy: {
      ...TWO_SITES,
      sites: [{ ...north, session_connections: PLACES, poll_connections: POLL_PLACES }, south],
      limits: { relay_ms_per_s: SHARE_MS },
    },
  });
  const other = await startSecondSite(t, gate);
  const readiness = async (site: string): Promise<number> =>
    (await fetch(`${gate.ops}/readyz?site=${site}`)).status;
  const pending = async (site: typeof gate | typeof other): Promise<unknown> =>
    (await site.call('GET', `/v1/devices/${MAC}`)).body['pending'];
  const proxy = (...args: string[]) => runProgram('sallyport-proxy', [...args, '--config', gate.proxyConfig]);

  await t.test('what is pending for the one is nothing to the other', async (t) => {
    await gate.call('POST', `/v1/devices/${MAC}/messages?wait=proxy`, {});
    await gate.polls(MAC, 202);
    // Before it polls there: of that the other's relay may hear within a second.
    t.equal(await pending(other), undefined, "the other's relay has never heard of it");
    t.equal(await other.poll(MAC), 200);
    t.equal(await other.poll(MAC, '/dcmp/'), 200, "the other's path at this one's door is this one's phone");
    await other.call('POST', `/v1/devices/${MAC}/messages?wait=proxy`, {});
    await until('the other is called', async () => (await other.poll(MAC)) === 202);
    await gate.call('DELETE', `/v1/devices/${MAC}/messages`);
    await gate.polls(MAC, 200);
    t.equal(await other.poll(MAC), 202, 'cleared for the one, not for the other');
    const url = gate.pollUrl.replace('/dcmp/', '/anything/');
    t.equal(
      (await fetch(`${url}contact-me?device-id=${MAC}`)).status,
      404,
      'who has a door is polled there only',
    );
  });

  await t.test('a session goes where its door leads', async (t) => {
    const before = gate.service.requests.length;
    const phone = phoneAt(
      t,
      { phoneService: other.phoneService, pollUrl: `${other.pollDoor}/anything/` },
      MAC,
    );
    void other.service.enqueue(MAC, [{ action: 'WriteItems', items: { realm: 'south' } }]);
    t.match(await phone.openSession('solicited'), { outcome: 'completed' });
    await until('it is cleared', async () => (await other.poll(MAC)) === 200);
    t.ok(other.service.requests.length > 0);
    t.equal(gate.service.requests.length, before, "the other's service has seen nothing of it");
  });

  await t.test('a flood of sessions at the one leaves places to the other', async (t) => {
    const [host = '', port = ''] = gate.doors['wpi']!.split(':');
    const sockets: Socket[] = [];
    t.teardown(() => sockets.forEach((socket) => socket.destroy()));
    for (let i = 0; i < FLOOD; i++) {
      const socket = connect({ host, port: Number(port) });
      socket.on('error', () => undefined);
      sockets.push(socket);
    }
    const metrics = async (): Promise<string> => (await fetch(`${gate.ops}/metrics`)).text();
    await until('those that are too many are refused', async () =>
      (await metrics()).includes(
        `sallyport_session_refused_total{door="wpi",reason="site_full"} ${FLOOD - PLACES}`,
      ),
    );
    const phone = phoneAt(
      t,
      { phoneService: other.phoneService, pollUrl: `${other.pollDoor}/anything/` },
      MAC,
    );
    t.match(await phone.openSession('start-up'), { outcome: 'completed' });
    t.match(await metrics(), /sallyport_site_polls_total\{site="south",status="202"\} [1-9]/);
  });

  await t.test(
    'a flood of polls at the one is refused at its quota, and the other is polled on',
    async (t) => {
      const { host } = new URL(gate.pollUrl);
      const [address = '', port = ''] = host.split(':');
      const sockets: Socket[] = [];
      t.teardown(() => sockets.forEach((socket) => socket.destroy()));
      // Each polls once and begins a second poll, so that none of them idles.
      const request = `GET /dcmp/contact-me?device-id=flood HTTP/1.1\r\nHost: ${host}\r\n\r\nGET /`;
      for (let i = 0; i < POLL_FLOOD; i++) {
        const socket = connect({ host: address, port: Number(port) }, () => void socket.write(request));
        socket.on('error', () => undefined);
        sockets.push(socket);
      }
      const figure = async (name: string): Promise<number> => {
        const text = await (await fetch(`${gate.ops}/metrics`)).text();
        return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1]);
      };
      const refused = 'sallyport_site_poll_connections_refused_total\\{site="north"\\}';
      const evicted = 'sallyport_poll_connections_cut_total\\{reason="evicted"\\}';
      await until(
        'those that are too many are gone',
        async () => (await figure(refused)) + (await figure(evicted)) >= POLL_FLOOD - POLL_PLACES,
      );
      t.ok((await figure('sallyport_site_poll_connections\\{site="north"\\}')) <= POLL_PLACES);
      for (let i = 0; i < POLL_FLOOD; i++) t.equal(await other.poll(MAC), 200);
      t.equal(await figure('sallyport_site_poll_connections_refused_total\\{site="south"\\}'), 0);
    },
  );

  await t.test('a name is of one customer', async (t) => {
    const { code, stderr } = await proxy('invite', 'hq-1', '--site', 'south');
    t.equal(code, 2);
    t.match(stderr, /relay hq-1 is one of site north already/);
    t.match(await proxy('revoke', 'hq-1', '--site', 'south'), {
      code: 1,
      stderr: /is one of site north; it stays/,
    });
    const { stdout } = await proxy('relays', '--site', 'south', '--json');
    t.match(JSON.parse(stdout), [{ name: 'south-1', site: 'south' }]);
    t.equal((JSON.parse(stdout) as object[]).length, 1);
  });

  await t.test('a relay that claims the other site is refused, and the other notices nothing', async (t) => {
    await gate.relay.stop();
    const config = await readFile(gate.relayConfig, 'utf8');
    await writeFile(gate.relayConfig, config.replace('site: north', 'site: south'));
    const claiming = await startProgram('sallyport-relay', ['run', '--config', gate.relayConfig]);
    await gate.proxy.line(
      ({ msg, site, reason }) =>
        msg === 'relay link closed' && site === 'north' && /site/.test(String(reason)),
      20_000,
    );
    t.equal(await readiness('south'), 200);
    t.equal(await readiness('north'), 503);
    t.match(await proxy('health', '--site', 'south'), { code: 0, stdout: /site south has its relay/ });
    t.match(await proxy('health', '--site', 'north'), { code: 1 });
    await claiming.stop();
    t.notOk(other.relay.lines.some(({ msg }) => msg === 'link down'));
    await writeFile(gate.relayConfig, config);
  });

  await t.test('revoking the relay of one site touches no other', async (t) => {
    await gate.startRelay();
    t.match(await proxy('revoke', 'south-1', '--site', 'south'), { code: 0 });
    await other.relay.line(({ msg, code }) => msg === 'link down' && code === CLOSE.revoked);
    t.equal(await readiness('south'), 503);
    t.equal(await readiness('north'), 200);
    t.notOk(gate.relay.lines.some(({ msg }) => msg === 'link down'));
  });

  await t.test('a relay that floods is read more slowly, and the other site is served on', async (t) => {
    const dir = join(gate.dir, 'rogue');
    const { stdout } = await proxy('invite', 'rogue', '--site', 'south');
    const joined = await runProgram('sallyport-relay', [
      'join',
      stdout.trim().split('\n').at(-1)!,
      '--dir',
      dir,
    ]);
    t.equal(joined.code, 0, joined.stderr);
    await gate.call('POST', `/v1/devices/${MAC}/messages?wait=proxy`, {});
    await gate.polls(MAC, 202);
    const polling = await startPolling(t, {
      path: `/dcmp/contact-me?device-id=${MAC}`,
      doors: [new URL(gate.pollUrl).host, await startBystander(t, gate.dir)],
      everyMs: EVERY_MS,
    });
    const script = new URL('../fixtures/rogue-relay.ts', import.meta.url).pathname;
    const command = [process.execPath, script, join(dir, 'relay.yaml')];
    const rogue = await startProcess('rogue', [...command, 'marks']);
    t.teardown(() => rogue.stop());
    const heldBack = (): boolean =>
      gate.proxy.lines.some(
        ({ msg, relay }) => String(msg).startsWith('relay held back') && relay === 'rogue',
      );
    const [round] = await Promise.all([
      polling.polls(POLLS),
      (async () => {
        // As long as it has something left: what the other customer pushes gets through.
        for (let n = 0; n < 5 || !heldBack(); n++) {
          const pushed = await gate.call('POST', `/v1/devices/001ae82e${n}/messages?wait=proxy`, {});
          t.not(pushed.body['waited'], false, 'the proxy has it in time');
        }
      })(),
    ]);
    const [door, control] = round;
    if (door === undefined || control === undefined) throw new Error('two doors were to be polled');
    t.same(Object.keys(door.statuses), ['202'], 'every poll is answered, and rightly');
    const most = Math.max(P99_MS, TIMES_CONTROL * control.p99);
    t.comment(`p99 ${door.p99.toFixed(1)} ms; where nobody floods ${control.p99.toFixed(1)} ms`);
    t.ok(door.p99 <= most, `99 in 100 polls are answered within ${most.toFixed(0)} ms`);
    t.notOk(gate.relay.lines.some(({ msg }) => msg === 'link down'));

    const metrics = async (): Promise<string> => (await fetch(`${gate.ops}/metrics`)).text();
    const busy = async (): Promise<{ ms: number; at: number }> => {
      const line = /^sallyport_link_busy_seconds_total\{site="south",relay="rogue"\} (.*)$/m;
      return { ms: 1_000 * Number(line.exec(await metrics())?.[1]), at: performance.now() };
    };
    const from = await busy();
    await polling.polls(POLLS);
    const to = await busy();
    const part = (to.ms - from.ms) / (to.at - from.at);
    t.ok(part < 0.2, `then it takes ${part.toFixed(3)} of the proxy, of which ${SHARE_MS / 1_000} are its`);
    t.match(
      await metrics(),
      /^sallyport_link_held_back_seconds_total\{site="south",relay="rogue"\} [\d.]*[1-9]/m,
    );
    t.match(await metrics(), /^sallyport_link_held_back_seconds_total\{site="north",relay="hq-1"\} 0$/m);
    t.notOk(
      rogue.lines.some(({ msg }) => msg === 'cut'),
      'who is slow to be read is not cut',
    );

    await rogue.stop();
    const beating = await startProcess('rogue', [...command, 'pings']);
    t.teardown(() => beating.stop());
    t.match(await beating.line(({ msg }) => msg === 'cut', 60_000), {
      code: CLOSE.violation,
      reason: /pings/,
    });

    // By next to nothing on its stream lanes: eight at once, for phones of its own.
    await beating.stop();
    const trickling = await startProcess('rogue', [...command, 'bytes', gate.doors['wpi-south']!]);
    t.teardown(() => trickling.stop());
    await gate.proxy.line(
      ({ msg, lane }) => String(msg).startsWith('relay held back') && lane === 'stream',
      60_000,
    );
    const pushed = await gate.call('POST', '/v1/devices/001ae82e0009/messages?wait=proxy', {});
    t.not(pushed.body['waited'], false);
    t.match(await phoneAt(t, gate, MAC).openSession('solicited'), { outcome: 'completed' });
    t.notOk(gate.relay.lines.some(({ msg }) => msg === 'link down'));
    t.notOk(trickling.lines.some(({ msg }) => msg === 'cut'));
  });
});
