import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { createTopology, whyNoNamespaces } from '../fixtures/namespaces.ts';
import { POLL_URL, SESSION_DOOR, startSplitGate } from '../fixtures/split-gate.ts';
import { inTurns } from '../fixtures/in-turns.ts';
import { untilGood } from '../fixtures/until.ts';
import { macAfter } from '../phones/index.ts';

const FIRST = '00:1A:E8:78:00:01';
const AT_ONCE = 20;
const DEADLINE_MS = 80_000;
const BETWEEN_LOOKS_MS = 250;
const ADMIN = 'http://127.0.0.1:18000/devices';
const ENDS = ['cleared', 'superseded', 'expired', 'cancelled', 'dead'];

/** A device as the service sees it. */
interface Provisioned {
  deviceId: string;
  contactMeUri: string;
  queued: number;
  startUps: number;
  results: { action: string; status: string; items: { name: string; value: string }[] }[];
}

const ruleset = (name: string): string =>
  fileURLToPath(new URL(`../../deploy/nftables/${name}.nft`, import.meta.url));

/** A look reads of all phones, so there is some time between two. */
const until = <T>(what: string, look: () => T | Promise<T>, good: (seen: T) => boolean): Promise<T> =>
  untilGood(what, look, good, DEADLINE_MS, [BETWEEN_LOOKS_MS]);

/** Has a service that is no part of the product provision so many phones through the shipped firewall rulesets. */
export function provisioning(
  t: Test,
  options: { phones: number; sessionGapS: number; busyPercent: number },
): void {
  const { phones, sessionGapS, busyPercent } = options;
  t.test(
    'a service that knows the vendor’s guide and nothing else',
    { skip: whyNoNamespaces() },
    async (t) => {
      const topology = await createTopology(t);
      const { dmz, inside, firewall } = topology;
      await firewall.run('nft', '-f', ruleset('firewall'));
      await dmz.run('nft', '-f', ruleset('proxy'));
      await inside.run('nft', '-f', ruleset('relay'));
      const gate = await startSplitGate(t, topology, {
        wpi: { teach: { 'dcmp-url': POLL_URL } },
        sessionGapS,
      });
      const devices = Array.from({ length: phones }, (_, n) => macAfter(FIRST, n));
      const seen = async (): Promise<Provisioned[]> =>
        JSON.parse((await inside.fetch('GET', ADMIN)).text) as Provisioned[];

      // They know their service and no poll address; some are in a call when a session begins.
      const fleet = await gate.startPhones(
        ['--service', SESSION_DOOR, '--startup', '--mac', FIRST, '--count', String(phones)].concat(
          ...['--interval', '1', '--spread', '2', '--busy', String(busyPercent), '--call-time', '5'],
        ),
      );
      const polling = new Set<unknown>();
      let busy = 0;
      const listen = (line: Record<string, unknown>): void => {
        if (line['msg'] === 'poll') polling.add(line['device']);
        if (line['msg'] === 'session' && line['busy'] === true) busy += 1;
      };
      fleet.lines.forEach(listen);
      fleet.onLine(listen);

      await until(
        'phones that poll',
        () => polling.size,
        (size) => size === phones,
      );
      const registered = await seen();
      t.equal(registered.length, phones, 'all have registered, and were taught where to poll');
      t.ok(
        registered.every(({ contactMeUri }) => contactMeUri.startsWith('http://10.40.0.10:8085/')),
        'each by an address at which it can be called',
      );

      const busyBefore = busy;
      const contacted = await inTurns(devices, AT_ONCE, async (device) => {
        const actions = [
          { action: 'WriteItems', items: { 'display-text': device } },
          { action: 'ReadItems', items: { 'display-text': '' } },
        ];
        const { status, text } = await inside.fetch(
          'POST',
          `${ADMIN}/${encodeURIComponent(device)}/actions?contact`,
          {
            body: actions,
          },
        );
        return status === 202 ? '' : `${device}: ${status} ${text}`;
      });
      t.strictSame(
        contacted.filter((refused) => refused !== ''),
        [],
        'each job is queued and its phone contacted',
      );

      const done = await until('jobs', seen, (all) => all.every(({ queued }) => queued === 0));
      for (const { deviceId, results, startUps } of done) {
        const read = results.findLast(({ action }) => action === 'ReadItems');
        const text = read?.items.find(({ name }) => name === 'display-text')?.value;
        if (text !== deviceId || startUps !== 1)
          t.fail(`${deviceId} has ${text} after ${startUps} start-ups`);
      }
      t.pass('each phone has what was meant for it');
      t.ok(busy > busyBefore, `phones that were in a call meanwhile: ${busy - busyBefore}`);

      type Event = { event: string; message: string | null };
      type Device = { messages: { id: string; state: string }[]; history: Event[]; pending: boolean };
      const about = (device: string): Promise<Device> =>
        gate.call('GET', `/v1/devices/${encodeURIComponent(device)}`).then(({ body }) => body as never);
      const ended = await inTurns(devices, AT_ONCE, (device) =>
        until(
          device,
          () => about(device),
          ({ messages }) => messages.every(({ state }) => state === 'cleared'),
        ),
      );
      const messages = ended.flatMap((device) => device.messages);
      t.equal(messages.length, phones, 'one message for each phone');
      const ends = ended.flatMap(({ history }) => history.filter(({ event }) => ENDS.includes(event)));
      t.equal(ends.length, phones, 'which has ended once');
      t.strictSame(
        new Set(ends.map(({ message }) => message)),
        new Set(messages.map(({ id }) => id)),
        'each of them',
      );
      const from = fleet.lines.length;
      await until(
        'polls of all',
        () =>
          new Set(fleet.lines.slice(from).flatMap((line) => (line.msg === 'poll' ? [line['device']] : []))),
        ({ size }) => size === phones,
      );
      const later = fleet.lines.slice(from).filter(({ msg }) => msg === 'poll');
      t.strictSame([...new Set(later.map(({ status }) => status))], [200], 'and no phone is called any more');
    },
  );
}
