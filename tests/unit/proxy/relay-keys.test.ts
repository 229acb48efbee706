import { join } from 'node:path';
import t from 'tap';
import { openRegistry } from '../../../proxy/relays/registry.ts';
import type { RelayRecord } from '../../../proxy/relays/registry.ts';
import { createRelayKeys } from '../../../proxy/relays/relay-keys.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';

t.test('of a revoked relay all keys are given up before its site has to do with it', async (t) => {
  const registry = openRegistry(join(t.testdir({}), 'state'), (why) => t.fail(why));
  // A second back: a file's time is coarser than the wall clock's.
  const clock = createFakeClock(Date.now() - 1_000);
  const told: string[] = [];
  const keys = createRelayKeys({
    ...{ registry, clock, log: silentLog },
    onGone: ({ pin }) => void told.push(`gone ${pin.at(-2)}`),
    onRevoked: ({ name }) => void told.push(`revoked ${name}`),
  });
  t.teardown(() => keys.stop());
  const added = new Date(Date.now()).toISOString();
  const joined = (letter: string): RelayRecord => {
    registry.put({ name: 'hq-1', site: 'default', pin: `sha256:${letter.repeat(43)}=`, added });
    const owner = keys.ownerOf(`sha256:${letter.repeat(43)}=`);
    if (owner === null || owner === 'unreadable') throw new Error(`nobody has the key ${letter}`);
    return owner;
  };
  keys.watch(joined('A'));
  keys.watch(joined('B'));
  clock.advance(10_000);
  t.same(told, [], 'the former key is good besides the new one');

  registry.remove('hq-1');
  clock.advance(10_000);
  t.same(told, ['gone A', 'gone B', 'revoked hq-1', 'revoked hq-1']);
  clock.advance(10_000);
  t.equal(told.length, 4, 'told once');
});
