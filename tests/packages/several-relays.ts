import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { parse, stringify } from 'yaml';
import { readDocument } from '../fixtures/documents.ts';
import { whyNoPostgres } from '../fixtures/postgres.ts';
import { UP } from './deployment.ts';
import type { Deployment } from './deployment.ts';
import { edit, follow } from './follow.ts';
import type { Machine } from './machine.ts';

const PAGE = 'docs/several-relays.md';
const CONFIG = '/etc/sallyport-relay/relay.yaml';
const DATABASE = '10.40.0.30';
const SECOND = '10.40.0.11';
const PASSWORD = 'of-the-test';
const DEVICE = '00:1a:e8:00:00:02';
const poll = `curl -s -o /dev/null -w '%{http_code}' 'http://10.30.0.10:8080/dcmp/contact-me?device-id=${DEVICE}'`;

/** Why the page cannot be followed here; false when it can. */
export function whyNoSeveralRelays(): string | false {
  if (!existsSync('/usr/sbin/sshd')) return 'no /usr/sbin/sshd here';
  return whyNoPostgres();
}

/** Follows docs/several-relays.md to the letter, from a deployment with one relay to two on one PostgreSQL. */
export async function followSeveralRelays(t: Test, share: string, deployment: Deployment): Promise<void> {
  const { topology, machines, machineOf } = deployment;
  const host = async (name: string, address: string, runsUnits: boolean): Promise<Machine> =>
    machineOf((await topology.add('inside', name, `${address}/16`)).wrap, runsUnits);
  const database = await host('database', DATABASE, false);
  const second = await host('second', SECOND, true);
  const page = readDocument(PAGE);
  await startServer(t, share, deployment, database, page);
  for (const machine of [machines.relay, second])
    await machine.must(`echo '${DATABASE} db.internal\n${SECOND} hq-2' >> /etc/hosts`);
  await logIn(machines.relay, second);
  await machines.relay.must(`
    cp /mnt/given/ca.pem /etc/sallyport-relay/db-ca.pem
    echo 'db.internal:5432:sallyport:sallyport:${PASSWORD}' > /root/.pgpass
    sallyport-relay push ${DEVICE} --wait proxy`);
  await second.must('cp /mnt/sallyport-relay_*-1_*.deb /root/');

  await follow(t, {
    page: PAGE,
    text: page,
    machineOf(heading) {
      if (/database/.test(heading)) return database;
      if (/irewall/.test(heading)) return machines.firewall;
      if (/proxy/.test(heading)) return machines.proxy;
      if (/own host/.test(heading)) return second;
      return /first relay/i.test(heading) ? machines.relay : null;
    },
    expected: [
      ['runuser -u sallyport-relay -- env', /1 held/],
      ['sallyport-relay check', /is fine: proxies: 1, services: 2/],
      ['runuser -u sallyport-proxy -- sallyport-proxy invite', /\nsallyport-join-1\.\S+\n$/],
      ['runuser -u sallyport-relay -- sallyport-relay join', /relay hq-2 has joined site default/],
      ['sallyport-relay check', /is fine: proxies: 1, services: 2/],
      ['sallyport-relay status', /wss:\S+ +up [^]*\nwpi +wpi +up /],
    ],
    config: CONFIG,
    after: { 'systemctl start sallyport-relay': UP, 'systemctl enable --now sallyport-relay': UP },
    answers: { 'runuser -u postgres -- createuser': `${PASSWORD}\\n${PASSWORD}\\n` },
    async before(heading) {
      if (!/own host again/.test(heading)) return;
      const first = parse(await machines.relay.must(`cat ${CONFIG}`)) as Record<string, object>;
      const { services, outbox } = first;
      const contact = { listen: `${SECOND}:8085`, advertise: `http://${SECOND}:8085` };
      await edit(second, CONFIG, stringify({ services, outbox, contact_me: contact }));
    },
  });

  t.match(await second.must(`sallyport-relay why ${DEVICE}`), /its work waits/, 'what the first one held');
  await machines.relay.must('systemctl stop sallyport-relay');
  t.equal(await machines.phones.must(poll), '202', 'and the second one alone calls for it');
  const phone = `sallyport-phones run --mac ${DEVICE} --poll http://10.30.0.10:8080/dcmp/ --service 10.30.0.10:18443`;
  t.match(
    await machines.phones.must(`${phone} --interval 1 --duration 5`),
    /1 sessions \(completed: 1\)/,
    'its session passes the second one',
  );
  t.match(await second.must(`sallyport-relay why ${DEVICE}`), /cleared \(session\)/);
}

/** The server that the page takes for granted, with the line for its relays that the page names. */
async function startServer(
  t: Test,
  share: string,
  { authority }: Deployment,
  database: Machine,
  page: string,
): Promise<void> {
  const [, line = ''] = /`(hostssl [^`]*)`/.exec(page) ?? [];
  t.match(line, /scram-sha-256/, 'the page says how relays are let in');
  const { cert, key } = await authority.issue(['db.internal']);
  for (const [name, text] of Object.entries({ 'db.pem': cert, 'db.key': key }))
    writeFileSync(join(share, 'given', name), text);
  await database.must(`
    bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
    data=/tmp/postgres/data
    install -d -o postgres -m 700 /tmp/postgres
    install -d -o postgres -g postgres /run/postgresql
    runuser -u postgres -- $bin/initdb -D $data -A peer -E UTF8 --locale=C --data-checksums --no-sync
    install -o postgres -m 600 /mnt/given/db.pem $data/server.crt
    install -o postgres -m 600 /mnt/given/db.key $data/server.key
    echo '${line}' >> $data/pg_hba.conf
    cat >> $data/postgresql.conf <<'CONFIG'
ssl = on
listen_addresses = '${DATABASE}'
unix_socket_directories = '/run/postgresql'
password_encryption = 'scram-sha-256'
CONFIG
    runuser -u postgres -- $bin/pg_ctl -D $data -l /tmp/postgres/log -w start`);
}

/** Has root of one machine log in to another, which knows it. */
async function logIn(from: Machine, to: Machine): Promise<void> {
  await to.must(
    'mkdir -p /run/sshd && ssh-keygen -A && /usr/sbin/sshd -o UsePAM=no -o PermitRootLogin=prohibit-password',
  );
  const key = await from.must(
    'mkdir -p -m 700 /root/.ssh && ssh-keygen -q -t ed25519 -N "" -f /root/.ssh/id_ed25519 && cat /root/.ssh/id_ed25519.pub',
  );
  await to.must(`mkdir -p -m 700 /root/.ssh && echo '${key.trim()}' > /root/.ssh/authorized_keys`);
  await from.must(`echo "hq-2 $(cat <<'KEY'
${(await to.must('cat /etc/ssh/ssh_host_ed25519_key.pub')).trim()}
KEY
)" > /root/.ssh/known_hosts`);
}
