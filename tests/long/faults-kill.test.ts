// runs alone: it walks through what programs write, call by call
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { isDead, tamper, whyNoStrace } from '../fixtures/faults/strace.ts';
import { long } from '../fixtures/faults/until.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { macAfter } from '../phones/index.ts';

const FIRST_MAC = '00:1A:E8:76:00:01';
const WITNESS = '00:1A:E8:77:00:01';
/** No push makes so many calls of one kind: past it the walk has lost its way. */
const MOST_CALLS = 200;
/** Pages are written by two calls each; without `long` only some of them are stepped on. */
const PAGE_STRIDE = long ? 1 : 5;

type Killed = 'relay' | 'proxy';
interface Answer {
  status: number;
  body: Record<string, unknown>;
}

/** Every kind of call by which a program writes, syncs or sends. */
const CALLS: Record<Killed, { call: string; stride: number }[]> = {
  relay: [
    { call: 'pwrite64', stride: PAGE_STRIDE },
    { call: 'fsync,fdatasync', stride: 1 },
    { call: 'write', stride: 1 },
    { call: 'writev,sendto,sendmsg', stride: 1 },
  ],
  proxy: [
    { call: 'write', stride: 1 },
    { call: 'writev,sendto,sendmsg', stride: 1 },
  ],
};

interface Shown {
  pending: number;
  messages: { id: string; state: string; generation: number }[];
  history: { event: string }[];
}

const shownOf = async (gate: Gate, device: string): Promise<Shown | null> => {
  const { status, body } = await gate.call('GET', `/v1/devices/${device}`);
  return status === 404 ? null : (body as unknown as Shown);
};

/** Asks while `killed` is about to be killed at its `nth` call; starts it again if it was. */
async function askUnderKill(
  gate: Gate,
  killed: Killed,
  where: { call: string; nth: number },
  ask: () => Promise<Answer>,
  /** Resolves once polls show what was asked for. */
  shows: () => Promise<void>,
): Promise<{ answer: Answer | null; died: boolean; at: string }> {
  const program = gate[killed];
  const file = join(gate.dir, 'strace');
  const tampering = await tamper(program.pid, `${where.call}:signal=KILL:when=${where.nth}`, { file });
  const answer = ask().catch(() => null);
  await Promise.race([answer, program.exited]);
  if (killed === 'relay') await answer;
  // The kill may come with the poll's own answer: that is what it is waited for.
  else await Promise.race([program.exited, shows().catch(() => undefined)]);
  await tampering.end();
  const died = isDead(program.pid);
  const at = died ? (tampering.calls().at(-1) ?? '') : '';
  if (died) {
    const how = await program.exited;
    if (how !== 'SIGKILL') throw new Error(`the ${killed} ended with ${how}`);
    await (killed === 'relay' ? gate.startRelay() : gate.startProxy());
  }
  return { answer: await answer, died, at };
}

/** Kills at the first call, the second …, with a fresh device each, until the question is through without a kill. */
async function walk(
  killed: Killed,
  nextDevice: () => string,
  round: (device: string, where: { call: string; nth: number }) => Promise<boolean>,
): Promise<number> {
  let kills = 0;
  for (const { call, stride } of CALLS[killed]) {
    let nth = 1;
    while (await round(nextDevice(), { call, nth })) {
      kills += 1;
      nth += stride;
      if (nth > MOST_CALLS) throw new Error(`${killed}: still killed at call ${nth} of ${call}`);
    }
  }
  return kills;
}

t.test(
  'a program that is killed at each of its writes, syncs and sends',
  { skip: whyNoStrace() },
  async (t) => {
    const gate = await startGate(t, { logLevel: 'info' });
    let devices = 0;
    const nextDevice = (): string => macAfter(FIRST_MAC, devices++);
    t.equal((await gate.call('POST', `/v1/devices/${WITNESS}/messages?wait=proxy`, {})).status, 201);

    /** Polls agree with the outbox, about this device and about one that nobody touched. */
    const agrees = async (t: Test, device: string, pending: boolean, what: string): Promise<void> => {
      await gate.polls(device, pending ? 202 : 200);
      await gate.polls(WITNESS, 202);
      t.equal(await gate.poll(device), pending ? 202 : 200, `${what}: the proxy agrees`);
    };

    for (const killed of ['relay', 'proxy'] as const) {
      await t.test(
        `${killed}, during a push: what was answered yes is there, else it is there whole or not at all`,
        async (t) => {
          const seen = { answered: 0, whole: 0, nothing: 0 };
          const kills = await walk(killed, nextDevice, async (device, where) => {
            const { answer, died, at } = await askUnderKill(
              gate,
              killed,
              where,
              () => gate.call('POST', `/v1/devices/${device}/messages?wait=proxy`, {}),
              () => gate.polls(device, 202),
            );
            const what = died
              ? `killed at call ${where.nth}, ${at.slice(0, 60)}`
              : `no ${where.nth}th ${where.call}`;
            const shown = await shownOf(gate, device);
            const held = shown?.messages.filter(({ state }) => state === 'held') ?? [];
            if (answer !== null) {
              t.equal(answer.status, 201, what);
              t.equal(held[0]?.id, answer.body['id'], `${what}: the accepted message is held`);
              seen.answered += 1;
            } else if (held.length === 1) {
              t.match(held[0], { generation: 1 }, `${what}: it is there whole`);
              seen.whole += 1;
            } else {
              t.equal(shown?.messages.length ?? 0, 0, `${what}: it is not there at all`);
              seen.nothing += 1;
            }
            await agrees(t, device, held.length > 0, what);
            return died;
          });
          t.comment(JSON.stringify({ kills, ...seen }));
          t.ok(kills >= (killed === 'relay' ? 6 : 1), `${kills} kills`);
          if (killed === 'relay') {
            t.ok(
              seen.nothing > 0 && seen.whole > 0,
              'some kills came before the commit and some after it',
              seen,
            );
          }
        },
      );

      await t.test(`${killed}, during a clear: it ends once, or is held as before`, async (t) => {
        const seen = { answered: 0, cleared: 0, held: 0 };
        const kills = await walk(killed, nextDevice, async (device, where) => {
          const pushed = await gate.call('POST', `/v1/devices/${device}/messages?wait=proxy`, {});
          t.equal(pushed.status, 201);
          const { answer, died, at } = await askUnderKill(
            gate,
            killed,
            where,
            () => gate.call('DELETE', `/v1/devices/${device}/messages`),
            () => gate.polls(device, 200),
          );
          const what = died
            ? `killed at call ${where.nth}, ${at.slice(0, 60)}`
            : `no ${where.nth}th ${where.call}`;
          const shown = await shownOf(gate, device);
          const state = shown?.messages.find(({ id }) => id === pushed.body['id'])?.state;
          const ends = shown?.history.filter(({ event }) => event === 'cleared').length;
          if (answer !== null) {
            t.equal(answer.status, 200, what);
            t.equal(state, 'cleared', `${what}: what was answered is so`);
            seen.answered += 1;
          } else if (state === 'cleared') seen.cleared += 1;
          else {
            t.equal(state, 'held', `${what}: it is held as before`);
            seen.held += 1;
          }
          t.equal(ends, state === 'cleared' ? 1 : 0, `${what}: it ended once or not at all`);
          await agrees(t, device, state === 'held', what);
          return died;
        });
        t.comment(JSON.stringify({ kills, ...seen }));
        t.ok(kills >= (killed === 'relay' ? 6 : 1), `${kills} kills`);
      });
    }
  },
);
