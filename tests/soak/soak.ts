import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createMiddleman } from '../fixtures/faults/middleman.ts';
import type { Middleman } from '../fixtures/faults/middleman.ts';
import { until } from '../fixtures/faults/until.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Owner } from '../fixtures/gate.ts';
import type { FleetStats } from '../phones/index.ts';
import { FAULTS } from './faults.ts';
import type { Soaked } from './faults.ts';
import { startLoad } from './load.ts';
import type { Told } from './load.ts';
import { judge } from './verdict.ts';
import type { Verdict } from './verdict.ts';
import { createWatch } from './watch.ts';
import type { Trend } from './watch.ts';

export interface SoakOptions {
  minutes: number;
  phones: number;
  /** From one fault's beginning to the next. */
  faultEveryMs: number;
  /** Which faults, in turn, by their names; default all. */
  faults?: string[];
  say: (line: string) => void;
}

export interface SoakResult {
  minutes: number;
  faults: Record<string, number>;
  told: Told;
  fleet: FleetStats;
  requests: number;
  trends: Trend[];
  verdict: Verdict;
}

const LOOK_MS = 2_000;
/** Until here only faults that spare the processes, so that their memory can be followed over a long time. */
const SPARING_SHARE = 0.7;
/** A session that was cut may keep its phone's polls at 200 for two minutes. */
const SETTLED_MS = 150_000;
const SESSION_GAP_S = 1;

/** Loads a gate and breaks it again and again, then says whether all that is promised held. */
export async function soak(owner: Owner, options: SoakOptions): Promise<SoakResult> {
  const { say } = options;
  let link!: Middleman;
  const nonces = new Set<string>();
  let requests = 0;
  let serviceAddress = '';
  const upstream: Middleman = await createMiddleman(() => serviceAddress);
  owner.teardown(() => upstream.close());
  const gate = await startGate(owner, {
    logLevel: 'info',
    proxy: { sites: [{ name: 'default', session_gap_s: SESSION_GAP_S }] },
    service: {
      keepItems: false,
      recordLimit: 1,
      intercept(request) {
        const nonce = /nonce="([^"]*)"/.exec(request.body.toString('latin1'))?.[1];
        if (nonce === undefined) return Promise.resolve(undefined);
        requests += 1;
        nonces.add(nonce);
        return Promise.resolve(undefined);
      },
    },
    wpi: { upstream: `https://${upstream.address}` },
    async link(relayDoor) {
      link = await createMiddleman(relayDoor);
      return link.address;
    },
    beforeRelay: (service) => void (serviceAddress = `${service.host}:${service.port}`),
  });
  owner.teardown(() => link.close());
  const soaked: Soaked = { gate, link, upstream };
  const load = await startLoad(owner, gate, options.phones);
  const watch = createWatch(gate);
  let watching = true;
  const watched = (async () => {
    while (watching) {
      await watch.look();
      await pause(LOOK_MS);
    }
  })();

  const began = performance.now();
  const over = (): number => (performance.now() - began) / (options.minutes * 60_000);
  const chosen = FAULTS.filter(({ name }) => options.faults?.includes(name) ?? true);
  const done: Record<string, number> = {};
  for (let n = 0; over() < 1; n += 1) {
    const due = began + (n + 1) * options.faultEveryMs;
    await pause(Math.max(0, due - performance.now()));
    const kind = chosen.filter(({ spares }) => spares === over() < SPARING_SHARE);
    const from = kind.length > 0 ? kind : chosen;
    const least = Math.min(...from.map(({ name }) => done[name] ?? 0));
    const fault = from.find(({ name }) => (done[name] ?? 0) === least);
    if (fault === undefined || over() >= 1) break;
    await fault.inflict(soaked);
    done[fault.name] = (done[fault.name] ?? 0) + 1;
    const { sessions, sessionsBy, polls } = load.fleet();
    say(
      `${((performance.now() - began) / 60_000).toFixed(1)} min: ${fault.name}; ${load.told.accepted.length} accepted, ` +
        `${polls} polls, ${sessions} sessions (${sessionsBy['completed'] ?? 0} completed), wrong: ${load.told.wrong.length}`,
    );
  }

  await load.calm();
  say('the load is over; waiting until nothing is pending');
  const pending = async (): Promise<number> => {
    const { body } = await gate.call('GET', '/v1/devices?state=pending');
    return (body['devices'] as unknown[]).length;
  };
  await until('nothing is pending any more', async () => (await pending()) === 0, SETTLED_MS).catch(
    (error: unknown) => load.told.wrong.push(String(error)),
  );
  watching = false;
  await watched;
  await load.end();
  const fleet = load.fleet();
  for (const program of ['relay', 'proxy'] as const) {
    const code = await gate[program].stop();
    if (code !== 0) load.told.wrong.push(`the ${program} ended with ${code}`);
  }
  const store = join(gate.dir, 'relay', 'outbox', 'outbox.db');
  const verdict = judge(store, load.told, { requests, repeated: requests - nonces.size });
  return {
    minutes: (performance.now() - began) / 60_000,
    faults: done,
    told: load.told,
    fleet,
    requests,
    trends: watch.trends(),
    verdict,
  };
}
