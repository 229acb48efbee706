import { cp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { parse, stringify } from 'yaml';
import { breakLink, linkUps } from '../fixtures/faults/links.ts';
import { createMiddleman } from '../fixtures/faults/middleman.ts';
import type { Middleman } from '../fixtures/faults/middleman.ts';
import { long, until } from '../fixtures/faults/until.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { ownAddress } from '../fixtures/ports.ts';
import { startProgram } from '../fixtures/program.ts';
import type { LogLine } from '../fixtures/program.ts';
import { macAfter } from '../phones/index.ts';

const FLAPS = long ? 100 : 5;
const FIRST_MAC = '00:1A:E8:7D:00:01';
/** Requests of the test's own come and go; a leak of one for each flap would be above. */
const SPARE_SOCKETS = 3;

const push = async (t: Test, gate: Gate, device: string): Promise<string> => {
  const { status, body } = await gate.call('POST', `/v1/devices/${device}/messages?wait=proxy`, {});
  t.equal(status, 201);
  return String(body['id']);
};
const stateOf = async (gate: Gate, id: string): Promise<unknown> =>
  (await gate.call('GET', `/v1/messages/${id}`)).body['state'];

/** Sockets that each program has open. Other descriptors are of its threads, of which the outbox starts one by and by. */
async function sockets(gate: Gate): Promise<Record<'relay' | 'proxy', number>> {
  const count = async (pid: number): Promise<number> => {
    const names = await readdir(`/proc/${pid}/fd`);
    const targets = await Promise.all(
      names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')),
    );
    return targets.filter((target) => target.startsWith('socket:')).length;
  };
  return { relay: await count(gate.relay.pid), proxy: await count(gate.proxy.pid) };
}

t.test('links and stores that come and go', async (t) => {
  let link!: Middleman;
  const gate = await startGate(t, {
    logLevel: 'info',
    async link(relayDoor) {
      link = await createMiddleman(relayDoor);
      return link.address;
    },
  });
  t.teardown(() => link.close());
  let devices = 0;
  const nextDevice = (): string => macAfter(FIRST_MAC, devices++);

  await t.test(`${FLAPS} flaps in a row: polls follow, nothing is lost, nothing is left open`, async (t) => {
    const before = await sockets(gate);
    const ids: string[] = [];
    for (let flap = 0; flap < FLAPS; flap += 1) {
      const device = nextDevice();
      const cleared = nextDevice();
      await push(t, gate, cleared);
      const cuts = link.deeds.cuts;
      await breakLink(gate.relay, async () => {
        link.cut();
        // Both changes fall into the time without a link.
        const { body } = await gate.call('POST', `/v1/devices/${device}/messages`, {});
        ids.push(String(body['id']));
        await gate.call('DELETE', `/v1/devices/${cleared}/messages`);
      });
      t.ok(link.deeds.cuts > cuts, `flap ${flap + 1} took place`);
      await gate.polls(device, 202);
      await gate.polls(cleared, 200);
    }
    for (const id of ids) t.equal(await stateOf(gate, id), 'held');
    await until('sockets are given back', async () => {
      const after = await sockets(gate);
      return (['relay', 'proxy'] as const).every(
        (program) => after[program] <= before[program] + SPARE_SOCKETS,
      );
    });
  });

  await t.test('a proxy that lost its memory is told everything again', async (t) => {
    const held = nextDevice();
    const cleared = nextDevice();
    await push(t, gate, held);
    await push(t, gate, cleared);
    gate.proxy.signal('SIGKILL');
    t.equal(await gate.proxy.exited, 'SIGKILL');
    t.equal((await gate.call('DELETE', `/v1/devices/${cleared}/messages`)).status, 200);
    await gate.startProxy();
    t.equal(await gate.poll(held), 200, 'it knows nothing yet');
    await gate.polls(held, 202);
    await gate.polls(cleared, 200);
  });

  const outbox = join(gate.dir, 'relay', 'outbox');
  const copy = join(gate.dir, 'copy');

  await t.test('an outbox put back from an old copy corrects the proxy, which knew more', async (t) => {
    const kept = nextDevice();
    const clearedSince = nextDevice();
    const pushedSince = nextDevice();
    await push(t, gate, kept);
    await push(t, gate, clearedSince);
    t.equal(await gate.relay.stop(), 0);
    await cp(outbox, copy, { recursive: true });
    await gate.startRelay();
    t.equal((await gate.call('DELETE', `/v1/devices/${clearedSince}/messages`)).status, 200);
    await push(t, gate, pushedSince);
    await gate.polls(clearedSince, 200);
    await gate.polls(pushedSince, 202);
    t.equal(await gate.relay.stop(), 0);
    await rm(outbox, { recursive: true });
    await cp(copy, outbox, { recursive: true });
    await gate.startRelay();
    const anew = 'outbox is not the file that was last opened here; a new incarnation begins';
    await gate.relay.line(({ msg }) => msg === anew);
    await gate.polls(pushedSince, 200);
    await gate.polls(clearedSince, 202);
    await gate.polls(kept, 202);
    const again = await push(t, gate, pushedSince);
    await gate.polls(pushedSince, 202);
    t.equal(await stateOf(gate, again), 'held', 'and pushes count as ever');
  });

  await t.test('an outbox that was wiped takes what was pending out of the proxy', async (t) => {
    const gone = nextDevice();
    await push(t, gate, gone);
    t.equal(await gate.relay.stop(), 0);
    await rm(outbox, { recursive: true });
    await gate.startRelay();
    t.equal((await gate.call('GET', `/v1/devices/${gone}`)).body['pending'] ?? 0, 0);
    await gate.polls(gone, 200);
    const device = nextDevice();
    await push(t, gate, device);
    await gate.polls(device, 202);
    t.equal(await gate.poll(gone), 200);
  });

  await t.test(
    'a second relay with the same identity takes over, the first one says so, and is back after it',
    async (t) => {
      const held = nextDevice();
      await push(t, gate, held);
      const config = parse(await readFile(gate.relayConfig, 'utf8')) as Record<string, unknown>;
      const file = join(gate.dir, 'relay', 'twin.yaml');
      const contact = await ownAddress();
      await writeFile(
        file,
        stringify({
          ...config,
          outbox: { path: './twin' },
          api: { listen: '127.0.0.1:0' },
          contact_me: { listen: contact, advertise: `http://${contact}` },
        }),
      );
      const twin = await startProgram('sallyport-relay', ['run', '--config', file]);
      t.teardown(() => twin.stop());
      const replaced = ({ msg, why }: LogLine): boolean =>
        msg === 'link down' && /took over/.test(String(why));
      await gate.relay.line(replaced);
      t.pass('the one that was there says that another one took over');
      await gate.polls(held, 200);
      const ups = linkUps(gate.relay);
      t.equal(await twin.stop(), 0);
      // Whoever was replaced dials again late, lest the two push each other out without end.
      await until('it is back', () => linkUps(gate.relay) > ups);
      await gate.polls(held, 202);
      await push(t, gate, nextDevice());
    },
  );
});
