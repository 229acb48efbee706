import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { createProxyProgram } from '../../../proxy/cli/program.ts';
import { initProxy } from '../../../proxy/init.ts';
import { KEY_OVERLAP_MS, openRegistry } from '../../../proxy/relays/registry.ts';
import type { RelayRecord } from '../../../proxy/relays/registry.ts';

const record = (name: string, letter: string): RelayRecord => ({
  name,
  site: 'default',
  pin: `sha256:${letter.repeat(43)}=`,
  added: '2026-01-05T08:00:00.000Z',
});

function open(t: Test) {
  const dir = join(t.testdir({}), 'state');
  const faults: string[] = [];
  return { dir, faults, registry: openRegistry(dir, (why) => faults.push(why)) };
}

t.test('relays are found by their pin, also by another process, until they are removed', async (t) => {
  const { dir, registry } = open(t);
  const other = openRegistry(dir, (why) => t.fail(why));
  registry.put(record('hq-1', 'A'));
  registry.put(record('hq-2', 'B'));
  t.same(other.byPin(record('', 'B').pin), record('hq-2', 'B'));
  t.equal(other.byPin(record('', 'C').pin), null);
  t.equal(other.remove('hq-2'), true);
  t.equal(other.remove('hq-2'), false);
  t.same(registry.list(), [record('hq-1', 'A')]);
});

t.test('the command lists relays as a table, former keys while they are good', async (t) => {
  const dir = t.testdir({});
  const { files } = await initProxy(dir, new Date());
  const printed = async (...args: string[]): Promise<string> => {
    let out = '';
    const terminal = {
      out: (text: string) => void (out += text),
      err: t.fail,
      paint: (_: unknown, text: string) => text,
    };
    await createProxyProgram(terminal).parseAsync(['relays', '--config', files[0]!, ...args], {
      from: 'user',
    });
    return out;
  };
  t.match(await printed(), /no relay has joined/);
  const registry = openRegistry(join(dir, 'state'), (why) => t.fail(why));
  const [first, second, other] = [record('hq-1', 'A'), record('hq-1', 'B'), record('branch', 'C')];
  for (const each of [first, second, { ...other, site: 'south' }]) registry.put(each);
  const lines = (await printed()).split('\n').map((line) => line.split(/ {2,}/));
  t.match(lines, [
    ['RELAY', 'SITE', 'JOINED', 'KEY', 'FORMER KEY', 'GOOD UNTIL'],
    ['branch', 'south', other.added, other.pin, '-', '-'],
    ['hq-1', 'default', second.added, second.pin, first.pin, /^20\d\d-/],
    [''],
  ]);
  t.equal((await printed('--site', 'south')).trim().split('\n').length, 2);
  t.match(JSON.parse(await printed('--json')), [
    { name: 'branch' },
    { name: 'hq-1', former: { pin: first.pin } },
  ]);
});

t.test('a relay that joins again with another key has both for a day, and then the new one', async (t) => {
  let now = Date.parse('2026-01-05T08:00:00.000Z');
  const dir = join(t.testdir({}), 'state');
  const registry = openRegistry(
    dir,
    (why) => t.fail(why),
    () => now,
  );
  const [a, b, c] = ['A', 'B', 'C'].map((letter) => record('hq-1', letter));
  registry.put(a!);
  registry.put(b!);
  t.match(registry.byPin(a!.pin), { name: 'hq-1', pin: a!.pin });
  t.match(registry.byPin(b!.pin), { name: 'hq-1', pin: b!.pin });
  t.equal(registry.list().length, 1);
  now += KEY_OVERLAP_MS - 1;
  t.ok(registry.byPin(a!.pin));
  now += 1;
  t.equal(registry.byPin(a!.pin), null);
  registry.put(c!);
  t.equal(registry.byPin(a!.pin), null, 'one former key, not more');
  t.ok(registry.byPin(b!.pin));
  t.equal(registry.removedAt('hq-1'), -Infinity);
  registry.remove('hq-1');
  t.equal(registry.removedAt('hq-1'), now, 'invites of before are void');
  for (const each of [a, b, c]) t.equal(registry.byPin(each!.pin), null, 'a revoked relay has none');
  registry.put(a!);
  registry.put({ ...b!, site: 'south' });
  t.equal(registry.byPin(a!.pin), null, 'a key does not follow its relay to another site');
});

t.test('used invites are forgotten when they are long past', async (t) => {
  const { dir, registry } = open(t);
  const used = join(dir, 'used-invites');
  registry.use('old');
  const [old = ''] = readdirSync(used);
  registry.use('newer');
  const days = (count: number): Date => new Date(Date.now() - count * 86_400_000);
  for (const file of readdirSync(used)) utimesSync(join(used, file), days(2), days(2));
  utimesSync(join(used, old), days(9), days(9));
  registry.use('newest');
  t.notOk(readdirSync(used).includes(old));
  t.equal(readdirSync(used).length, 2);
  t.equal(registry.use('newer'), false);
});

t.test('an invite is used once, whichever process asks', async (t) => {
  const { dir, registry } = open(t);
  t.equal(registry.use('token'), true);
  t.equal(registry.use('token'), false);
  t.equal(openRegistry(dir, () => undefined).use('token'), false);
  t.equal(registry.use('another'), true);
});

t.test('only hashes of invites are written, and nothing is for other users', async (t) => {
  const { dir, registry } = open(t);
  registry.use('a-secret-token');
  registry.put(record('hq-1', 'A'));
  const [used = ''] = readdirSync(join(dir, 'used-invites'));
  t.match(used, /^[0-9a-f]{64}$/);
  t.equal(readFileSync(join(dir, 'used-invites', used), 'utf8'), '');
  t.equal(statSync(dir).mode & 0o777, 0o700);
  t.equal(statSync(join(dir, 'relays', 'hq-1.json')).mode & 0o777, 0o600);
});

t.test('a record that cannot be used is told, hides no other, and can be removed', async (t) => {
  const { dir, faults, registry } = open(t);
  registry.put(record('hq-1', 'A'));
  const relays = join(dir, 'relays');
  const broken = {
    'empty.json': '',
    'null.json': 'null',
    'list.json': '[]',
    'torn.json': '{"name":"torn","site":"defau',
    'pin.json': JSON.stringify({ ...record('pin', 'A'), pin: 'sha256:short' }),
    'other.json': JSON.stringify(record('not-other', 'A')),
  };
  for (const [name, text] of Object.entries(broken)) writeFileSync(join(relays, name), text);
  mkdirSync(join(relays, 'folder.json'));
  writeFileSync(join(relays, 'hq-3.json.new'), 'half a rec');
  t.same(registry.list(), [record('hq-1', 'A')]);
  t.equal(faults.length, 7);
  for (const fault of faults) t.match(fault, /relays\/\w+\.json/);
  t.equal(registry.remove('torn'), true);
  t.equal(registry.remove('empty'), true);
  faults.length = 0;
  registry.list();
  t.equal(faults.length, 5);
});

t.test('no name leads out of the directory', async (t) => {
  const { dir, registry } = open(t);
  writeFileSync(join(dir, 'kept.json'), 'x');
  t.equal(registry.remove('../kept'), false);
  t.equal(readFileSync(join(dir, 'kept.json'), 'utf8'), 'x');
});

t.test('a state directory that is gone or no directory is named', async (t) => {
  const { dir, registry } = open(t);
  rmSync(dir, { recursive: true });
  t.throws(() => registry.list(), { code: 'FILE_UNREADABLE', message: /state\/relays/ });
  t.throws(() => registry.byPin(record('', 'A').pin), { code: 'FILE_UNREADABLE' });
  t.throws(() => registry.use('token'), { code: 'FILE_UNWRITABLE', message: /used-invites/ });
  t.throws(() => registry.put(record('hq-1', 'A')), { code: 'FILE_UNWRITABLE', message: /hq-1\.json/ });
  writeFileSync(dir, 'a file');
  t.throws(() => openRegistry(dir, () => undefined), {
    code: 'FILE_UNWRITABLE',
    message: /must be writable by the proxy's user/,
  });
});
