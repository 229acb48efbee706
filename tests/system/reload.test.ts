import { readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:tls';
import t from 'tap';
import { parse, stringify } from 'yaml';
import { startGate } from '../fixtures/gate.ts';

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
