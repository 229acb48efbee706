/** The Debian packages are installed, upgraded, removed and purged by dpkg, on a machine that has nothing of ours. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import t from 'tap';
import { readDocument } from '../fixtures/documents.ts';
import { whyNoNamespaces } from '../fixtures/namespaces.ts';
import { createBuilder } from './debs.ts';
import { followDeployment } from './deployment.ts';
import { followSeveralRelays, whyNoSeveralRelays } from './several-relays.ts';
import { createMachine, whyNoMachines, whyNoSystemd } from './machine.ts';
import type { Machine } from './machine.ts';
import { polls, tryUnits } from './units.ts';

const DEVICE = '00:1a:e8:00:00:01';
const PROGRAMS = ['proxy', 'relay'] as const;
const { version } = JSON.parse(readDocument('package.json')) as { version: string };

/** What dpkg and the package say when it is installed. */
const install = (machine: Machine, deb: string): Promise<string> =>
  machine.must(`dpkg -i /mnt/${basename(deb)} 2>&1`);

t.test('Debian packages', { skip: whyNoMachines() }, async (t) => {
  const share = t.testdir();
  const builder = createBuilder(share);
  const built = PROGRAMS.map((program) => builder.build(program, 1, share));
  await t.test(
    'two empty hosts become a deployment by docs/deployment.md, word by word',
    { skip: whyNoNamespaces() },
    async (t) => {
      const deployment = await followDeployment(t, share);
      await t.test(
        'and a second relay joins it on a PostgreSQL, by docs/several-relays.md',
        { skip: whyNoSeveralRelays() },
        (t) => followSeveralRelays(t, share, deployment),
      );
    },
  );

  await t.test('the units do what they say under systemd', { skip: whyNoSystemd() }, (t) =>
    tryUnits(t, share),
  );

  const machine = await createMachine(t, { share });
  const pidOf = async (program: string): Promise<string> =>
    (await machine.must(`cat /run/units/sallyport-${program}.service.pid`)).trim();

  await t.test('the same sources make the same bytes', async (t) => {
    const elsewhere = join(share, 'elsewhere');
    mkdirSync(elsewhere);
    const again = builder.build('proxy', 1, elsewhere);
    t.ok(readFileSync(again).equals(readFileSync(built[0]!)), basename(again));
  });

  await t.test(
    'they hold programs, what these need, and nothing in /etc that dpkg would ask about',
    async (t) => {
      for (const deb of built) {
        const { stdout } = spawnSync('dpkg-deb', ['--contents', deb], {
          encoding: 'utf8',
          maxBuffer: 2 ** 26,
        });
        const files = stdout
          .trim()
          .split('\n')
          .map((line) => line.split(/\s+/));
        const places = files.map(([, , , , , place = '']) => place);
        t.same([...new Set(files.map(([, owner]) => owner))], ['root/root']);
        t.same(
          places.filter((place) =>
            /\.(ts|map)$|^\.\/etc\/|^\.\/var\/|node_modules\/(typescript|eslint|tap)\//.test(place),
          ),
          [],
        );
        t.same(
          files.filter(([mode = '']) => !/^(drwxr-xr-x|-rw-r--r--|-rwxr-xr-x|lrwxrwxrwx)$/.test(mode)),
          [],
        );
        const home = `./usr/lib/${basename(deb).replace(/_.*/, '')}`;
        t.ok(places.includes(`${home}/node`));
        t.equal(
          places.some((place) => place.startsWith(`${home}/dist/relay-client/`)),
          home.endsWith('relay'),
          'no relay in the DMZ',
        );
      }
    },
  );

  await t.test('an install starts nothing, and its words lead to a proxy that answers polls', async (t) => {
    const said = await install(machine, built[0]!);
    t.equal((await machine.must('sallyport-proxy --version')).trim(), version, 'by the Node that it brought');
    t.equal((await machine.sh('command -v node')).code, 127, 'there is no other');
    t.equal((await machine.sh('systemctl is-active sallyport-proxy')).code, 3);
    t.equal((await machine.sh('systemctl is-enabled sallyport-proxy')).code, 1);
    t.equal(
      (await machine.must('stat -c "%U %a" /etc/sallyport-proxy /var/lib/sallyport-proxy')).trim(),
      'sallyport-proxy 700\nsallyport-proxy 700',
    );
    const steps = said.split('\n').filter((line) => /^ {2}(runuser|systemctl)/.test(line));
    t.equal(steps.length, 2, said);
    for (const step of steps) await machine.must(step);
    t.match(await machine.must('sallyport-proxy check'), /^\/etc\/sallyport-proxy\/proxy\.yaml is fine/);
    await t.resolves(machine.must(polls(200)));
    t.equal((await machine.must(`stat -c %U /proc/${await pidOf('proxy')}`)).trim(), 'sallyport-proxy');
  });

  await t.test('likewise the relay, and a push turns the poll to 202', async (t) => {
    const said = await install(machine, built[1]!);
    t.equal(
      (await machine.must('sallyport-relay --version && sallyport-phones --version')).trim(),
      `${version}\n${version}`,
    );
    const invite = await machine.must(
      'runuser -u sallyport-proxy -- sallyport-proxy invite NAME --url wss://127.0.0.1:9443',
    );
    const joinString = invite.trim().split('\n').at(-1)!;
    const steps = said.split('\n').filter((line) => /^ {2}(runuser|systemctl)/.test(line));
    t.equal(steps.length, 2, said);
    await machine.must(steps[0]!.replace('JOIN STRING', joinString));
    await machine.must(
      `sed -i 's|^services:.*|services: [{ name: wpi, kind: tcp, upstream: "127.0.0.1:8080" }]|' /etc/sallyport-relay/relay.yaml`,
    );
    await machine.must(steps[1]!);
    t.match(await machine.must('sallyport-relay check'), /^\/etc\/sallyport-relay\/relay\.yaml is fine/);
    await machine.must(
      `for i in $(seq 100); do sallyport-relay health >/dev/null 2>&1 && exit 0; sleep 0.2; done; exit 1`,
    );
    t.match(
      await machine.must(
        `cd / && runuser -u sallyport-relay -- sh -c 'sallyport-relay backup /tmp && sallyport-relay poll-path ${DEVICE}'`,
      ),
      /^wrote [^]*\n[0-9a-f]{32}\//,
      'every command finds the config',
    );
    t.match(await machine.must(`sallyport-relay push ${DEVICE} --wait proxy`), /held/);
    await t.resolves(machine.must(polls(202)));
    t.same((await machine.must('ls /etc/sallyport-relay /var/lib/sallyport-relay')).match(/outbox\S*/g), [
      'outbox.key',
      'outbox',
    ]);
  });

  await t.test('manual pages tell of every command', async (t) => {
    const page = (name: string): Promise<string> => machine.must(`zcat /usr/share/man/man*/${name}.[18].gz`);
    t.match(await page('sallyport-proxy'), /^\.SS invite$[^]*^\.SH FILES$/m);
    t.match(await page('sallyport-relay'), /^\.SS push$/m);
    t.match(await page('sallyport-phones'), /^\.SS scenario$/m);
  });

  await t.test('an upgrade restarts what runs, keeps config and data, and loses nothing', async (t) => {
    await machine.must(
      'echo "# mine" >> /etc/sallyport-proxy/proxy.yaml; echo "# mine" >> /etc/sallyport-relay/relay.yaml',
    );
    const sums = 'cd / && find etc/sallyport-* -type f | sort | xargs sha256sum';
    const before = await machine.must(sums);
    for (const program of PROGRAMS) {
      const former = await pidOf(program);
      await install(machine, builder.build(program, 2, share));
      t.not(await pidOf(program), former, `the ${program} was restarted`);
      t.equal(
        (await machine.must(`dpkg-query -W -f '\${Version}' sallyport-${program}`)).trim(),
        `${version}-2`,
      );
      t.equal((await machine.must(`systemctl is-active sallyport-${program}`)).trim(), 'active');
      t.equal((await machine.must(`systemctl is-enabled sallyport-${program}`)).trim(), 'enabled');
      t.match(
        await machine.must(`cat /var/log/sallyport-${program}.service.log`),
        /"msg":"ended"/,
        'it ended in order',
      );
      await t.resolves(machine.must(polls(202)), 'what was pending is pending');
    }
    t.equal(await machine.must(sums), before);
    t.equal(
      await machine.must('dpkg --verify sallyport-proxy sallyport-relay'),
      '',
      'every file is as it was packed',
    );
  });

  await t.test('a removed package leaves config and data, with which it works again', async (t) => {
    await machine.must('dpkg -r sallyport-relay');
    t.equal((await machine.sh('systemctl is-active sallyport-relay')).code, 3);
    t.equal((await machine.sh('command -v sallyport-relay')).code, 127);
    await machine.must(
      'test -s /etc/sallyport-relay/relay.yaml && test -s /etc/sallyport-relay/outbox.key && test -d /var/lib/sallyport-relay/outbox',
    );
    await t.resolves(machine.must(polls(200)), 'without a relay nobody is called');
    t.notMatch(
      await install(machine, join(share, basename(built[1]!).replace('-1_', '-2_'))),
      /Next:/,
      'it is configured',
    );
    await machine.must('systemctl start sallyport-relay');
    await t.resolves(machine.must(polls(202)), 'what was pending still is');
  });

  await t.test('a purged package leaves nothing', async (t) => {
    await machine.must('dpkg --purge sallyport-relay sallyport-proxy');
    t.equal(
      await machine.must(
        'ls -d /etc/sallyport* /var/lib/sallyport* /usr/lib/sallyport* /usr/share/doc/sallyport* 2>/dev/null || true',
      ),
      '',
    );
    t.equal(
      await machine.must(`find /etc /var /opt /srv \\( -user sallyport-proxy -o -user sallyport-relay \\)`),
      '',
    );
    t.equal(
      await machine.must(`find /etc/systemd /var/lib/systemd -name 'sallyport*'`),
      '',
      'nor masks nor links',
    );
  });
});
