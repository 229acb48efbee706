import { fileURLToPath } from 'node:url';
import t from 'tap';
import { ADDRESSES, createTopology, packets, whyNoNamespaces } from '../fixtures/namespaces.ts';
import type { Host } from '../fixtures/namespaces.ts';
import { POLL_URL, SESSION_DOOR, startSplitGate } from '../fixtures/split-gate.ts';
import type { Program } from '../fixtures/program.ts';
import { PATIENCE_MS, untilGood } from '../fixtures/until.ts';

const DEVICE = '00:1a:e8:00:00:01';
const OTHER_DEVICE = '00:1a:e8:00:00:02';
/** Long enough for a SYN to be sent twice: what is dropped stays silent, what is there answers in milliseconds. */
const KNOCK_MS = 1_500;
const CANARY_PORT = 22;

const ruleset = (name: string): string =>
  fileURLToPath(new URL(`../../deploy/nftables/${name}.nft`, import.meta.url));

/** What listens on addresses of the inside network, as `host:port`. */
async function listeners(inside: Host): Promise<string[]> {
  const found = (await inside.run('ss', '-Hltn')).split('\n').flatMap((line) => line.split(/\s+/)[3] ?? []);
  const addresses = [ADDRESSES.relay, ADDRESSES.service];
  const all = found.flatMap((address) => {
    const [host, port] = [address.replace(/:\d+$/, ''), address.replace(/.*:/, '')];
    if (host.startsWith('127.') || host === '[::1]') return [];
    return addresses.some((own) => own === host) ? [address] : addresses.map((own) => `${own}:${port}`);
  });
  return [...new Set(all)].sort();
}

/** Tries to connect from a host to everything that listens inside: what that came to, and how many the canary saw. */
async function knock(
  from: Host,
  inside: Host,
  withinMs = KNOCK_MS,
): Promise<{ outcomes: string[]; seen: number }> {
  const before = (await inside.visitors()).length;
  const attempts = (await listeners(inside)).map((door) => {
    const [host = '', port] = door.split(':');
    return from.connect(host, Number(port), withinMs);
  });
  const outcomes = [...new Set(await Promise.all(attempts))];
  const seen = async (): Promise<number> => (await inside.visitors()).length - before;
  // Who is connected is in the canary's queue, and may not have been let in yet.
  if (outcomes.includes('connected')) await untilGood('the canary has seen it', seen, (count) => count > 0);
  return { outcomes, seen: await seen() };
}

/** Waits for a line that the phone says from now on. */
function nextLine(phone: Program, facts: Record<string, unknown>): Promise<unknown> {
  const from = phone.lines.length;
  return phone.line(
    (line) =>
      Object.entries(facts).every(([name, value]) => line[name] === value) &&
      phone.lines.indexOf(line) >= from,
  );
}

t.test('a gate across real networks', { skip: whyNoNamespaces() }, async (t) => {
  const topology = await createTopology(t);
  const { dmz, inside, firewall, phones } = topology;
  await firewall.run('nft', '-f', ruleset('firewall'));
  await dmz.run('nft', '-f', ruleset('proxy'));
  await inside.run('nft', '-f', ruleset('relay'));
  const gate = await startSplitGate(t, topology);
  await inside.listen(ADDRESSES.relay, CANARY_PORT, 'SSH-2.0-canary\r\n');
  const startPhone = (device: string): Promise<Program> =>
    gate.startPhones(
      ['--poll', POLL_URL, '--service', SESSION_DOOR, '--startup', '--mac', device].concat(
        ...['--interval', '0.25', '--spread', '0'],
      ),
    );
  const phone = await startPhone(DEVICE);
  const intoInside = (): Promise<number> => packets(firewall, 'sallyport_firewall', 'into_inside');

  await t.test(
    'phones are provisioned through it with every ruleset of deploy/nftables in force',
    async (t) => {
      const startUp = await phone.line(({ msg }) => msg === 'session');
      t.match(
        startUp,
        { reason: 'start-up', outcome: 'completed' },
        'the start-up session reaches the service',
      );
      await nextLine(phone, { msg: 'poll', status: 200 });
      const provisioned = gate.provision(
        DEVICE,
        [{ action: 'WriteItems', items: { realm: 'gate' } }],
        'when it calls',
      );
      const called = nextLine(phone, { msg: 'poll', status: 202 });
      const session = nextLine(phone, { msg: 'session', reason: 'solicited' });
      const pushed = await gate.call('POST', `/v1/devices/${DEVICE}/messages?wait=proxy`, {});
      t.equal(pushed.status, 201, 'the push is accepted');
      await called;
      t.match(await session, { outcome: 'completed' });
      t.equal((await provisioned)[0]?.status, 'accepted', 'the service wrote its items');
      const state = async (): Promise<unknown> =>
        (await gate.call('GET', `/v1/messages/${String(pushed.body['id'])}`)).body['state'];
      await untilGood('it is cleared', state, (now) => now === 'cleared');
      await nextLine(phone, { msg: 'poll', status: 200 });
    },
  );

  await t.test('the DMZ host begins no connection, by its own ruleset', async (t) => {
    const before = await packets(dmz, 'sallyport_proxy', 'dialled');
    t.equal(await dmz.connect(ADDRESSES.relay, CANARY_PORT, KNOCK_MS), 'timeout');
    t.ok((await packets(dmz, 'sallyport_proxy', 'dialled')) > before, 'it dropped the attempt');
  });

  // From here on only the firewall stands between: whoever took the hosts over would have removed their rulesets.
  await dmz.run('nft', 'delete', 'table', 'inet', 'sallyport_proxy');
  await inside.run('nft', 'delete', 'table', 'inet', 'sallyport_relay');

  await t.test('nothing inside can be connected to from the DMZ or the phones', async (t) => {
    const doors = await listeners(inside);
    for (const [what, door] of Object.entries({
      'the service': `${ADDRESSES.service}:18443`,
      'the API': `${ADDRESSES.relay}:9470`,
      'the catcher': `${ADDRESSES.relay}:8085`,
      'the canary': `${ADDRESSES.relay}:${CANARY_PORT}`,
    })) {
      t.ok(doors.includes(door), `${what} listens at ${door}, so it is tried`);
    }
    for (const [name, from] of Object.entries({ DMZ: dmz, phones })) {
      const before = await intoInside();
      t.strictSame(
        await knock(from, inside),
        { outcomes: ['timeout'], seen: 0 },
        `${name}: silence, and nobody seen`,
      );
      const dropped = (await intoInside()) - before;
      t.ok(dropped >= doors.length, `${name}: the rule dropped ${dropped} packets for ${doors.length} doors`);
      t.equal(
        await from.connect(ADDRESSES.relay, 1, KNOCK_MS),
        'timeout',
        `${name}: a closed port is as silent`,
      );
    }
    t.equal(
      await phones.connect(ADDRESSES.proxy, 8080, PATIENCE_MS),
      'connected',
      'phones reach the poll door',
    );
    t.equal(await phones.connect(ADDRESSES.proxy, 9443, KNOCK_MS), 'timeout', 'but not the relay door');
    const elsewhere = await packets(firewall, 'sallyport_firewall', 'elsewhere');
    t.equal(await dmz.connect(ADDRESSES.phone, 80, KNOCK_MS), 'timeout', 'nor does the DMZ reach phones');
    t.ok((await packets(firewall, 'sallyport_firewall', 'elsewhere')) > elsewhere);
  });

  await t.test('without the firewall’s rule the same check finds everything reachable', async (t) => {
    const rules = await firewall.run('nft', '-a', 'list', 'chain', 'inet', 'sallyport_firewall', 'forward');
    const handle = /counter name "into_inside" drop # handle (\d+)/.exec(rules)?.[1] ?? 'none';
    const where = ['rule', 'inet', 'sallyport_firewall', 'forward', 'handle', handle];
    await firewall.run('nft', 'replace', ...where, 'oifname', 'inside0', 'accept');
    for (const [name, from] of Object.entries({ DMZ: dmz, phones })) {
      t.strictSame(
        await knock(from, inside, PATIENCE_MS),
        { outcomes: ['connected'], seen: 1 },
        `from the ${name}`,
      );
    }
  });

  await t.test('where the firewall has no such rule, the relay host’s own ruleset holds', async (t) => {
    await inside.run('nft', '-f', ruleset('relay'));
    for (const from of [dmz, phones]) {
      const before = await packets(inside, 'sallyport_relay', 'from_outside');
      t.strictSame(await knock(from, inside), { outcomes: ['timeout'], seen: 0 });
      t.ok((await packets(inside, 'sallyport_relay', 'from_outside')) > before, 'it dropped the attempts');
    }
  });

  await t.test('loading a ruleset again puts everything back', async (t) => {
    await inside.run('nft', 'delete', 'table', 'inet', 'sallyport_relay');
    await firewall.run('nft', '-f', ruleset('firewall'));
    t.strictSame(await knock(dmz, inside), { outcomes: ['timeout'], seen: 0 });
  });

  await t.test(
    'a service that knows nothing of the gate reaches its phone, by the link that was up all along',
    async (t) => {
      // A phone of its own: the other one is left alone for a minute after its session.
      const other = await startPhone(OTHER_DEVICE);
      await other.line(({ msg }) => msg === 'session');
      const actions = [{ action: 'ReadItems', items: { realm: '' } }];
      const results = await gate.provision(OTHER_DEVICE, actions, 'by contact-me');
      t.equal(results[0]?.status, 'accepted');
      t.notOk(gate.relay.lines.some(({ msg }) => msg === 'link down'));
    },
  );
});
