/** A campaign to ten thousand phones, by the courier and by the live service: the same items written, side by side. */
import { startGate } from '../fixtures/gate.ts';
import type { Gate, Owner } from '../fixtures/gate.ts';
import { createFleet, macAfter } from '../phones/index.ts';
import { pairedRow } from './rows.ts';
import type { BenchOptions, BenchRow } from './rows.ts';

const BENCH = 'campaign';
const PHONES = 10_000;
const FIRST_MAC = '00:1A:E8:10:00:01';
const POLL_MS = 4_000;
const AT_ONCE = 100;
const LOOK_MS = 200;
/** A whole campaign is one figure; more rounds than this would take the rest of the day. */
const ROUNDS = 2;
const ITEMS = { 'terminal-name': 'lobby', realm: 'example' };

export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const name = `WriteItems to ${PHONES.toLocaleString('en')} phones, sessions`;
  if (!options.wanted(BENCH, name)) return [];
  const gate = await startGate(owner, {
    logLevel: 'info',
    proxy: { sites: [{ name: 'default', session_gap_s: 0, max_sessions: 100_000 }] },
    service: { keepItems: false, recordLimit: 1 },
  });
  let failures = 0;
  const fleet = createFleet({
    count: PHONES,
    firstMac: FIRST_MAC,
    concurrency: AT_ONCE,
    service: gate.phoneService,
    pollUrl: gate.pollUrl,
    pollIntervalMs: POLL_MS,
    contactListen: false,
    onEvent(event) {
      if (event.type === 'session' && event.failure !== undefined) failures += 1;
    },
  });
  owner.teardown(() => fleet.close());
  await fleet.start();

  const devices = Array.from({ length: PHONES }, (_, n) => macAfter(FIRST_MAC, n));
  const items = Object.entries(ITEMS).map(([item, value]) => ({ name: item, value }));
  const rates = { courier: [] as number[], service: [] as number[] };
  for (let round = 0; round < Math.min(options.rounds, ROUNDS); round++) {
    for (const way of ['courier', 'service'] as const) {
      options.progress(`round ${round + 1} by the ${way}`);
      const campaign = `${way}-${round}`;
      if (way === 'service') {
        for (const device of devices) {
          // Its failing is the campaign's: the service closes before a phone came.
          gate.service.enqueue(device, [{ action: 'WriteItems', items: ITEMS }]).catch(() => undefined);
        }
      }
      const message = way === 'courier' ? { kind: 'dls', actions: [{ action: 'WriteItems', items }] } : {};
      const began = performance.now();
      await push(
        gate,
        campaign,
        devices.map((device) => JSON.stringify({ device, ...message })),
      );
      await ended(gate, campaign);
      rates[way].push(PHONES / ((performance.now() - began) / 1000));
    }
  }
  if (failures > 0) throw new Error(`${failures} sessions of the campaigns failed`);
  return [
    pairedRow({
      bench: BENCH,
      name,
      unit: '/s',
      ours: rates.courier,
      peer: { name: 'live service', values: rates.service },
      more: true,
      goal: null,
      note: `from the push to the last end; phones poll every ${POLL_MS / 1000} s, ${AT_ONCE} connections at once; no session failed`,
    }),
  ];
}

async function push(gate: Gate, campaign: string, lines: string[]): Promise<void> {
  const pushed = await fetch(`${gate.api}/v1/messages?campaign=${campaign}`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    body: lines.join('\n'),
  });
  await pushed.arrayBuffer();
  if (pushed.status !== 200) throw new Error(`the bulk push was answered ${pushed.status}`);
}

async function ended(gate: Gate, campaign: string): Promise<void> {
  for (;;) {
    const { body } = await gate.call('GET', `/v1/campaigns/${campaign}`);
    if (body['total'] === PHONES && body['held'] === 0) {
      if (body['cleared'] === PHONES && body['failed'] === 0) return;
      throw new Error(`the campaign ended as ${JSON.stringify(body)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
