import t from 'tap';
import { commandsOf } from '../fixtures/documents.ts';
import { ADDRESSES, createTopology, whyNoNamespaces } from '../fixtures/namespaces.ts';
import { POLL_URL, SESSION_DOOR, startSplitGate } from '../fixtures/split-gate.ts';

const DEVICE = '00:1a:e8:79:00:01';
const PAGE = 'docs/source-addresses.md';
const RANGE = '10.99.0.0/16';

t.test(
  'a routed range of source addresses needs one line, as the documents say',
  { skip: whyNoNamespaces() },
  async (t) => {
    const topology = await createTopology(t);
    const { inside } = topology;
    // The service on a machine of its own, so that the range has to be led back.
    await inside.run('ip', 'address', 'del', `${ADDRESSES.service}/16`, 'dev', 'eth0');
    const serviceHost = await topology.add('inside', 'service', `${ADDRESSES.service}/16`);
    await inside.run('sh', '-ec', commandsOf(PAGE, 'ip route add local'));
    await serviceHost.run('sh', '-ec', commandsOf(PAGE, 'ip route add 10.99.0.0/16 via'));
    const gate = await startSplitGate(t, topology, { wpi: { source_addresses: RANGE }, serviceHost });
    const phone = await gate.startPhones(
      ['--poll', POLL_URL, '--service', SESSION_DOOR, '--startup', '--mac', DEVICE].concat(
        '--interval',
        '0.25',
        '--spread',
        '0',
      ),
    );
    t.match(await phone.line(({ msg }) => msg === 'session'), { reason: 'start-up', outcome: 'completed' });
    const admin = `http://127.0.0.1:18000/devices/${encodeURIComponent(DEVICE)}`;
    const { sourceIp } = JSON.parse((await serviceHost.fetch('GET', admin)).text) as { sourceIp: string };
    t.equal(sourceIp, '10.99.0.1', 'the service sees the address of the phone');
    const contact = `http://${sourceIp}:8085/contact_dls.html/ContactDLS?ContactMe=true`;
    const done = gate.provision(
      DEVICE,
      [{ action: 'WriteItems', items: { realm: 'called' } }],
      'when it calls',
    );
    t.equal((await serviceHost.fetch('GET', contact)).status, 204);
    t.equal((await done)[0]?.status, 'accepted', 'and calls the phone there');
    t.equal(
      (await serviceHost.fetch('GET', contact.replace('.0.1:', '.0.2:'))).status,
      404,
      'nobody has the next one',
    );
    t.equal((await serviceHost.fetch('GET', contact.replace(sourceIp, ADDRESSES.relay))).status, 404);
  },
);
