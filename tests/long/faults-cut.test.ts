import t from 'tap';
import type { Test } from 'tap';
import { breakLink } from '../fixtures/faults/links.ts';
import { createMiddleman } from '../fixtures/faults/middleman.ts';
import type { Middleman } from '../fixtures/faults/middleman.ts';
import { long, until } from '../fixtures/faults/until.ts';
import { fileSha256 } from '../fixtures/services/index.ts';
import type { PlainService, RecordedRequest } from '../fixtures/services/index.ts';
import { startSwitchedGate } from '../fixtures/switched-gate.ts';
import type { SwitchedDoor } from '../fixtures/switched-gate.ts';
import { createDialer, download } from '../phones/index.ts';
import type { DownloadResult, Phone, SessionResult } from '../phones/index.ts';

const POINTS = long ? 20 : 5;
const DOORS = ['sealed', 'inspected', 'through'] satisfies SwitchedDoor[];
/** Past the longest that a broken session may keep a phone's polls at 200. */
const QUIET_MS = 125_000;
const FILE_BYTES = 20 * 1024 * 1024;
const WRITE = { action: 'WriteItems', items: { realm: 'cut' } } as const;

const nonceOf = ({ body }: RecordedRequest): string =>
  /nonce="([^"]*)"/.exec(body.toString('latin1'))?.[1] ?? '';

/** Nothing that a phone asked reached the service twice. */
function onceEach(t: Test, service: PlainService): void {
  const nonces = service.requests.map(nonceOf);
  t.notOk(nonces.includes(''), 'every request was counted by its nonce');
  t.equal(new Set(nonces).size, nonces.length, `each of ${nonces.length} requests reached the service once`);
}

/** A solicited session of a phone that the service has work for; resolves to what it moved over the link. */
async function session(link: Middleman, phone: Phone): Promise<{ result: SessionResult; bytes: number }> {
  const before = link.passed('back');
  const result = await phone.openSession('solicited');
  return { result, bytes: link.passed('back') - before };
}

t.test('a link that is cut', async (t) => {
  let link!: Middleman;
  const gate = await startSwitchedGate(t, {
    logLevel: 'info',
    async link(relayDoor) {
      link = await createMiddleman(relayDoor);
      return link.address;
    },
  });
  t.teardown(() => link.close());

  await t.test(`at ${POINTS} points of a session: nothing is asked twice, nothing is lost`, async (t) => {
    const service = await gate.serve(t);
    const phone = gate.phone(t, 'sealed', { startUpRetryMs: 0 });
    t.equal((await phone.start())?.outcome, 'completed');
    // One that is not cut tells how much there is to cut.
    void service.enqueue(phone.deviceId, [WRITE]);
    await gate.push(phone.deviceId);
    await gate.polls(phone.deviceId, 202);
    const whole = await session(link, phone);
    t.equal(whole.result.outcome, 'completed');
    await gate.polls(phone.deviceId, 200);

    let broken = 0;
    for (let point = 1; point <= POINTS; point += 1) {
      const done = service.enqueue(phone.deviceId, [WRITE]);
      const message = await gate.push(phone.deviceId);
      await gate.polls(phone.deviceId, 202);
      const { result } = await breakLink(gate.relay, async () => {
        const cut = link.cutAfter('back', Math.floor((whole.bytes * point) / (POINTS + 1)));
        const cutShort = await session(link, phone);
        await cut;
        return cutShort;
      });
      if (result.outcome === 'failed') broken += 1;
      if ((await gate.stateOf(message)) !== 'cleared') {
        // Its polls are 200 until the relay has given up that it comes back, a minute later; its next call needs no 202.
        if (long && point === 1) await gate.polls(phone.deviceId, 202, QUIET_MS);
        t.equal(
          (await phone.openSession('solicited')).outcome,
          'completed',
          `point ${point}: it calls again`,
        );
      }
      t.equal((await done)[0]?.status, 'accepted', `point ${point}: the work is done`);
      await gate.comes(message, 'cleared');
      await gate.polls(phone.deviceId, 200);
    }
    t.equal(link.deeds.cuts >= POINTS, true, `${link.deeds.cuts} connections were cut`);
    // On a busy machine beats and reports are much of what passes, and some sessions are through before the cut.
    t.ok(broken > 0, `${broken} sessions were broken`);
    onceEach(t, service);
  });

  await t.test(
    `at ${POINTS} points of downloads through each kind of door: they never look whole`,
    async (t) => {
      const service = await gate.serve(t, { fileSize: FILE_BYTES });
      const dialer = createDialer({ answerTimeoutMs: 20_000 });
      t.teardown(() => dialer.close());
      const sha256 = await fileSha256('firmware.app', FILE_BYTES);
      const fetchAll = (): Promise<DownloadResult[]> =>
        Promise.all(DOORS.map((door) => download(dialer, `${gate.url(door)}/file/firmware.app`)));
      const before = link.passed('out');
      for (const { sha256: got } of await fetchAll()) t.equal(got, sha256, 'one that is not cut is right');
      const bytes = link.passed('out') - before;

      const cutsBefore = link.deeds.cuts;
      const brokenOff: number[] = [];
      for (let point = 1; point <= POINTS; point += 1) {
        const results = await breakLink(gate.relay, async () => {
          const cut = link.cutAfter('out', Math.floor((bytes * point) / (POINTS + 1)));
          const got = await fetchAll();
          await cut;
          return got;
        });
        for (const [i, got] of results.entries()) {
          const what = `point ${point}, ${DOORS[i]}, after ${got.bytes} bytes`;
          t.equal(
            got.sha256,
            await fileSha256('firmware.app', got.bytes),
            `${what}: it is the file's beginning`,
          );
          // The one that was faster than the others may have been through already.
          if (got.bytes === FILE_BYTES) continue;
          t.equal(got.reason, 'cut', `${what}: it does not look whole`);
          brokenOff.push(got.bytes);
        }
      }
      t.ok(link.deeds.cuts - cutsBefore >= POINTS, 'the link was cut each time');
      t.ok(brokenOff.length >= POINTS, `${brokenOff.length} downloads were broken off`);
      for (const { sha256: got } of await fetchAll()) t.equal(got, sha256, 'afterwards it is whole again');
      await until('the service has no connection any more', () => service.connections === 0);
    },
  );
});
