import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { stringify } from 'yaml';
import { MACHINE } from '../../../relay-client/assembly/world.ts';
import { loadRelayConfig } from '../../../relay-client/config.ts';
import { createModelOutbox } from '../../../relay-client/outbox/model.ts';
import { createRelay } from '../../../relay-client/relay.ts';
import { createPrivateKeyPem } from '../../../shared/key-pair.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

t.test('a relay that could not start leaves nothing behind that goes on by itself', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  t.teardown(() => taken.close());
  await once(taken, 'listening');
  const dir = t.testdir({ 'relay.key': createPrivateKeyPem() });
  const file = join(dir, 'relay.yaml');
  const { port } = taken.address() as AddressInfo;
  writeFileSync(
    file,
    stringify({
      name: 'hq-1',
      key: 'relay.key',
      proxies: [{ url: 'wss://127.0.0.1:1', pin: `sha256:${Buffer.alloc(32).toString('base64')}` }],
      services: [{ name: 'wpi', kind: 'wpi', upstream: 'http://127.0.0.1:1' }],
      poll_source: { url: 'http://127.0.0.1:1/dcmp/', interval_s: 60 },
      api: { listen: `127.0.0.1:${port}` },
    }),
  );

  const clock = createFakeClock();
  const running = new Set<object>();
  const counted = {
    ...clock,
    every(period: number, task: () => void) {
      const timer = clock.every(period, task);
      running.add(timer);
      return {
        cancel() {
          running.delete(timer);
          timer.cancel();
        },
      };
    },
  };
  const starting = createRelay(loadRelayConfig(file), {
    clock: counted,
    log: silentLog,
    software: 'test',
    world: {
      ...MACHINE,
      openOutbox: async () => createModelOutbox({ clock, random: randomBytes }),
    },
  });
  await t.rejects(starting, { code: 'ADDRESS_IN_USE' });
  t.equal(running.size, 0);
});
