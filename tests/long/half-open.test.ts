// runs alone: it measures how soon silence is noticed
import { setTimeout as pause } from 'node:timers/promises';
import t from 'tap';
import { createTopology, packets, whyNoNamespaces } from '../fixtures/namespaces.ts';
import type { Host } from '../fixtures/namespaces.ts';
import type { Program } from '../fixtures/program.ts';
import { POLL_URL, startSplitGate } from '../fixtures/split-gate.ts';
import type { SplitGate } from '../fixtures/split-gate.ts';

const DEVICE = '00:1a:e8:00:00:01';
/** What is promised: whoever vanishes is missed within this. */
const NOTICED_MS = 10_000;
/** A try under way when the fault ends may still wait for its own timeout (10 s), then for the next one's turn (10 s); the rest is for a busy machine. */
const MENDED_MS = 60_000;
const BETWEEN_LOOKS_MS = 50;

const FAULTS = {
  'what the proxy sends': ['iifname dmz0 oifname inside0'],
  'what the relay sends': ['iifname inside0 oifname dmz0'],
  'what either sends': ['iifname dmz0 oifname inside0', 'iifname inside0 oifname dmz0'],
};

/** Drops packets without a word, and counts them. */
async function lose(firewall: Host, which: string[]): Promise<void> {
  const rules = which.map((match) => `${match} counter name lost drop;`).join(' ');
  const chain = `chain forward { type filter hook forward priority -10; ${rules} }`;
  await firewall.run('nft', `table inet fault {\n counter lost { }\n ${chain}\n}`);
}

/** Waits for the next poll with this answer; resolves to the ms that it took. */
async function polled(phone: Program, status: number, withinMs: number): Promise<number> {
  const from = phone.lines.length;
  const began = performance.now();
  await phone.line(
    (line) => line.msg === 'poll' && line['status'] === status && phone.lines.indexOf(line) >= from,
    withinMs,
  );
  return Math.round(performance.now() - began);
}

interface ProxyShown {
  state: string;
  why: string | null;
}

/** Waits until the relay says that its link is up, or no longer is. */
async function shown(gate: SplitGate, up: boolean, withinMs: number): Promise<ProxyShown & { ms: number }> {
  const began = performance.now();
  for (;;) {
    const { body } = await gate.call('GET', '/v1/proxies');
    const proxy = (body['proxies'] as ProxyShown[])[0]!;
    const ms = Math.round(performance.now() - began);
    if ((proxy.state === 'up') === up) return { ...proxy, ms };
    if (ms > withinMs) throw new Error(`after ${ms} ms the relay still says ${JSON.stringify(proxy)}`);
    await pause(BETWEEN_LOOKS_MS);
  }
}

t.test('a link whose packets vanish', { skip: whyNoNamespaces() }, async (t) => {
  const topology = await createTopology(t);
  const { firewall } = topology;
  const gate = await startSplitGate(t, topology);
  // Without a service to call, the phone polls on and stays pending.
  const phone = await gate.startPhones(
    ['--poll', POLL_URL, '--mac', DEVICE].concat('--interval', '0.1', '--spread', '0'),
  );
  t.equal((await gate.call('POST', `/v1/devices/${DEVICE}/messages?wait=proxy`, {})).status, 201);

  for (const [what, which] of Object.entries(FAULTS)) {
    await t.test(`is missed by both sides within 10 s when ${what} is lost, and comes back`, async (t) => {
      await polled(phone, 202, MENDED_MS);
      await shown(gate, true, MENDED_MS);
      await lose(firewall, which);
      const [proxyMs, relay] = await Promise.all([
        polled(phone, 200, MENDED_MS),
        shown(gate, false, MENDED_MS),
      ]);
      t.ok(proxyMs <= NOTICED_MS, `polls turned to 200 after ${proxyMs} ms`);
      t.ok(relay.ms <= NOTICED_MS, `the relay said ${relay.state} after ${relay.ms} ms`);
      t.match(relay.why, /nothing heard for \d+ ms/, 'and why');
      t.ok((await packets(firewall, 'fault', 'lost')) > 0, 'packets were lost indeed');
      await firewall.run('nft', 'delete', 'table', 'inet', 'fault');
      const [backMs] = await Promise.all([polled(phone, 202, MENDED_MS), shown(gate, true, MENDED_MS)]);
      t.pass(`polls said 202 again after ${backMs} ms`);
    });
  }
});
