import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { readDocument, ROOT } from '../../fixtures/documents.ts';
import { COMPOSE, readService } from '../../packages/compose.ts';

const PROGRAMS = ['proxy', 'relay'] as const;

/** How exposed a unit may be, of 10. */
const EXPOSURE = 1.5;

const noSystemd =
  spawnSync('systemd-analyze', ['--version']).error === undefined ? false : 'needs systemd-analyze';

/** How exposed systemd finds a unit. */
function exposureOf(file: string): number {
  const { stdout } = spawnSync('systemd-analyze', ['security', '--offline=true', '--no-pager', file]);
  const [, figure = 'NaN'] = /exposure level for \S+: ([\d.]+)/.exec(stdout.toString()) ?? [];
  return Number(figure);
}

t.test('units leave nothing open that they do not need', { skip: noSystemd }, async (t) => {
  const units = readdirSync(join(ROOT, 'deploy/systemd')).filter((file) => file.endsWith('.service'));
  t.ok(units.length >= PROGRAMS.length);
  for (const unit of units) {
    const exposure = exposureOf(join(ROOT, 'deploy/systemd', unit));
    t.ok(exposure <= EXPOSURE, `${unit}: ${exposure}`);
  }
  const open = join(t.testdir(), 'sallyport-relay.service');
  writeFileSync(open, '[Service]\nExecStart=/bin/true\n');
  t.ok(exposureOf(open) > 9, 'an open one is seen');
});

t.test('the drop-in lets the relay talk with named addresses only', { skip: noSystemd }, async (t) => {
  const unit = readDocument('deploy/systemd/sallyport-relay.service');
  const dropIn = readDocument('deploy/systemd/relay-addresses.conf');
  const file = join(t.testdir(), 'sallyport-relay.service');
  const [before, after = ''] = unit.split('\n[Install]');
  writeFileSync(file, `${before}\n${dropIn}\n[Install]${after}`);
  t.ok(exposureOf(file) < exposureOf(join(ROOT, 'deploy/systemd/sallyport-relay.service')));
  const allowed = [...dropIn.matchAll(/^IPAddressAllow=(.+)$/gm)].map(([, address = '']) => address);
  t.match(dropIn, /^IPAddressDeny=any$/m);
  t.same(allowed, ['localhost', '10.30.0.10', '10.40.0.20', '10.40.0.2']);
});

t.test('units dump no memory, run as their own user and restart unless the config is wrong', async (t) => {
  for (const program of PROGRAMS) {
    const unit = readDocument(`deploy/systemd/sallyport-${program}.service`);
    for (const line of [
      `User=sallyport-${program}`,
      'LimitCORE=0',
      'NoNewPrivileges=yes',
      'CapabilityBoundingSet=',
      'ProtectSystem=strict',
      'UMask=0077',
      // That directory itself: one above it would be made writable, and would leave it as it is (seen with systemd 252).
      `NoExecPaths=/var/lib/sallyport-${program}/${program === 'proxy' ? 'state' : 'outbox'} /tmp /var/tmp -/dev/shm`,
      'RestartPreventExitStatus=2',
    ]) {
      t.ok(unit.split('\n').includes(line), `${program}: ${line}`);
    }
  }
});

t.test('why the programs run without Node’s permission model is so still', async (t) => {
  const dir = t.testdir({ 'secret.txt': 'read' });
  writeFileSync(
    join(dir, 'confined.mjs'),
    `import { closeSync, fsyncSync, openSync, readFileSync } from 'node:fs';
     import { DatabaseSync } from 'node:sqlite';
     import { isMainThread, Worker } from 'node:worker_threads';
     const read = () => readFileSync(new URL('./secret.txt', import.meta.url), 'utf8');
     const attempt = (what) => { try { return what() ?? 'done'; } catch (error) { return error.code; } };
     if (!isMainThread) console.log('thread', read());
     else {
       console.log('read', attempt(read));
       console.log('fsync', attempt(() => { const file = openSync(process.argv[2], 'w'); try { fsyncSync(file); } finally { closeSync(file); } }));
       console.log('handles', attempt(() => typeof process.binding('tcp_wrap')));
       console.log('database', attempt(() => void new DatabaseSync(new URL('./any.db', import.meta.url)).exec('create table t(x)')));
       new Worker(new URL(import.meta.url), { execArgv: [] });
     }`,
  );
  const may = join(dir, 'may.txt');
  const { stdout } = spawnSync(process.execPath, [
    ...['--permission', '--allow-worker', `--allow-fs-read=${join(dir, 'confined.mjs')}`],
    ...[`--allow-fs-write=${may}`, join(dir, 'confined.mjs'), may],
  ]);
  t.strictSame(stdout.toString().trim().split('\n'), [
    'read ERR_ACCESS_DENIED',
    'fsync ERR_ACCESS_DENIED',
    'handles ERR_ACCESS_DENIED',
    'database done',
    'thread read',
  ]);
});

/** The instructions of a container file, continued lines joined. */
const instructionsOf = (file: string): [word: string, rest: string][] =>
  readDocument(file)
    .replaceAll('\\\n', ' ')
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]);

t.test('images run as a user without privileges, by a program that is in the package', async (t) => {
  const { bin } = JSON.parse(readDocument('package.json')) as { bin: Record<string, string> };
  for (const program of PROGRAMS) {
    const instructions = instructionsOf(`deploy/container/Containerfile.${program}`);
    const last = instructions.slice(instructions.findLastIndex(([word]) => word === 'FROM'));
    const of = (wanted: string): string[] => last.flatMap(([word, rest]) => (word === wanted ? [rest] : []));
    t.same(of('USER'), ['1000:1000'], 'by number, so that a host can tell that it is not root');
    t.ok(
      last.findIndex(([word]) => word === 'USER') > last.findLastIndex(([word]) => word === 'RUN'),
      'nothing is run after that',
    );
    const [entry = ''] = JSON.parse(of('ENTRYPOINT')[0] ?? '[]') as string[];
    t.equal(entry, `sallyport-${program}`);
    t.ok(existsSync(join(ROOT, bin[entry] ?? 'nowhere')), entry);
    t.same(JSON.parse(of('CMD')[0] ?? '[]'), ['run', '--config', `/var/lib/${entry}/${program}.yaml`]);
    t.same(of('COPY'), ['--from=build /opt/sallyport /opt/sallyport'], 'nothing of the checkout itself');
    t.same(of('ADD'), []);
    for (const [, source] of instructions.filter(([word]) => word === 'FROM')) {
      t.match(source, /^docker\.io\/library\/node:24-/);
    }
  }
});

t.test('what is copied into a build leaves secrets and histories out', async (t) => {
  const ignored = readFileSync(join(ROOT, '.dockerignore'), 'utf8').split('\n');
  for (const each of ['.git', 'node_modules'])
    t.ok(
      ignored.some((line) => line.replace(/\/$/, '') === each),
      each,
    );
  const listed = execFileSync('git', ['ls-files', '*.key', '*.pem', '*.token'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  t.equal(listed, '', 'no key is committed');
});

t.test('compose takes every privilege away', async (t) => {
  const { services } = parse(readDocument('deploy/container/compose.yaml'), { merge: true }) as {
    services: Record<string, Record<string, unknown>>;
  };
  t.same(Object.keys(services), [...PROGRAMS]);
  for (const [name, service] of Object.entries(services)) {
    t.match(
      service,
      {
        read_only: true,
        cap_drop: ['ALL'],
        security_opt: ['no-new-privileges:true'],
        volumes: [`${name}:/var/lib/sallyport-${name}`],
        ulimits: { core: 0 },
      },
      name,
    );
    for (const field of ['privileged', 'cap_add', 'devices', 'pid', 'user']) t.notOk(field in service, field);
    const { context, dockerfile } = service['build'] as { context: string; dockerfile: string };
    t.ok(existsSync(join(ROOT, 'deploy/container', context, dockerfile)));
  }
});

t.test('every field of the compose file is one that the test of images plays', async (t) => {
  const text = readDocument(COMPOSE);
  for (const name of PROGRAMS) {
    const { limits, graceMs, restart, logBytes } = readService(text, name);
    t.same({ graceMs, restart }, { graceMs: 40_000, restart: true });
    t.ok(limits.pids >= 128 && limits.memoryBytes >= 2 ** 30 && logBytes <= 2 ** 27, name);
  }
  for (const [field, written] of Object.entries({
    cpus: 'cpus: 2',
    read_only: 'read_only: perhaps',
    mem_limit: 'mem_limit: 1g5',
    ulimits: 'ulimits: { nofile: 1024, nproc: 10 }',
    logging: 'logging: { driver: syslog }',
  })) {
    const wrong = text.replace(/^ {2}proxy:\n/m, (line) => `${line}    ${written}\n`);
    const alone = wrong.replace(
      new RegExp(`^    ${field}: (?!${written.slice(field.length + 2)}).*\n`, 'm'),
      '',
    );
    t.throws(() => readService(alone, 'proxy'), { message: new RegExp(`services\\.proxy.*${field}`) }, field);
  }
});

t.test('DHCP examples are what the servers take, and hold no more than is published', async (t) => {
  const checks = {
    dnsmasq: ['--test', '--conf-file=dnsmasq.conf'],
    dhcpd: ['-t', '-cf', 'dhcpd.conf'],
    'kea-dhcp4': ['-t', 'kea-dhcp4.json'],
  };
  const cwd = join(ROOT, 'deploy/dhcp');
  const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };
  for (const [server, args] of Object.entries(checks)) {
    const there = spawnSync(server, ['--version'], { env }).error === undefined;
    t.test(server, { skip: there ? false : `needs ${server}` }, async (t) => {
      const { status, stdout, stderr } = spawnSync(server, args, { cwd, env, encoding: 'utf8' });
      t.equal(status, 0, stdout + stderr);
      const broken = join(t.testdir(), 'broken');
      writeFileSync(broken, '{ nothing of the kind');
      const wrong = args.map((word) => word.replace(/[^=]+\.(conf|json)$/, broken));
      t.not(spawnSync(server, wrong, { cwd, env }).status, 0, 'and it notices what is wrong');
    });
  }
  for (const file of ['dnsmasq.conf', 'dhcpd.conf', 'kea-dhcp4.json']) {
    const text = readDocument(`deploy/dhcp/${file}`);
    t.match(text, /OptiIpPhone/, file);
    t.match(text, /Siemens/, file);
    t.match(text, /sdlp:\/\/10\.30\.0\.10:18443/, file);
    const numbers = [...text.matchAll(/OptiIpPhone,(\d+)|code (\d+) =|"code": (\d+)/g)].map((found) =>
      Number(found.slice(1).find(Boolean)),
    );
    t.same(
      numbers.filter((number) => number !== 43),
      [1, 3],
      `${file}: option 43 and no sub-option but these`,
    );
  }
});
