import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { until } from '../fixtures/until.ts';
import { createTopology, whyNoNamespaces } from '../fixtures/namespaces.ts';
import type { Host } from '../fixtures/namespaces.ts';
import { startProcess } from '../fixtures/program.ts';
import type { LogLine, Program } from '../fixtures/program.ts';
import { POLL_URL, SESSION_DOOR, startSplitGate } from '../fixtures/split-gate.ts';

const shipped = (name: string): string => fileURLToPath(new URL(`../../deploy/${name}`, import.meta.url));
const HAPROXY = shipped('haproxy/haproxy.cfg');
const KEEPALIVED = shipped('keepalived/keepalived.conf');
const ENVIRONMENT = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };
const missing = (command: string): string | false =>
  spawnSync(command, ['-v'], { env: ENVIRONMENT }).error === undefined ? false : `no ${command} here`;

/** As deploy/haproxy/haproxy.cfg calls them. */
const PROXIES = ['10.30.0.11', '10.30.0.12'];
/** Two checks that fail, each given its whole time, and a moment of the balancer's own. */
const AWAY_MS = 9_000;
const PHONES = 40;
const PHONE_ADDRESS = '10.20.0.77';

const says =
  (text: string) =>
  ({ msg }: LogLine): boolean =>
    msg.startsWith(text);

t.test(
  'phones behind HAProxy as deploy/haproxy has it',
  { skip: whyNoNamespaces() || missing('haproxy') },
  async (t) => {
    const topology = await createTopology(t);
    const { dmz, phones } = topology;
    for (const address of PROXIES) await dmz.run('ip', 'address', 'add', `${address}/24`, 'dev', 'eth0');
    await phones.run('ip', 'address', 'add', `${PHONE_ADDRESS}/16`, 'dev', 'eth0');
    const haproxy = await startProcess('haproxy', [...dmz.wrap, 'haproxy', '-db', '-f', HAPROXY], {
      env: ENVIRONMENT,
      ready: says('Server polls/proxy-1 is DOWN'),
    });
    t.teardown(() => haproxy.stop());
    const gate = await startSplitGate(t, topology, { proxies: PROXIES });
    for (const door of ['polls', 'wpi']) {
      for (const proxy of ['proxy-1', 'proxy-2']) await haproxy.line(says(`Server ${door}/${proxy} is UP`));
    }
    const curl = (...args: string[]): Promise<string> =>
      phones.run(
        'curl',
        '-s',
        '--interface',
        PHONE_ADDRESS,
        '-o',
        '/dev/null',
        '-w',
        '%{http_code}',
        ...args,
      );

    await t.test('each phone is seen under its own address, by polls and sessions', async (t) => {
      const strangers = ['00:1A:E8:2D:FF:01', '00:1A:E8:2D:FF:02', '00:1A:E8:2D:FF:03', '00:1A:E8:2D:FF:04'];
      for (const stranger of strangers)
        t.equal(await curl(`${POLL_URL}contact-me?device-id=${stranger}`), '200');
      type Unknown = { device: string; address: string; proxy: string };
      let told: Unknown[] = [];
      await until('the relay is told of all of them', async () => {
        const { body } = await gate.call('GET', '/v1/devices?unknown=true');
        told = (body['unknown'] as Unknown[]).filter(({ device }) =>
          /e82dff/i.test(device.replaceAll(':', '')),
        );
        return told.length === strangers.length;
      });
      t.same([...new Set(told.map(({ address }) => address))], [PHONE_ADDRESS]);
      t.equal(new Set(told.map(({ proxy }) => proxy)).size, 2, 'by both proxies');
      await curl('-k', '-H', 'Content-Length: none', `https://${SESSION_DOOR}/`);
      await gate.relay.line(({ msg, phone }) => msg === 'refused a request' && phone === PHONE_ADDRESS);
    });

    await t.test('a phone is provisioned through it', async () => {
      const device = '00:1A:E8:2D:00:01';
      const phone = await gate.startPhones(
        ['--poll', POLL_URL, '--service', SESSION_DOOR, '--startup', '--mac', device].concat(
          ...['--interval', '0.25', '--spread', '0'],
        ),
      );
      await phone.line(({ msg, outcome }) => msg === 'session' && outcome === 'completed');
      await phone.stop();
    });

    await t.test('a proxy that is killed fails no poll once two checks have missed it', async (t) => {
      const fleet = await gate.startPhones(
        ['--poll', POLL_URL, '--count', String(PHONES), '--mac', '00:1A:E8:2D:10:01'].concat(
          ...['--interval', '0.2', '--spread', '0'],
        ),
      );
      const polls = (): LogLine[] => fleet.lines.filter(({ msg }) => msg === 'poll');
      const failed = (): LogLine[] => polls().filter(({ status }) => status !== 200);
      const more = async (count: number): Promise<void> => {
        const before = polls().length;
        await until(`${count} more polls`, () => polls().length >= before + count);
      };
      await more(10 * PHONES);
      t.same(failed(), []);
      const [killed] = gate.proxies as [Program];
      // `ip netns exec` becomes the program, so this is the proxy itself.
      const heard = haproxy.lines.length;
      const downAgain = (line: LogLine): boolean =>
        says('Server polls/proxy-1 is DOWN')(line) && haproxy.lines.indexOf(line) >= heard;
      killed.signal('SIGKILL');
      await haproxy.line(downAgain);
      // By the phones' own times: lines of two programs are not read here in the order in which they were written.
      const away = Date.now();
      await more(20 * PHONES);
      const begunSince = polls().filter(({ time, ms }) => Date.parse(String(time)) - Number(ms) > away);
      t.ok(begunSince.length > PHONES);
      t.same(
        begunSince.filter(({ status }) => status !== 200),
        [],
        'none after that',
      );
      t.comment(`${failed().length} of ${polls().length} polls failed, all before`);
      t.ok(
        failed().length <= PHONES,
        `and of those before at most what the killed one held: ${failed().length}`,
      );
      t.equal(await curl(`${POLL_URL}contact-me?device-id=00:1A:E8:2D:FF:05`), '200');
      await fleet.stop();
    });
  },
);

t.test('keepalived takes deploy/keepalived', { skip: missing('keepalived') }, async (t) => {
  const faults = (file: string): string =>
    spawnSync('keepalived', ['--log-console', '--dont-fork', '--config-test', `--use-file=${file}`], {
      env: ENVIRONMENT,
      encoding: 'utf8',
      timeout: 20_000,
    }).stderr;
  t.equal(faults(KEEPALIVED), '', 'without a word');
  const spoilt = join(t.testdir(), 'keepalived.conf');
  writeFileSync(spoilt, readFileSync(KEEPALIVED, 'utf8').replace('priority', 'prioritty'));
  t.match(faults(spoilt), /Unknown keyword 'prioritty'/, 'which it would have for a fault');
});

t.test(
  'one address for phones moves between two machines as deploy/keepalived has it',
  { skip: whyNoNamespaces() || missing('keepalived') },
  async (t) => {
    const topology = await createTopology(t);
    const { dmz, phones } = topology;
    const [address, other] = ['10.30.0.11', '10.30.0.12'];
    // Nobody has the phones' address before keepalived gives it to somebody.
    await dmz.run('ip', 'address', 'flush', 'dev', 'eth0');
    await dmz.run('ip', 'address', 'add', `${address}/24`, 'dev', 'eth0');
    await dmz.run('ip', 'route', 'add', 'default', 'via', '10.30.0.1');
    const machines = [
      { host: dmz, address },
      { host: await topology.add('dmz', 'second', `${other}/24`), address: other },
    ];
    const gate = await startSplitGate(t, topology, { proxyHosts: machines });
    const device = '00:1A:E8:2E:00:01';
    const pushed = await gate.call('POST', `/v1/devices/${device}/messages?wait=proxy`, {});
    t.equal(pushed.status, 201);

    const dir = t.testdir();
    const text = readFileSync(KEEPALIVED, 'utf8');
    const startKeepalived = async (i: number): Promise<void> => {
      const file = join(dir, `${i}.conf`);
      // "On the second one swap unicast_src_ip and unicast_peer."
      const swapped = text
        .replace(/^( +unicast_src_ip )\S+/m, `$1${other}`)
        .replace(/^( +)10\.30\.0\.12$/m, `$1${address}`);
      writeFileSync(file, i === 0 ? text : swapped);
      const pids = [`--pid=${join(dir, `${i}.pid`)}`, `--vrrp_pid=${join(dir, `${i}.vrrp`)}`];
      const command = ['keepalived', '--vrrp', '--dont-fork', '--log-console', `--use-file=${file}`, ...pids];
      // It speaks on standard error.
      const heard = ['sh', '-c', 'exec "$@" 2>&1', 'sh'];
      const program = await startProcess('keepalived', [...machines[i]!.host.wrap, ...heard, ...command], {
        env: ENVIRONMENT,
        ready: ({ msg }) => msg.endsWith('Startup complete'),
      });
      t.teardown(() => program.stop());
    };
    await Promise.all([startKeepalived(0), startKeepalived(1)]);
    const has = async (host: Host): Promise<boolean> =>
      (await host.run('ip', '-o', 'address', 'show', 'dev', 'eth0')).includes(' 10.30.0.10/');
    const holders = async (): Promise<number[]> => {
      const each = await Promise.all(machines.map(({ host }) => has(host)));
      return each.flatMap((held, i) => (held ? [i] : []));
    };
    const isHeld = (by: (holder: number) => boolean, what: string): Promise<void> =>
      until(
        what,
        async () => {
          const now = await holders();
          return now.length === 1 && by(now[0]!);
        },
        AWAY_MS * 4,
      );
    const poll = (): Promise<string> =>
      phones
        .run(
          'curl',
          '-s',
          '-m',
          '2',
          '-o',
          '/dev/null',
          '-w',
          '%{http_code}',
          `${POLL_URL}contact-me?device-id=${device}`,
        )
        .catch((error: unknown) => String(error));
    const called = (why: string): Promise<void> => until(why, async () => (await poll()) === '202');

    await isHeld(() => true, 'one of the two takes the address');
    await called('and answers phones there');
    const first = (await holders())[0]!;

    gate.proxies[first]!.signal('SIGKILL');
    await isHeld((holder) => holder !== first, 'it moves away from a machine whose polls fail');
    await called('and phones are called as before, by a proxy that knows the same');
    t.pass('the address has moved, and polls go on');

    const phone = await gate.startPhones(
      ['--poll', POLL_URL, '--service', SESSION_DOOR, '--mac', device].concat(
        ...['--interval', '0.25', '--spread', '0'],
      ),
    );
    t.match(await phone.line(({ msg }) => msg === 'session'), { outcome: 'completed' }, 'sessions too');
    await phone.stop();
  },
);
