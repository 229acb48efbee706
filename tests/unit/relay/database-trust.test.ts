import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { createRelayProgram } from '../../../relay-client/cli/program.ts';
import { databaseWarnings } from '../../../relay-client/outbox/postgres-trust.ts';

t.test('a database beyond this machine is warned of unless its certificate is looked at', async (t) => {
  const of = (url: string) => databaseWarnings(new URL(url));
  const none = /^the outbox at PostgreSQL db\.internal(:5432)?\/sallyport is spoken to without TLS/;
  const unverified = /by TLS without looking at its certificate/;
  const cases: [query: string, says: RegExp | null][] = [
    ['', none],
    ['?sslmode=disable', none],
    ['?ssl=0', none],
    ['?sslmode=no-verify', unverified],
    ['?uselibpqcompat=true&sslmode=prefer', unverified],
    ['?uselibpqcompat=true&sslmode=require', unverified],
    // The driver takes these for verify-full.
    ['?sslmode=prefer', null],
    ['?sslmode=require', null],
    ['?sslmode=verify-ca', null],
    ['?sslmode=verify-full', null],
    ['?ssl=true', null],
  ];
  for (const [query, says] of cases) {
    const told = await of(`postgres://relay:hunter2@db.internal:5432/sallyport${query}`);
    t.match(told, says === null ? [] : [says], query);
    t.equal(told.length, says === null ? 0 : 1, query);
    t.notMatch(told.join(), /hunter2|relay:/);
  }
  t.match(await of('postgres://relay@10.0.0.7/x'), [/without TLS/]);
  for (const here of [
    'postgres://relay@localhost/x',
    'postgres://relay@127.0.0.1:5433/x',
    'postgres://relay@[::1]/x',
    'postgres://relay@%2Fvar%2Frun%2Fpostgresql/x',
    'postgres:///x?user=relay&host=/run/postgresql',
  ])
    t.same(await of(here), [], here);
  t.same(await databaseWarnings(null), []);
});

t.test('check says it', async (t) => {
  const dir = t.testdir({});
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeFileSync(join(dir, 'relay.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  const config = join(dir, 'relay.yaml');
  writeFileSync(
    config,
    JSON.stringify({
      name: 'hq-1',
      key: 'relay.key',
      proxies: [{ url: 'wss://proxy.example:9443', pin: `sha256:${'A'.repeat(43)}=` }],
      outbox: { path: 'outbox', postgres: 'postgres://relay@db.internal/sallyport' },
    }),
  );
  let out = '';
  const program = createRelayProgram({
    out: (text) => void (out += text),
    err: t.fail,
    painted: t.fail,
    paint: (_, text) => text,
    terminal: false,
    env: {},
    signal: new AbortController().signal,
    exit: () => undefined,
  });
  await program.parseAsync(['check', '--config', config], { from: 'user' });
  t.match(out, /is fine.*\nbut the outbox at PostgreSQL db\.internal\/sallyport is spoken to without TLS/s);
});
