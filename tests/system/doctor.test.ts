import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { parse, stringify } from 'yaml';
import type { Finding } from '../../shared/doctor/finding.ts';
import { startGate } from '../fixtures/gate.ts';
import { runProgram } from '../fixtures/program.ts';
import type { ProgramName } from '../fixtures/program.ts';

const TOKEN = 'a-token-that-nobody-may-ever-read';

interface Seen {
  code: number | string;
  /** All that was printed. */
  text: string;
  ok: boolean;
  /** Findings that are not ok, as people read them. */
  complaints: string[];
}

async function doctor(name: ProgramName, config: string, ...more: string[]): Promise<Seen> {
  const { code, stdout, stderr } = await runProgram(name, ['doctor', '--config', config, '--json', ...more]);
  const { ok, findings } = JSON.parse(stdout) as { ok: boolean; findings: Finding[] };
  const complaints = findings
    // How fast the disk is says nothing about this gate: other tests write to it, too.
    .filter(({ level, says }) => level !== 'ok' && !says.startsWith('a sync takes'))
    .map(({ level, check, about, says, fix }) => `${level} ${check} ${about}: ${says} → ${fix}`);
  return { code, text: `${stdout}${stderr}`, ok, complaints };
}

t.test('doctor of a whole gate, and of one in which much is broken', async (t) => {
  const gate = await startGate(t, { logLevel: 'info' });
  const { relayConfig, dir } = gate;
  const tokenFile = join(dir, 'token');
  await writeFile(tokenFile, TOKEN, { mode: 0o600 });
  await chmod(join(dir, 'shown.key'), 0o600);
  const chain = `${await readFile(join(dir, 'shown.pem'), 'utf8')}\n${gate.authority.cert}`;
  await writeFile(join(dir, 'chain.pem'), chain);
  const written = parse(await readFile(relayConfig, 'utf8')) as Record<string, object> & {
    services: { tls: object }[];
  };
  const [service] = written.services;
  const rewrite = (change: object): Promise<void> =>
    writeFile(relayConfig, stringify({ ...written, ...change }));
  const shown = (file: string) => ({
    services: [{ ...service, tls: { ...service?.tls, cert: join(dir, file) } }],
  });

  await t.test('the relay’s, well', async (t) => {
    await rewrite(shown('chain.pem'));
    const door = gate.doors['wpi'] ?? '';
    const seen = await doctor('sallyport-relay', relayConfig, '--door', door);
    t.equal(seen.code, 0);
    t.equal(seen.ok, true);
    t.same(
      seen.complaints,
      [
        `warn phones door ${door}: the chain ends with localhost, issued by Test Authority, which is not shown → if Test Authority is an intermediate, append its certificate to the file: phones fetch none; if it is the root that phones have, all is well`,
      ],
      'the relay shows what it read when it started',
    );
    t.match(seen.text, /registered there/);
    t.match(seen.text, /speaks TLS 1\.2, TLS 1\.3/);
    t.match(seen.text, /runs and is ready/);
    const links = await gate.call('GET', '/v1/proxies');
    t.match(JSON.stringify(links.body), /"state":"up"/, 'and its link was not touched');
  });

  await t.test('the proxy’s, well', async (t) => {
    const seen = await doctor('sallyport-proxy', gate.proxyConfig);
    t.equal(seen.code, 0, seen.text);
    const expected = process.getuid?.() === 0 ? ['warn privileges user'] : [];
    t.same(
      seen.complaints
        .map((each) => each.split(':')[0])
        .filter((each) => !/^warn (doors|limits)/.test(each ?? '')),
      expected,
      seen.complaints.join('\n'),
    );
    t.match(seen.text, new RegExp(`held by the running proxy \\(pid ${gate.proxy.pid}\\)`));
    t.match(seen.text, /a poll of an unknown device with 200/);
    t.match(seen.text, /door wpi, door .*speaks TLS 1\.2, TLS 1\.3/);
    t.match(seen.text, /may be served by hq-1/);
  });

  await t.test('the relay’s, with much that is broken', async (t) => {
    const expired = await gate.authority.issue(['localhost'], { days: [-9, -3] });
    await writeFile(join(dir, 'expired.pem'), `${expired.cert}\n${gate.authority.cert}`);
    await writeFile(join(dir, 'expired.key'), expired.key, { mode: 0o644 });
    const tls = { cert: join(dir, 'expired.pem'), key: join(dir, 'expired.key') };
    const api = { ...written['api'], token_file: tokenFile };
    await rewrite({ api, services: [{ ...service, tls }] });
    await chmod(tokenFile, 0o640);
    await gate.service.close();
    await runProgram('sallyport-proxy', ['revoke', 'hq-1', '--config', gate.proxyConfig]);
    const seen = await doctor('sallyport-relay', relayConfig);
    t.equal(seen.code, 1);
    t.equal(seen.ok, false);
    for (const complaint of [
      /^warn keys key of service wpi .*expired\.key: .*mode 0644\) → chmod 600/,
      /^warn keys API token .*: .*mode 0640\) → chmod 600/,
      /^fail proxies .*not known here.* → this relay was revoked/,
      /^fail services service wpi: .*ECONNREFUSED.* → start the service/,
      /^fail certificates service wpi: the certificate expired [23] days ago .* → get a new certificate/,
    ]) {
      t.ok(
        seen.complaints.some((each) => complaint.test(each)),
        `${complaint}: ${seen.complaints.join('\n')}`,
      );
    }
    t.notMatch(seen.text, TOKEN);
    t.notMatch(seen.text, /PRIVATE KEY/);
  });

  await t.test(
    'a config that is wrong in parts: each fault, and whatever the rest lets be looked at',
    async (t) => {
      await rewrite({ proxies: [], outbox: { path: './outbox', pathh: 'x' } });
      const { code, stdout } = await runProgram('sallyport-relay', ['doctor', '--config', relayConfig]);
      t.equal(code, 1);
      t.match(stdout, /^fail {2}config .*relay\.yaml:\d+: proxies is \[\] → expected: at least one proxy/m);
      t.match(stdout, /outbox\.pathh .*no such field/);
      t.match(
        stdout,
        /^warn {2}config .*is looked at without (proxies, outbox\.pathh|outbox\.pathh, proxies) /m,
      );
      t.match(stdout, /^warn {2}proxies .*was not looked at: proxies is wrong in the config/m);
      t.match(stdout, /^ok {4}outbox .*a sync takes/m, 'the outbox is where it is all the same');
      // It was revoked: within ten seconds its link is cut, before this or after.
      t.match(stdout, /^(ok {4}|warn {2})running .*runs/m);
      t.notMatch(stdout, '\u001b', 'no colours into a pipe');

      await writeFile(relayConfig, 'name: [half\n');
      const torn = await runProgram('sallyport-relay', ['doctor', '--config', relayConfig]);
      t.equal(torn.code, 1);
      t.match(torn.stdout, /^fail {2}config .*not readable as YAML/m);

      const proxy = parse(await readFile(gate.proxyConfig, 'utf8')) as { poll: object[]; relay: object };
      const poll = [{ ...proxy.poll[0], tls: { cert: 'gone.pem', key: 'gone.key' } }, ...proxy.poll];
      const broken = join(dir, 'proxy', 'broken.yaml');
      await writeFile(broken, stringify({ ...proxy, poll, relay: { ...proxy.relay, state: 7 }, worker: 1 }));
      const seen = await doctor('sallyport-proxy', broken);
      t.equal(seen.code, 1);
      const says = seen.complaints.join('\n');
      for (const fault of [
        /poll\[0\]\.tls\.cert is "gone/,
        /poll\[0\]\.tls\.key is /,
        /relay\.state is 7/,
        /worker is 1 /,
      ])
        t.match(says, fault);
      t.match(
        says,
        /warn relays relays: was not looked at: relay is wrong in the config → mend the config first/,
      );
      t.match(seen.text, /a poll of an unknown device with 200/, 'the door that is right is polled');
      t.match(seen.text, new RegExp(`runs \\(pid ${gate.proxy.pid}\\)`));
    },
  );
});
