/** From a push at the relay's API to the first poll that says 202, at a steady rate of durable pushes. */
import { Agent, request } from 'undici';
import { startGate } from '../fixtures/gate.ts';
import type { Owner } from '../fixtures/gate.ts';
import { absoluteRow } from './rows.ts';
import type { BenchOptions, BenchRow } from './rows.ts';

const BENCH = 'accept';
const PUSHES_PER_SECOND = 500;
/** Least pushes of one round, so that its 99th percentile means something. */
const LEAST_PUSHES = 500;
const P99_MS = { most: 20 };
const GIVE_UP_MS = 5_000;

export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const name = `push → 202 at ${PUSHES_PER_SECOND} durable pushes/s, p99`;
  if (!options.wanted(BENCH, name)) return [];
  const gate = await startGate(owner, {
    logLevel: 'info',
    // Nobody comes here: with the usual limit most devices would wait for sessions of others to end.
    proxy: { sites: [{ name: 'default', session_gap_s: 0, max_sessions: 1_000_000 }] },
  });
  const agent = new Agent({ connections: 64, pipelining: 1 });
  owner.teardown(() => agent.close());
  const p99s: number[] = [];
  const p50s: number[] = [];
  let device = 0;
  // The first round warms up and is not counted.
  for (let round = 0; round <= options.rounds; round++) {
    options.progress(`round ${round} of ${options.rounds}`);
    const pushes = Math.max(LEAST_PUSHES, Math.round(PUSHES_PER_SECOND * options.seconds));
    const waits: Promise<number>[] = [];
    const began = performance.now();
    while (waits.length < pushes) {
      const due = Math.floor(((performance.now() - began) / 1000) * PUSHES_PER_SECOND);
      for (; waits.length < Math.min(due, pushes); device++) waits.push(pushAndPoll(idOf(device)));
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const times = (await Promise.all(waits)).sort((a, b) => a - b);
    if (round === 0) continue;
    p99s.push(times[Math.floor(times.length * 0.99)] ?? NaN);
    p50s.push(times[times.length >> 1] ?? NaN);
  }

  async function pushAndPoll(id: string): Promise<number> {
    const began = performance.now();
    const pushed = await request(`${gate.api}/v1/devices/${id}/messages`, {
      dispatcher: agent,
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}',
    });
    await pushed.body.dump();
    if (pushed.statusCode !== 201) throw new Error(`a push was answered ${pushed.statusCode}`);
    for (;;) {
      const poll = await request(`${gate.pollUrl}contact-me?device-id=${id}`, { dispatcher: agent });
      await poll.body.dump();
      const passed = performance.now() - began;
      if (poll.statusCode === 202) return passed;
      if (passed > GIVE_UP_MS) throw new Error(`no 202 within ${GIVE_UP_MS} ms of a push`);
    }
  }

  return [
    absoluteRow({
      bench: BENCH,
      name,
      unit: 'ms',
      ours: p99s,
      goal: P99_MS,
      beside: { p50: p50s.sort((a, b) => a - b)[p50s.length >> 1] ?? NaN },
      note: 'API and polls over kept HTTP connections; the load shares the machine',
    }),
  ];
}

const idOf = (n: number): string => `001ae8${n.toString(16).padStart(6, '0')}`;
