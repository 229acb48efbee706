import { spawnSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { Test } from 'tap';
import { parse, stringify } from 'yaml';
import { createAuthority } from '../fixtures/certificates.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { startProcess } from '../fixtures/program.ts';
import { createPhone, macAfter } from '../phones/index.ts';
import type { Phone, PhoneOptions } from '../phones/index.ts';
import { untilGood } from '../fixtures/until.ts';

const FIRST = '00:1A:E8:7A:00:01';
const example = (path: string): string =>
  fileURLToPath(new URL(`../../docs/examples/${path}`, import.meta.url));
const missing = (command: string): string | false =>
  spawnSync(command, ['--version']).error === undefined ? false : `no ${command} here`;

/** How each service is started, and how it calls phones. */
const SERVICES = [
  { name: 'Python, by the API', command: ['python3', example('python/service.py')], byApi: true },
  { name: 'Python, by contact-me', command: ['python3', example('python/service.py')], byApi: false },
  { name: 'PHP, by contact-me', command: ['php', example('php/service.php')], byApi: false },
];

interface Sample {
  gate: Gate;
  phone(options?: Partial<PhoneOptions>): Promise<Phone>;
  /** Queues items for a phone, which has it called. */
  queue(phone: Phone, items: Record<string, string>): Promise<void>;
  /** Resolves to the results once there are so many. */
  results(phone: Phone, count: number): Promise<unknown[]>;
}

/** The sample as the gate's service: the relay is led to it once its port is known. */
async function start(t: Test, command: string[], byApi: boolean): Promise<Sample> {
  const authority = await createAuthority();
  const own = await authority.issue(['localhost', '127.0.0.1']);
  const dir = t.testdir({ 'dls.pem': own.cert, 'dls.key': own.key, 'ca.pem': authority.cert });
  const gate = await startGate(t);
  const flags = {
    listen: '127.0.0.1:0',
    cert: join(dir, 'dls.pem'),
    key: join(dir, 'dls.key'),
    jobs: '127.0.0.1:0',
    write: `dcmp-url=${gate.pollUrl}`,
    ...(byApi ? { api: gate.api } : {}),
  };
  const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
  const program = await startProcess('sample', [...command, ...args]);
  t.teardown(() => program.stop());
  const config = parse(await readFile(gate.relayConfig, 'utf8')) as { services: object[] };
  config.services = config.services.map((service) => ({
    ...service,
    upstream: `https://127.0.0.1:${String(program.ready['phones'])}`,
    upstream_tls: { ca: join(dir, 'ca.pem') },
  }));
  await gate.relay.stop();
  await writeFile(gate.relayConfig, stringify(config));
  await gate.startRelay();
  let made = 0;
  const jobsOf = ({ deviceId }: Phone): string =>
    `http://127.0.0.1:${String(program.ready['jobs'])}/phones/${encodeURIComponent(deviceId)}`;
  return {
    gate,
    async phone(options = {}) {
      const phone = createPhone({
        deviceId: macAfter(FIRST, (made += 1)),
        service: gate.phoneService,
        pollIntervalMs: 0,
        contactListen: false,
        ...options,
      });
      t.teardown(() => phone.close());
      t.match(await phone.start(), { outcome: 'completed', actions: ['WriteItems', 'CleanUp'] });
      t.equal(phone.pollUrl, gate.pollUrl, 'it was told where to poll');
      return phone;
    },
    async queue(phone, items) {
      const answer = await fetch(jobsOf(phone), { method: 'POST', body: JSON.stringify(items) });
      t.equal(answer.status, 202, await answer.text());
    },
    async results(phone, count) {
      const ask = async (): Promise<unknown[]> =>
        ((await (await fetch(jobsOf(phone))).json()) as { results: unknown[] }).results;
      return untilGood(`${count} results are there`, ask, ({ length }) => length >= count);
    },
  };
}

for (const { name, command, byApi } of SERVICES) {
  t.test(`the sample service in ${name}`, { skip: missing(command[0] ?? '') }, async (t) => {
    const { gate, phone: newPhone, queue, results } = await start(t, command, byApi);

    await t.test('provisions phones that it has called', async (t) => {
      for (const options of [{}, { keepAlive: false }] as const) {
        const phone = await newPhone(options);
        t.equal((await phone.pollNow()).status, 200, 'nothing to do yet');
        await queue(phone, { realm: 'Töne & <Rufe> "intern"' });
        await gate.polls(phone.deviceId, 202);
        const session = phone.next('session');
        await phone.pollNow();
        t.match(await session, {
          reason: 'solicited',
          outcome: 'completed',
          actions: ['WriteItems', 'CleanUp'],
        });
        t.strictSame(await results(phone, 1), [{ status: 'accepted', refused: [] }]);
        t.equal(phone.items.get('realm'), 'Töne & <Rufe> "intern"');
        await gate.polls(phone.deviceId, 200);
      }
    });

    await t.test('hears what a phone refuses, and does several jobs in one session', async (t) => {
      const phone = await newPhone({ unknownItems: ['nosuch'] });
      await queue(phone, { realm: 'one', nosuch: 'x' });
      await queue(phone, { realm: 'two' });
      await gate.polls(phone.deviceId, 202);
      const session = phone.next('session');
      await phone.pollNow();
      t.match(await session, { actions: ['WriteItems', 'WriteItems', 'CleanUp'] });
      t.strictSame(await results(phone, 2), [
        { status: 'accepted', refused: ['nosuch'] },
        { status: 'accepted', refused: [] },
      ]);
      t.equal(phone.items.get('realm'), 'two');
    });

    await t.test('waits for a phone that is busy', async (t) => {
      const phone = await newPhone();
      phone.setInCall(true);
      await queue(phone, { realm: 'later' });
      await gate.polls(phone.deviceId, 202);
      const busy = phone.next('session');
      await phone.pollNow();
      t.match(await busy, { busy: true, sendSolicited: true });
      const done = phone.next('session');
      phone.setInCall(false);
      t.match(await done, { reason: 'solicited', outcome: 'completed' });
      t.strictSame(await results(phone, 1), [{ status: 'accepted', refused: [] }]);
      await gate.polls(phone.deviceId, 200);
    });
  });
}
