import { readFile, writeFile } from 'node:fs/promises';
import t from 'tap';
import { parse, stringify } from 'yaml';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { DIALECTS } from '../fixtures/services/index.ts';
import { createPhone, macAfter } from '../phones/index.ts';
import type { Phone, PhoneOptions } from '../phones/index.ts';

const FIRST = '00:1A:E8:00:00:01';
const PHONES = 5;

/** Restarts the relay with those items to teach; the poll address is known only once the proxy runs. */
async function teach(gate: Gate, items: Record<string, string | number>): Promise<void> {
  const config = parse(await readFile(gate.relayConfig, 'utf8')) as { services: Record<string, unknown>[] };
  for (const service of config.services) service['teach'] = items;
  await gate.relay.stop();
  await writeFile(gate.relayConfig, stringify(config));
  await gate.startRelay();
}

for (const door of ['sealed', 'inspected'] as const) {
  t.test(
    `phones of a service that never heard of polling poll, and come when it calls: ${door}`,
    async (t) => {
      const gate = await startGate(t, { door });
      await teach(gate, { 'dcmp-url': gate.pollUrl, 'poll-interval': 100 });
      const phones = Array.from({ length: PHONES }, (_, n) =>
        createPhone({
          deviceId: macAfter(FIRST, n),
          service: gate.phoneService,
          intervalItem: 'poll-interval',
          intervalItemUnitMs: 1,
          forgetPollOnRestart: true,
          keepAlive: n % 2 === 0,
          contactListen: false,
        }),
      );
      t.teardown(() => Promise.all(phones.map((phone) => phone.close())));
      await Promise.all(phones.map((phone) => phone.start()));

      const round = (realm: string): Promise<void[]> =>
        Promise.all(
          phones.map(async ({ deviceId }) => {
            const done = gate.service.enqueue(deviceId, [{ action: 'WriteItems', items: { realm } }]);
            t.equal((await gate.service.contact(deviceId)).status, 204);
            t.equal((await done)[0]?.status, 'accepted');
          }),
        );
      await round('one');
      await Promise.all(phones.map((phone) => phone.restart()));
      await round('two');

      t.ok(phones.every(({ pollUrl }) => pollUrl === gate.pollUrl));
      const { body } = await gate.call('GET', `/v1/devices/${FIRST}/why`);
      t.match(body['facts'], { last_teaching: 'taught', last_teaching_why: null });
      const metrics = await (await fetch(`${gate.api}/metrics`)).text();
      t.match(metrics, `sallyport_taught_total{result="taught"} ${2 * PHONES}`);
      const replies = gate.service.requests.filter((request) => request.body.includes('action="WriteItems"'));
      t.equal(
        replies.length,
        4 * PHONES,
        'the service hears of its own items, at start-up and when it calls',
      );
    },
  );
}

t.test('who is busy is taught later, and who wants signatures is left alone, as why says', async (t) => {
  const gate = await startGate(t, { service: { dialect: DIALECTS.dls } });
  await teach(gate, { 'dcmp-url': gate.pollUrl });
  const phoneOf = (n: number, options: Partial<PhoneOptions>): Phone => {
    const phone = createPhone({
      deviceId: macAfter(FIRST, n),
      service: gate.phoneService,
      pollIntervalMs: 0,
      contactListen: false,
      startUpRetryMs: 0,
      ...options,
    });
    t.teardown(() => phone.close());
    return phone;
  };
  const lessonOf = async ({ deviceId }: Phone): Promise<unknown[]> => {
    const { body } = await gate.call('GET', `/v1/devices/${deviceId}/why`);
    const facts = body['facts'] as Record<string, unknown>;
    return [facts['last_teaching'], facts['last_teaching_why']];
  };
  const counted = async (result: string): Promise<number> => {
    const metrics = await (await fetch(`${gate.api}/metrics`)).text();
    return Number(
      new RegExp(`sallyport_taught_total\\{result="${result}"\\} (\\d+)`).exec(metrics)?.[1] ?? 0,
    );
  };

  const talking = phoneOf(10, { supportsSendSolicited: false });
  talking.setInCall(true);
  t.match(await talking.start(), { outcome: 'completed', busy: true });
  t.strictSame(await lessonOf(talking), ['teach-busy', 'the phone was busy in the session itself']);
  t.equal(talking.pollUrl, undefined);
  talking.setInCall(false);
  t.equal((await talking.changeLocally({ e164: '4711' })).outcome, 'completed');
  t.equal(talking.pollUrl, gate.pollUrl, 'the end of its next session will do');
  t.strictSame(await lessonOf(talking), ['taught', null]);

  const strict = phoneOf(11, { acceptUnsigned: false });
  t.match(await strict.start(), { outcome: 'failed', failure: 'unsigned' });
  const [note, why] = await lessonOf(strict);
  t.equal(note, 'teach-refused');
  t.match(why, /the service signs its answers, and the phone ended the session at our unsigned one/);
  for (let n = 0; n < 3; n += 1) t.match(await strict.restart(), { outcome: 'completed' });
  t.equal(await counted('refused'), 1, 'it is not tried at every start-up');
  t.equal(await counted('taught'), 1);
  t.equal(await counted('busy'), 1);
});
