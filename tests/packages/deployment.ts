import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { createAuthority } from '../fixtures/certificates.ts';
import type { Authority } from '../fixtures/certificates.ts';
import { readDocument, ROOT } from '../fixtures/documents.ts';
import { ADDRESSES, createTopology } from '../fixtures/namespaces.ts';
import type { Topology } from '../fixtures/namespaces.ts';
import { startProcess } from '../fixtures/program.ts';
import { follow } from './follow.ts';
import type { Expected } from './follow.ts';
import { createMachine, whyNoSystemd } from './machine.ts';
import type { Machine } from './machine.ts';

const PAGE = 'docs/deployment.md';
const SERVICE = fileURLToPath(new URL('../fixtures/services/plain-main.ts', import.meta.url));

/** What stands once the page was followed. */
export interface Deployment {
  topology: Topology;
  machines: Record<'firewall' | 'proxy' | 'relay' | 'phones', Machine>;
  /**
   * A further machine, in the network of a namespace.
   *
   * @param wrap - goes in front of a command to run it there
   * @param runsUnits - has it run units by a systemd, as far as this machine allows
   */
  machineOf(wrap: string[], runsUnits?: boolean): Promise<Machine>;
  /** Who signed the service's certificate and the one that phones are shown. */
  authority: Authority;
}

/** The host that a heading speaks of. */
const HOSTS: [heading: RegExp, host: 'firewall' | 'proxy' | 'relay' | 'phones'][] = [
  [/firewall/, 'firewall'],
  [/proxy.s host/, 'proxy'],
  [/relay.s host/, 'relay'],
  [/phones$/, 'phones'],
];

/** Every command of the page that prints something worth a look, in order. */
const EXPECTED: Expected[] = [
  ['runuser -u sallyport-proxy -- sallyport-proxy init', /wrote .*proxy\.yaml/],
  ['sallyport-proxy check', /is fine: poll doors: 1, session doors: 2, sites: 1/],
  ['curl -s -o', /^200\n$/],
  ['runuser -u sallyport-proxy -- sallyport-proxy invite', /\nsallyport-join-1\.\S+\n$/],
  ['runuser -u sallyport-relay -- sallyport-relay join', /relay hq-1 has joined site default/],
  ['sallyport-relay check', /is fine: proxies: 1, services: 2/],
  ['sallyport-relay status', /wss:\S+ +up [^]*\nwpi +wpi +up /],
  ['sallyport-relay push', /held/],
  ['sallyport-phones run', /1 sessions \(completed: 1\)/],
  ['sallyport-relay why', /cleared \(session\)/],
  ['curl -s http', /^sallyport_proxy_\S+|^sallyport_\S*polls\S* /m],
  ['curl --connect-timeout', /^$/, 28],
  ['nft list counters', /dialled \{[^}]*packets [1-9]/],
];

/** Follows docs/deployment.md to the letter, each host a machine of its own with nothing on it but what the page brings. */
export async function followDeployment(t: Test, share: string): Promise<Deployment> {
  const startedAt = performance.now();
  const topology = await createTopology(t);
  const authority = await createAuthority();
  const shown = await authority.issue([ADDRESSES.proxy]);
  const own = await authority.issue([ADDRESSES.service]);
  const given = join(share, 'given');
  mkdirSync(given);
  copyFileSync(join(ROOT, 'deploy/nftables/firewall.nft'), join(given, 'firewall.nft'));
  const files = {
    'dls.pem': shown.cert,
    'dls.key': shown.key,
    'ca.pem': authority.cert,
    'service.pem': own.cert,
    'service.key': own.key,
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(given, name), text);
  // On a machine of its own, as in the page's table.
  await topology.inside.run('ip', 'address', 'del', `${ADDRESSES.service}/16`, 'dev', 'eth0');
  const serviceHost = await topology.add('inside', 'service', `${ADDRESSES.service}/16`);
  const service = await startProcess(
    'plain-service',
    [...serviceHost.wrap, process.execPath, SERVICE]
      .concat('--host', ADDRESSES.service, '--port', '18443', '--admin-port', '18000')
      .concat('--cert', join(given, 'service.pem'), '--key', join(given, 'service.key')),
  );
  t.teardown(() => service.stop());
  const hasSystemd = whyNoSystemd() === false;
  const machineOf = (wrap: string[], runsUnits = false): Promise<Machine> =>
    createMachine(t, { share, wrap, systemd: runsUnits && hasSystemd });
  const machines = {
    firewall: await machineOf(topology.firewall.wrap),
    proxy: await machineOf(topology.dmz.wrap, true),
    relay: await machineOf(topology.inside.wrap, true),
    phones: await machineOf(topology.phones.wrap),
  };
  // What a reader is told to bring along.
  await machines.firewall.must('cp /mnt/given/firewall.nft /root/');
  await machines.proxy.must('cp /mnt/sallyport-proxy_*-1_*.deb /root/');
  await machines.relay.must('cp /mnt/sallyport-relay_*-1_*.deb /mnt/given/dls.* /mnt/given/ca.pem /root/');
  await machines.phones.must('cp /mnt/sallyport-relay_*-1_*.deb /root/');

  const page = readDocument(PAGE);
  await follow(t, {
    page: PAGE,
    text: page.slice(0, page.indexOf('\n## Doors and TLS')),
    machineOf(heading) {
      const host = HOSTS.find(([pattern]) => pattern.test(heading))?.[1];
      return host === undefined ? null : machines[host];
    },
    expected: EXPECTED,
    config: '/etc/sallyport-relay/relay.yaml',
    after: {
      'systemctl enable --now sallyport-proxy': LISTENS,
      'systemctl enable --now sallyport-relay': UP,
    },
  });
  t.comment(`${basename(PAGE)} was followed in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  return { topology, machines, machineOf, authority };
}

/** The end of a unit's log, whoever runs it; the unit's name comes behind. */
const LOG = `log() { journalctl -u $1 -o cat 2>/dev/null || cat /var/log/$1.service.log; }; log`;

const LISTENS = `for i in $(seq 100); do
  curl -sf -o /dev/null http://127.0.0.1:9464/healthz && exit 0
  sleep 0.2
done
${LOG} sallyport-proxy >&2
exit 1`;

/** Waits until the relay of a machine has its link and its service. */
export const UP = `for i in $(seq 100); do
  sallyport-relay status 2>/dev/null | grep -Eq '^wpi +wpi +up ' && sallyport-relay health >/dev/null && exit 0
  sleep 0.2
done
sallyport-relay status >&2
${LOG} sallyport-relay | tail -n 5 >&2
exit 1`;
