import { readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:tls';
import t from 'tap';
import { parse, stringify } from 'yaml';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { parseAddress } from '../../shared/address.ts';
import { createAuthority } from '../fixtures/certificates.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Program } from '../fixtures/program.ts';

t.test('SIGHUP opens new session doors, closes those that are gone, and leaves the rest alone', async (t) => {
  const gate = await startGate(t);
  const [, port = ''] = /:(\d+)$/.exec(gate.phoneService) ?? [];
  const staying = connect({ host: '127.0.0.1', port: Number(port), rejectUnauthorized: false });
  t.teardown(() => staying.destroy());
  await new Promise((resolve) => staying.once('secureConnect', resolve));

  const config = parse(await readFile(gate.proxyConfig, 'utf8')) as { doors: object[] };
  const more = [...config.doors, { name: 'second', service: 'wpi', listen: '127.0.0.1:0' }];
  await writeFile(gate.proxyConfig, stringify({ ...config, doors: more }));
  gate.proxy.signal('SIGHUP');
  const reloaded = await gate.proxy.line(({ msg }) => msg === 'reloaded');
  const { second } = reloaded['doors'] as { second: string };
  const fresh = connect({ host: '127.0.0.1', port: Number(second.split(':')[1]), rejectUnauthorized: false });
  t.teardown(() => fresh.destroy());
  await new Promise((resolve, reject) => fresh.once('secureConnect', resolve).once('error', reject));
  t.pass('the new door leads to the service');
  t.notOk(staying.destroyed, 'a phone at the old door has not been cut');

  await writeFile(
    gate.proxyConfig,
    stringify({ ...config, doors: [{ ...config.doors[0], listen: 'nowhere' }] }),
  );
  gate.proxy.signal('SIGHUP');
  const failed = await gate.proxy.line(({ msg }) => String(msg).startsWith('reload failed'));
  t.match(failed, { why: /doors\[0\]\.listen is "nowhere"/ }, 'a broken config changes nothing and says why');
  t.equal(await gate.poll('00:1a:e8:00:00:01'), 200);
});

t.test(
  'new certificates are shown after SIGHUP, connections go on, and a broken file keeps the old',
  async (t) => {
    const authority = await createAuthority();
    const dir = t.testdir();
    const [cert, key] = [join(dir, 'shown.pem'), join(dir, 'shown.key')];
    const show = async (name: string): Promise<void> => {
      const issued = await authority.issue([name]);
      writeFileSync(cert, issued.cert);
      writeFileSync(key, issued.key);
    };
    await show('first.example');
    const listen = '127.0.0.1:0';
    const inspected = { service: 'wpi', listen, tls: 'proxy', cert, key };
    const proxy = {
      poll: [{ listen }, { listen, tls: { cert, key } }],
      doors: [
        { name: 'wpi', service: 'wpi', listen, tls: 'relay' },
        { ...inspected, name: 'inspected' },
        { ...inspected, name: 'old', profile: 'legacy' },
      ],
    };
    const gate = await startGate(t, { proxy, wpi: { tls: { cert, key } } });
    const [, securePoll = ''] = gate.proxy.ready['poll'] as string[];
    const doors: Record<string, string> = {
      poll: securePoll,
      inspected: gate.doors['inspected'] ?? '',
      old: gate.doors['old'] ?? '',
      sealed: gate.doors['wpi'] ?? '',
    };
    const reach = async (address: string): Promise<TLSSocket> => {
      const socket = connect({ ...parseAddress(address), rejectUnauthorized: false });
      t.teardown(() => socket.destroy());
      await once(socket, 'secureConnect');
      return socket;
    };
    const names = async (): Promise<Record<string, unknown>> =>
      Object.fromEntries(
        await Promise.all(
          Object.entries(doors).map(async ([name, address]) => {
            const socket = await reach(address);
            socket.on('error', () => undefined);
            const shown = socket.getPeerCertificate().subject.CN;
            socket.destroy();
            return [name, shown];
          }),
        ),
      ) as Record<string, unknown>;
    const all = (name: string) => ({ poll: name, inspected: name, old: name, sealed: name });
    t.same(await names(), all('first.example'));
    const staying = await Promise.all(Object.values(doors).map(reach));

    const hangUp = async (program: Program, msg: RegExp): Promise<unknown> => {
      const from = program.lines.length;
      program.signal('SIGHUP');
      return program.line((line) => msg.test(line.msg) && program.lines.indexOf(line) >= from);
    };
    writeFileSync(cert, 'no certificate');
    const told = { why: /shown\.pem|doors\[1\]\.cert/ };
    t.match(await hangUp(gate.proxy, /^reload failed/), told);
    t.match(await hangUp(gate.relay, /^reload failed/), { why: /shown\.pem/ });
    t.same(await names(), all('first.example'), 'the old one goes on being shown');

    await show('second.example');
    await hangUp(gate.proxy, /^reloaded/);
    await hangUp(gate.relay, /^reloaded/);
    t.same(await names(), all('second.example'));
    for (const [i, socket] of staying.entries()) {
      const answered = once(socket, 'data') as Promise<[Buffer]>;
      socket.write('GET /dcmp/contact-me?device-id=001ae8000001 HTTP/1.1\r\nHost: x\r\n\r\n');
      const [bytes] = await answered;
      t.match(
        bytes.toString(),
        /^HTTP\/1\.1 /,
        `${Object.keys(doors)[i]}: who was there before is still served`,
      );
    }
  },
);
