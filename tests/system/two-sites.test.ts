import { readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import t from 'tap';
import { CLOSE } from '../../shared/protocol.ts';
import { until } from '../fixtures/faults/until.ts';
import { startGate } from '../fixtures/gate.ts';
import { runProgram, startProgram } from '../fixtures/program.ts';
import { startSecondSite, TWO_SITES } from '../fixtures/second-site.ts';
import { createPhone } from '../phones/index.ts';

/** One phone of each customer, with one and the same MAC. */
const MAC = '00:1A:E8:2E:00:01';
const PLACES = 12;
const FLOOD = 30;

t.test('two customers of one proxy, with phones of the same MACs', async (t) => {
  const [north, south] = TWO_SITES.sites;
  const gate = await startGate(t, {
    site: 'north',
    proxy: {
      ...TWO_SITES,
      sites: [{ ...north, session_connections: PLACES, poll_connections: PLACES }, south],
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
    t.equal(await gate.poll(MAC), 202);
    t.equal(await other.poll(MAC), 200);
    t.equal(await other.poll(MAC, '/dcmp/'), 200, "the other's path at this one's door is this one's phone");
    t.equal(await pending(other), undefined, "the other's relay has never heard of it");
    await other.call('POST', `/v1/devices/${MAC}/messages?wait=proxy`, {});
    t.equal(await other.poll(MAC), 202);
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
    const phone = createPhone({
      deviceId: MAC,
      service: other.phoneService,
      pollUrl: `${other.pollDoor}/anything/`,
      pollIntervalMs: 0,
      contactListen: false,
    });
    t.teardown(() => phone.close());
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
    const phone = createPhone({
      deviceId: MAC,
      service: other.phoneService,
      pollUrl: `${other.pollDoor}/anything/`,
      pollIntervalMs: 0,
      contactListen: false,
    });
    t.teardown(() => phone.close());
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
      for (let i = 0; i < FLOOD; i++) {
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
        async () => (await figure(refused)) + (await figure(evicted)) >= FLOOD - PLACES,
      );
      t.ok((await figure('sallyport_site_poll_connections\\{site="north"\\}')) <= PLACES);
      for (let i = 0; i < FLOOD; i++) t.equal(await other.poll(MAC), 200);
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
});
