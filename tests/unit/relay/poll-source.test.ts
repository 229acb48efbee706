import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { systemClock } from '../../../shared/clock.ts';
import type { DeviceId } from '../../../shared/device-id.ts';
import { silentLog } from '../../../shared/log.ts';
import { createModelOutbox } from '../../../relay-client/outbox/model.ts';
import { createPendingView } from '../../../relay-client/pending-view.ts';
import { createPollSource } from '../../../relay-client/poll-source.ts';

const ONE = '00:1a:e8:00:00:01' as DeviceId;
const TWO = '00:1a:e8:00:00:02' as DeviceId;

/** A service that answers polls, with a source that asks it about two known devices. */
async function start(
  t: { teardown(task: () => unknown): unknown },
  answer: (device: string, asked: number) => number,
) {
  const asked = new Map<string, number>();
  const service = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://service');
    const device = url.searchParams.get('device-id') ?? '';
    asked.set(device, (asked.get(device) ?? 0) + 1);
    response.writeHead(url.pathname === '/dcmp/contact-me' ? answer(device, asked.get(device)!) : 404);
    response.end();
    service.emit('asked');
  });
  service.listen(0, '127.0.0.1');
  await once(service, 'listening');
  t.teardown(() => service.close());
  const outbox = createModelOutbox({ clock: systemClock, random: (size) => randomBytes(size) });
  for (const device of [ONE, TWO]) {
    await outbox.push({ device, kind: 'contact-me', ttl: 60_000, delay: 0 });
    await outbox.clear(device, { state: 'cleared', by: 'test' });
  }
  const pending = createPendingView({ outbox, clock: systemClock, log: silentLog });
  await pending.ready;
  const url = new URL(`http://127.0.0.1:${(service.address() as AddressInfo).port}/dcmp/`);
  const source = createPollSource({
    config: { url, interval: 20 },
    outbox,
    pending,
    clock: systemClock,
    log: silentLog,
  });
  t.teardown(() => source.close());
  return {
    outbox,
    source,
    async askedTimes(device: string, times: number): Promise<void> {
      while ((asked.get(device) ?? 0) < times) await once(service, 'asked');
    },
    /** Waits until both were asked about once more, and what came of it is settled. */
    async ask(): Promise<void> {
      const from = new Map(asked);
      const more = (device: string): number => (asked.get(device) ?? 0) - (from.get(device) ?? 0);
      // The second one may have been under way; what is asked after it comes later than what came of it.
      while (Math.min(more(ONE), more(TWO)) < 2) await once(service, 'asked');
    },
  };
}

t.test('a 202 of the service becomes one pending message, however often it is said', async (t) => {
  const { outbox, source, askedTimes } = await start(t, (device) => (device === ONE ? 202 : 200));
  await askedTimes(ONE, 5);
  t.match(await outbox.device(ONE), { pending: 1, generation: 2 }, 'pushed once');
  t.match(await outbox.device(TWO), { pending: 0, generation: 1 });
  t.equal(source.stats().pushed, 1);
});

t.test('a 202 that is said once is held, and a later one after a 200 is another', async (t) => {
  const { outbox, askedTimes } = await start(t, (device, asked) =>
    device === TWO && (asked === 2 || asked === 5) ? 202 : 200,
  );
  await askedTimes(TWO, 4);
  t.match(await outbox.device(TWO), { pending: 1, generation: 2 });
  await askedTimes(TWO, 7);
  t.match(await outbox.device(TWO), { pending: 1, generation: 3 }, 'the newer one supersedes');
});

t.test('work that is done while the service still says 202 is called for again', async (t) => {
  const { outbox, askedTimes } = await start(t, (device) => (device === ONE ? 202 : 200));
  await askedTimes(ONE, 3);
  await outbox.clear(ONE, { state: 'cleared', by: 'session' });
  await askedTimes(ONE, 7);
  t.match(await outbox.device(ONE), { pending: 1, generation: 3 });
});

t.test('a 202 that was repeated and is no more is cleared, but nothing that was pushed later', async (t) => {
  const calling = new Set<string>([ONE, TWO]);
  const { outbox, source, askedTimes, ask } = await start(t, (device) => (calling.has(device) ? 202 : 200));
  await askedTimes(ONE, 3);
  await askedTimes(TWO, 3);
  await outbox.push({ device: TWO, kind: 'contact-me', ttl: 60_000, delay: 0 });
  calling.clear();
  await ask();
  t.match(await outbox.device(ONE), { pending: 0, generation: 2 });
  t.match((await outbox.messages(ONE, 1))[0], { state: 'cleared', endedBy: 'poll-source' });
  t.match(await outbox.device(TWO), { pending: 1, generation: 3 }, 'somebody else has called, too');
  t.equal(source.stats().cleared, 1);
});

t.test('answers that are neither yes nor no change nothing', async (t) => {
  let status = 202;
  const { outbox, askedTimes, ask } = await start(t, (device) => (device === ONE ? status : 200));
  await askedTimes(ONE, 3);
  status = 503;
  await ask();
  t.match(await outbox.device(ONE), { pending: 1, generation: 2 });
  status = 202;
  await ask();
  t.match(await outbox.device(ONE), { pending: 1, generation: 2 }, 'and the next 202 is the same one');
});
