import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { parse, parseDocument } from 'yaml';
import { createAuthority } from '../fixtures/certificates.ts';
import { blocksOf, readDocument, ROOT } from '../fixtures/documents.ts';
import { ADDRESSES, createTopology } from '../fixtures/namespaces.ts';
import { startProcess } from '../fixtures/program.ts';
import { createMachine } from './machine.ts';
import type { Machine } from './machine.ts';

const PAGE = 'docs/deployment.md';
const SERVICE = fileURLToPath(new URL('../fixtures/services/plain-main.ts', import.meta.url));

/** The host that a heading speaks of. */
const HOSTS: [heading: RegExp, host: 'firewall' | 'proxy' | 'relay' | 'phones'][] = [
  [/firewall/, 'firewall'],
  [/proxy.s host/, 'proxy'],
  [/relay.s host/, 'relay'],
  [/phones$/, 'phones'],
];

/** Every command of the page that prints something worth a look, in order. */
const EXPECTED: [starts: string, prints: RegExp, code?: number][] = [
  ['runuser -u sallyport-proxy -- sallyport-proxy init', /wrote .*proxy\.yaml/],
  ['sallyport-proxy check', /is fine: 1 poll and 2 session doors, 1 sites/],
  ['curl -s -o', /^200\n$/],
  ['runuser -u sallyport-proxy -- sallyport-proxy invite', /\nsallyport-join-1\.\S+\n$/],
  ['runuser -u sallyport-relay -- sallyport-relay join', /relay hq-1 has joined site default/],
  ['sallyport-relay check', /is fine: 1 proxies, 2 services/],
  ['sallyport-relay status', /wss:\S+ +up [^]*\nwpi +wpi +up /],
  ['sallyport-relay push', /held/],
  ['sallyport-phones run', /1 sessions \(completed: 1\)/],
  ['sallyport-relay why', /cleared \(session\)/],
  ['curl -s http', /^sallyport_proxy_\S+|^sallyport_\S*polls\S* /m],
  ['curl --connect-timeout', /^$/, 28],
  ['nft list counters', /dialled \{[^}]*packets [1-9]/],
];

/** Follows docs/deployment.md to the letter, each host a machine of its own with nothing on it but what the page brings. */
export async function followDeployment(t: Test, share: string): Promise<void> {
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
  const service = await startProcess(
    'plain-service',
    [...topology.inside.wrap, process.execPath, SERVICE]
      .concat('--host', ADDRESSES.service, '--port', '18443', '--admin-port', '18000')
      .concat('--cert', join(given, 'service.pem'), '--key', join(given, 'service.key')),
  );
  t.teardown(() => service.stop());
  const machineOf = (wrap: string[]): Promise<Machine> => createMachine(t, { share, wrap });
  const machines = {
    firewall: await machineOf(topology.firewall.wrap),
    proxy: await machineOf(topology.dmz.wrap),
    relay: await machineOf(topology.inside.wrap),
    phones: await machineOf(topology.phones.wrap),
  };
  // What a reader is told to bring along.
  await machines.firewall.must('cp /mnt/given/firewall.nft /root/');
  await machines.proxy.must('cp /mnt/sallyport-proxy_*-1_*.deb /root/');
  await machines.relay.must('cp /mnt/sallyport-relay_*-1_*.deb /mnt/given/dls.* /mnt/given/ca.pem /root/');
  await machines.phones.must('cp /mnt/sallyport-relay_*-1_*.deb /root/');

  const page = readDocument(PAGE);
  const followed = page.slice(0, page.indexOf('\n## Doors and TLS'));
  const expected = [...EXPECTED];
  let joinString = 'nothing was invited';
  let later: string | null = null;
  for (const section of followed.split(/^(?=##)/m)) {
    const heading = section.split('\n', 1)[0] ?? '';
    const host = HOSTS.find(([pattern]) => pattern.test(heading))?.[1];
    for (const { language, text } of blocksOf(section)) {
      if (host === undefined) throw new Error(`${PAGE}: on which host is ${text} under ${heading}?`);
      if (language === 'yaml') await edit(machines.relay, '/etc/sallyport-relay/relay.yaml', text);
      if (language !== 'sh') continue;
      for (const written of text.trim().split('\n')) {
        const command = written.replace('sallyport-join-1.…', joinString).replace('_amd64', '_*');
        // A reader is slower than this test: by then what was started listens, has linked, has tried the service.
        if (written === 'systemctl enable --now sallyport-proxy') later = LISTENS;
        if (written === 'systemctl enable --now sallyport-relay') later = UP;
        const { code, stdout, stderr } = await machines[host].sh(`cd /root && ${command}`);
        const [starts = '', prints, wanted = 0] = expected[0] ?? [];
        const looked = prints !== undefined && written.startsWith(starts);
        if (looked) {
          expected.shift();
          t.match(stdout, prints, written);
        }
        t.equal(code, looked ? wanted : 0, `${host}: ${written} ${stderr}`);
        if (later !== null) await machines[host].must(later);
        later = null;
        if (written.includes(' invite ')) joinString = stdout.trim().split('\n').at(-1) ?? '';
      }
    }
  }
  t.same(expected, [], 'the page has all the commands that are expected');
  t.comment(`${basename(PAGE)} was followed in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
}

const LISTENS = `for i in $(seq 100); do
  curl -sf -o /dev/null http://127.0.0.1:9464/healthz && exit 0
  sleep 0.2
done
cat /var/log/sallyport-proxy.service.log >&2
exit 1`;

const UP = `for i in $(seq 100); do
  sallyport-relay status 2>/dev/null | grep -Eq '^wpi +wpi +up ' && sallyport-relay health >/dev/null && exit 0
  sleep 0.2
done
sallyport-relay status >&2
exit 1`;

/** Writes the keys of a block into a config. */
async function edit(machine: Machine, file: string, block: string): Promise<void> {
  const document = parseDocument(await machine.must(`cat ${file}`));
  for (const [key, value] of Object.entries(parse(block) as object)) document.set(key, value);
  await machine.must(`cat > ${file} <<'CONFIG'\n${document.toString()}CONFIG`);
}
