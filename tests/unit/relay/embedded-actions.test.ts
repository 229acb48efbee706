import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { stringify } from 'yaml';
import { embedRelay, isSallyportError, loadRelayConfig } from '../../../relay-client/index.ts';
import { createPrivateKeyPem } from '../../../shared/key-pair.ts';

const MAC = '00:1A:E8:00:00:01';

t.test('an embedded relay holds actions, refuses wrong ones, and tells results', async (t) => {
  const dir = t.testdir({ 'relay.key': createPrivateKeyPem() });
  const file = join(dir, 'relay.yaml');
  const pin = `sha256:${Buffer.alloc(32).toString('base64')}`;
  writeFileSync(
    file,
    stringify({
      name: 'hq-1',
      key: 'relay.key',
      proxies: [{ url: 'wss://127.0.0.1:1', pin }],
      services: [{ name: 'wpi', kind: 'wpi', upstream: 'http://127.0.0.1:1' }],
      api: { listen: '127.0.0.1:0' },
    }),
  );
  const relay = await embedRelay(loadRelayConfig(file));
  t.teardown(() => relay.close());
  const actions = [{ action: 'ReadItems', items: ['e164'] }];
  const message = await relay.push(MAC, { actions, key: 'job' });
  t.match(message, { kind: 'dls', state: 'held', generation: 1 });
  t.equal((await relay.push(MAC, { actions, key: 'job' })).id, message.id);
  t.strictSame(await relay.results(message.id), []);
  t.equal(await relay.results('none'), null);
  const error: unknown = await relay.push(MAC, { actions: [{ action: 'Fly' }] }).catch((why: unknown) => why);
  t.ok(isSallyportError(error, 'REQUEST_INVALID'));
  t.match(error, { message: /actions\.0\.action/ });
  t.match(await relay.push(MAC), { kind: 'contact-me' });
  t.equal((await relay.messages(MAC)).length, 2);
});
