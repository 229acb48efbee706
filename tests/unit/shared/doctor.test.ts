import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import t from 'tap';
import type { Test } from 'tap';
import { lookAtChainText } from '../../../shared/doctor/chain.ts';
import { judgeClock } from '../../../shared/doctor/clock.ts';
import { descriptorLimit, judgeDescriptors } from '../../../shared/doctor/descriptors.ts';
import { diagnose } from '../../../shared/doctor/diagnose.ts';
import { judgeRoom, judgeSyncs, lookAtSyncs } from '../../../shared/doctor/disk.ts';
import { lookAtOwnDirectory, lookAtSecretFile } from '../../../shared/doctor/files.ts';
import { ok, warn } from '../../../shared/doctor/finding.ts';
import type { Look } from '../../../shared/doctor/finding.ts';
import { lookAtNames } from '../../../shared/doctor/names.ts';
import { lookAtPair } from '../../../shared/doctor/pairs.ts';
import { findingLine, isHealthy, summaryLine } from '../../../shared/doctor/report.ts';
import { lookAtTlsDoor } from '../../../shared/doctor/tls-offer.ts';
import { createPaint } from '../../../shared/paint.ts';
import { tlsProfileOptions } from '../../../shared/tls-profile.ts';
import type { TlsProfile } from '../../../shared/tls-profile.ts';
import { createAuthority } from '../../fixtures/certificates.ts';

const now = Date.now();
const never = new AbortController().signal;

/** Level, what was seen, and what to do, of the one finding that there is. */
function only(t: Test, looks: readonly Look[]): Look {
  t.equal(looks.length, 1, JSON.stringify(looks));
  return looks[0] ?? ok('', '');
}

t.test('checks go on after one that fails, throws or never ends, each within its time', async (t) => {
  const told: string[] = [];
  let given: AbortSignal | null = null;
  const findings = await diagnose(
    [
      { name: 'throws', look: () => Promise.reject(new Error('no such luck')) },
      {
        name: 'hangs',
        withinMs: 50,
        look(signal) {
          given = signal;
          return new Promise(() => undefined);
        },
      },
      { name: 'fine', look: () => [ok('it', 'works')] },
    ],
    ({ check, level }) => told.push(`${check} ${level}`),
  );
  t.same(told, ['throws fail', 'hangs fail', 'fine ok']);
  t.match(findings[0]?.says, /no such luck/);
  t.match(findings[1]?.says, /longer than 0.05 s/);
  t.equal((given as AbortSignal | null)?.aborted, true, 'what hangs is told to give up');
  t.equal(isHealthy(findings), false);
  t.equal(summaryLine(findings), '1 ok, 0 to look at, 2 failed');
});

t.test(
  'a line says what to do, is one line whatever stands in it, and is coloured at terminals only',
  async (t) => {
    const finding = { check: 'clock', ...warn('a\nb', 'is \u001b[2Jodd', 'set it') };
    const plain = createPaint(false, {});
    t.equal(findingLine(finding, plain), 'warn  clock         a\\u000ab: is \\u001b[2Jodd → set it');
    t.match(findingLine(finding, createPaint(true, {})), /^\u001b\[33mwarn\u001b\[0m {2}clock/);
    t.equal(findingLine(finding, createPaint(true, { NO_COLOR: '1' })), findingLine(finding, plain));
    t.equal(findingLine(finding, createPaint(true, { TERM: 'dumb' })), findingLine(finding, plain));
    const far = { check: 'firewall', ...ok('x', 'is fine', 'try it there: nc') };
    t.equal(findingLine(far, plain), 'ok    firewall      x: is fine (try it there: nc)');
  },
);

t.test('certificate chains', async (t) => {
  const root = await createAuthority('Root');
  const between = await root.intermediate('Between');
  const look = (pem: string, profile: TlsProfile = 'intermediate') =>
    lookAtChainText('service wpi', pem, profile, now);
  const good = await between.issue(['phones.example'], { rsa: true });

  t.match(only(t, look(good.cert + between.cert + root.cert)), {
    level: 'ok',
    says: /^3 certificates, RSA 2048, good until \d{4}-/,
  });
  t.match(only(t, look(good.cert)), {
    level: 'warn',
    says: /ends with phones\.example, issued by Between, which is not shown/,
    fix: /if Between is an intermediate, append its certificate/,
  });
  t.match(only(t, look(good.cert + root.cert)), {
    level: 'fail',
    says: /phones\.example was not issued by Root, which comes next/,
    fix: /order the file/,
  });
  const expired = await root.issue(['old.example'], { days: [-30, -2] });
  t.match(only(t, look(expired.cert + root.cert)), {
    level: 'fail',
    says: /the certificate expired [12] days? ago/,
    fix: /get a new certificate .* SIGHUP/,
  });
  const soon = await root.issue(['soon.example'], { days: [-30, 5] });
  t.match(only(t, look(soon.cert + root.cert)), { level: 'warn', says: /expires in [45] days/ });
  const early = await root.issue(['early.example'], { days: [2, 30] });
  t.match(only(t, look(early.cert + root.cert)), {
    level: 'fail',
    says: /good only from .* on/,
    fix: /set this machine’s clock/,
  });
  const sha1 = await root.issue(['sha1.example'], { hash: 'SHA-1' });
  t.match(only(t, look(sha1.cert + root.cert)), { level: 'warn', says: /SHA-1/, fix: /SHA-256/ });
  const short = await root.issue(['short.example'], { rsa: 1024 });
  t.match(only(t, look(short.cert + root.cert)), {
    level: 'fail',
    says: /RSA key has 1024 bits/,
    fix: /a key of 2048 bits/,
  });
  t.equal(only(t, look(short.cert + root.cert, 'legacy')).level, 'warn', 'old phones may need it');
  const ecdsa = await root.issue(['ecdsa.example']);
  t.match(only(t, look(ecdsa.cert + root.cert, 'legacy')), {
    level: 'warn',
    says: /ECDSA prime256v1: phones that offer no ECDSA ciphers/,
    fix: /RSA key of 2048 bits/,
  });
  t.equal(only(t, look(ecdsa.cert + root.cert)).level, 'ok');
  t.match(only(t, look('nothing')), { level: 'fail', says: 'shows no certificate' });
});

t.test('a pair of files', async (t) => {
  const dir = t.testdir();
  const root = await createAuthority();
  const [one, other] = [await root.issue(['a']), await root.issue(['b'])];
  const files = { cert: join(dir, 'a.pem'), key: join(dir, 'a.key') };
  await writeFile(files.cert, one.cert);
  await writeFile(files.key, one.key);
  const look = () => lookAtPair({ name: 'door old', ...files, profile: 'intermediate' });
  t.equal(look().level, 'ok');
  await writeFile(files.key, other.key);
  t.match(look(), { level: 'fail', says: /a\.key does not fit/, fix: /private key of the certificate/ });
  t.notMatch(JSON.stringify(look()), /PRIVATE/);
});

t.test('secret files and directories of one’s own', async (t) => {
  const dir = t.testdir({ key: 'x', file: 'x' });
  await mkdir(join(dir, 'open'), { mode: 0o755 });
  await mkdir(join(dir, 'own'), { mode: 0o700 });
  await writeFile(join(dir, 'secret'), 'x', { mode: 0o600 });
  await writeFile(join(dir, 'shared'), 'x', { mode: 0o644 });
  t.equal(lookAtSecretFile('key', join(dir, 'secret')).level, 'ok');
  t.match(lookAtSecretFile('key', join(dir, 'shared')), {
    level: 'warn',
    says: /by others \(mode 0644\)/,
    fix: `chmod 600 ${join(dir, 'shared')}`,
  });
  t.match(lookAtSecretFile('key', join(dir, 'none')), { level: 'fail', says: /ENOENT/, fix: /mode 600/ });
  t.equal(lookAtOwnDirectory('state', join(dir, 'own')).level, 'ok');
  t.match(lookAtOwnDirectory('state', join(dir, 'open')), { level: 'warn', fix: /^chmod 700 / });
  t.match(lookAtOwnDirectory('state', join(dir, 'file')), { level: 'fail', says: 'is no directory' });
  t.match(lookAtOwnDirectory('state', join(dir, 'none')), { level: 'fail', fix: /^make it, writable/ });
});

t.test('disks', async (t) => {
  const dir = t.testdir();
  t.match(await lookAtSyncs(dir, never), { says: /a sync takes .* of 8$/ });
  // No file can be made there, by root neither.
  t.match(await lookAtSyncs('/proc/self', never), {
    level: 'fail',
    says: /no file can be written and synced there/,
    fix: /writable .* full or read-only/,
  });
  t.equal(judgeSyncs('d', [1, 2, 3]).level, 'ok');
  t.match(judgeSyncs('d', [40, 50, 60]), {
    level: 'warn',
    says: /takes 50 ms, at most 60 ms/,
    fix: /faster disk/,
  });
  t.equal(judgeSyncs('d', [2_000]).level, 'fail');
  const room = { type: 0xef53, bytes: 2 ** 40, files: 1e6, filesTotal: 2e6 };
  t.equal(only(t, judgeRoom('d', room)).level, 'ok');
  t.match(only(t, judgeRoom('d', { ...room, bytes: 2 ** 29 })), { level: 'warn', fix: /make room/ });
  t.equal(only(t, judgeRoom('d', { ...room, bytes: 2 ** 20 })).level, 'fail');
  t.match(judgeRoom('d', { ...room, files: 3 })[1], { level: 'fail', says: /only 3 more files/ });
  t.match(judgeRoom('d', { ...room, type: 0x6969 })[1], { level: 'fail', says: /NFS/, fix: /local disk/ });
  t.match(judgeRoom('d', { ...room, type: 0x01021994 })[1], { level: 'warn', says: /in memory/ });
});

t.test('clocks', async (t) => {
  const told = (s: number) => judgeClock('proxy', { date: now + s * 1000, asked: now, answered: now + 100 });
  t.equal(told(0).level, 'ok');
  t.equal(told(-2).level, 'ok', 'a Date header tells whole seconds');
  t.match(told(60), { level: 'warn', says: /60 s ahead/, fix: /NTP/ });
  t.match(told(-600), { level: 'fail', says: /600 s behind/, fix: /certificates, invites and logs/ });
  t.match(judgeClock('proxy', null), { level: 'ok', says: /does not tell its time/ });
});

t.test('descriptors', async (t) => {
  const dir = t.testdir({
    limits: 'Limit  Soft Limit  Hard Limit  Units\nMax open files   1024   4096   files\n',
  });
  t.equal(descriptorLimit(join(dir, 'limits')), 4_096);
  t.equal(descriptorLimit(join(dir, 'none')), null);
  t.equal(judgeDescriptors('it', 4_096, 4_000, 'sum').level, 'ok');
  t.match(judgeDescriptors('it', 1_024, 4_000, 'sum'), { level: 'warn', fix: /LimitNOFILE=4000/ });
});

t.test('names', async (t) => {
  const looks = await lookAtNames([
    { host: 'localhost', use: 'proxy' },
    { host: 'nowhere.invalid', use: 'service wpi' },
    { host: '192.0.2.1', use: 'no name' },
    { host: 'far.invalid', use: 'proxy', elsewhere: 'the corporate proxy' },
  ]);
  t.match(looks, [
    { level: 'ok', about: 'localhost (proxy)' },
    { level: 'fail', about: 'nowhere.invalid (service wpi)', fix: /DNS or \/etc\/hosts/ },
    { level: 'ok', says: /looked up by the corporate proxy/ },
  ]);
});

t.test('doors as an old phone sees them', async (t) => {
  const root = await createAuthority();
  const { cert, key } = await root.issue(['localhost'], { rsa: true });
  for (const [profile, says] of [
    ['legacy', /TLS 1.0, TLS 1.1, TLS 1.2, TLS 1.3 \(profile legacy\); old firmware included/],
    ['intermediate', /TLS 1.2, TLS 1.3 \(profile intermediate\); .* needs profile legacy/],
    ['modern', /speaks TLS 1.3 \(profile modern\)/],
  ] as const) {
    const server = createServer({ ...tlsProfileOptions(profile), cert: `${cert}\n${root.cert}`, key });
    server.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const door = { host: '127.0.0.1', port };
    t.match(await lookAtTlsDoor(door, now, never, 'start it'), [
      { level: 'ok', says },
      { level: 'ok', says: /2 certificates, RSA 2048/ },
    ]);
    await new Promise((resolve) => server.close(resolve));
    t.match(await lookAtTlsDoor(door, now, never, 'start it'), [
      { level: 'fail', says: /ECONNREFUSED/, fix: 'start it' },
    ]);
  }
});
