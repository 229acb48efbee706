import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { parse, stringify } from 'yaml';
import { until } from '../fixtures/faults/until.ts';
import { startGate } from '../fixtures/gate.ts';
import { startNameServer } from '../fixtures/name-server.ts';
import { startProgram } from '../fixtures/program.ts';

const PHONE = '00:1A:E8:2C:00:01';
const FIRST = '127.0.0.1';
const SECOND = '127.0.0.2';

t.test('a relay links to each address of a name, as they come and go', async (t) => {
  const names = await startNameServer(t);
  const gate = await startGate(t);
  await gate.relay.stop();

  // The second proxy is the first one's copy at another address: same key, same relays, nothing shared from then on.
  const dir = join(gate.dir, 'second');
  await cp(join(gate.dir, 'proxy'), dir, { recursive: true });
  const config = parse(await readFile(join(dir, 'proxy.yaml'), 'utf8')) as Record<string, object>;
  const { listen } = config['relay'] as { listen: string };
  const port = listen.replace(/.*:/, '');
  const elsewhere = (each: object): object => ({ ...each, listen: `${SECOND}:0` });
  const second = {
    ...config,
    poll: (config['poll'] as object[]).map(elsewhere),
    doors: (config['doors'] as object[]).map(elsewhere),
    relay: { ...config['relay'], listen: `${SECOND}:${port}` },
    ops: { listen: '127.0.0.1:0' },
  };
  await writeFile(join(dir, 'proxy.yaml'), stringify(second));
  const program = await startProgram('sallyport-proxy', ['run', '--config', join(dir, 'proxy.yaml')]);
  t.teardown(() => program.stop());
  const secondPoll = `http://${(program.ready['poll'] as string[])[0]}/dcmp/contact-me?device-id=${PHONE}`;

  const relay = parse(await readFile(gate.relayConfig, 'utf8')) as { proxies: { pin: string }[] };
  const url = `wss://gate.test:${port}`;
  const named = {
    url,
    pin: relay.proxies[0]!.pin,
    resolve: 'all',
    resolve_interval_s: 1,
    resolve_grace_s: 2,
    resolve_by: [names.address],
  };
  await writeFile(gate.relayConfig, stringify({ ...relay, proxies: [named] }));
  names.zone = { A: [FIRST], AAAA: [] };
  await gate.startRelay();

  const shown = async (): Promise<string[]> => {
    const { body } = await gate.call('GET', '/v1/proxies');
    return (body['proxies'] as { url: string; state: string }[]).map((each) => `${each.url} ${each.state}`);
  };
  const linked = (...addresses: string[]): Promise<void> =>
    until(`linked to ${addresses.join(', ')}`, async () => {
      const wanted = addresses.map((address) => `${url}#${address} up`).toSorted();
      return JSON.stringify((await shown()).toSorted()) === JSON.stringify(wanted);
    });

  await linked(FIRST);
  names.zone = { A: [FIRST, SECOND], AAAA: [] };
  await linked(FIRST, SECOND);
  const pushed = await gate.call('POST', `/v1/devices/${PHONE}/messages?wait=proxy`, {});
  t.same((pushed.body['proxies'] as string[]).toSorted(), [`${url}#${FIRST}`, `${url}#${SECOND}`]);
  t.equal(await gate.poll(PHONE), 202);
  const polledSecond = async (): Promise<number> => (await fetch(secondPoll)).status;
  t.equal(await polledSecond(), 202);
  const metrics = await (await fetch(`${gate.api}/metrics`)).text();
  for (const address of [FIRST, SECOND]) {
    t.match(metrics, `sallyport_link_up{proxy="${url}#${address}"} 1`, 'metrics per address');
  }

  names.zone = 'failure';
  await gate.relay.line(({ msg }) => msg === 'proxies cannot be looked up; those known stay');
  t.same((await shown()).length, 2, 'a name server that is down takes no link down');

  names.zone = { A: [SECOND], AAAA: [] };
  await linked(SECOND);
  await gate.relay.line(({ msg, address }) => msg === 'proxy gone from its name' && address === FIRST);
  t.equal((await fetch(`${gate.api}/readyz`)).status, 200, 'what is gone is missed by nobody');
  await gate.polls(PHONE, 200);
  t.equal(await polledSecond(), 202);

  names.zone = { A: [FIRST, SECOND], AAAA: [] };
  await linked(FIRST, SECOND);
  await gate.polls(PHONE, 202);
});

t.test('a name without an address is told as a proxy that is down', async (t) => {
  const names = await startNameServer(t);
  const gate = await startGate(t);
  await gate.relay.stop();
  const relay = parse(await readFile(gate.relayConfig, 'utf8')) as { proxies: { pin: string }[] };
  const named = {
    url: 'wss://nowhere.test:9443',
    pin: relay.proxies[0]!.pin,
    resolve: 'ipv4',
    resolve_by: [names.address],
  };
  await writeFile(gate.relayConfig, stringify({ ...relay, proxies: [named] }));
  const program = await startProgram('sallyport-relay', ['run', '--config', gate.relayConfig]);
  t.teardown(() => program.stop());
  await until('the lookup has failed', () => names.questions() > 0);
  await until('it is told', async () => {
    const answer = await fetch(`http://${String(program.ready['api'])}/readyz`);
    t.equal(answer.status, 503);
    const { reasons } = (await answer.json()) as { reasons: string[] };
    return /nowhere\.test.*cannot look up nowhere\.test: it has no address/.test(reasons.join('\n'));
  });
});
