/**
 * What grows with the number of devices, at 1 000 to 1 000 000 known ones of which a tenth have something pending. The
 * proxy has one core, the relay and the load have the other.
 */
import { readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { startGate } from '../fixtures/gate.ts';
import type { Gate, Owner } from '../fixtures/gate.ts';
import { startProcess } from '../fixtures/program.ts';
import type { Program } from '../fixtures/program.ts';
import { pushAtRate } from './accept.ts';
import { bulkPush } from './bulk-push.ts';
import { ahead, pinned, requireTools } from './cores.ts';
import { memoryMb } from './cpu.ts';
import { startJobs } from './jobs.ts';
import { owning } from './measure.ts';
import { startPollServer } from './peer.ts';
import type { Peer } from './peer.ts';
import { wrk } from './poll-load.ts';
import type { ProbeTold } from './poll-probe.ts';
import type { PushDone, PushJob } from './push-process.ts';
import { inTurn, median, spreadOf } from './rows.ts';
import { shares } from './shares.ts';

export const GROWTH_SIZES = [1_000, 10_000, 100_000, 1_000_000];

/** What was measured at one number of devices. Times in milliseconds, memory in megabytes, unless they say otherwise. */
export interface GrowthStep {
  devices: number;
  pending: number;
  /** Polls a second over kept connections, of random known devices: median, least and greatest of the rounds. */
  pollRate: number;
  pollRateSpread: [number, number];
  /** The median of the rounds' ratios to the first size. */
  pollRateRatio: number;
  /** From when a poll is due to its answer, at a steady rate. */
  pollP99: number;
  pushP50: number;
  pushP99: number;
  /** Messages a second, pushed by bulk to as many devices. */
  bulkRate: number;
  listPageP50: number;
  listPageP99: number;
  /** Seconds from the link to the proxy's being current, which is when polls are 202 again; and to all devices known. */
  currentS: number;
  knownS: number;
  /** Of polls meanwhile. */
  resyncPollP99: number;
  resyncPollMost: number;
  proxyMb: number;
  relayMb: number;
  outboxMb: number;
}

const PROXY_CORES = [0];
const OTHER_CORES = [1];
const PENDING_SHARE = 10;
const POLL_ROUNDS = 3;
const POLL_SECONDS = 2;
const PROBE_PER_SECOND = 1_000;
const PROBE_MS = 3_000;
const PUSHES = { rate: 200, count: 400 };
const PAGES = 40;
const PAGE = 100;
const LOOK_MS = 100;
const PATIENCE_MS = 120_000;
/** Before memory is looked at, so that what was garbage is none. */
const SETTLE_MS = 3_000;

/** Measures every size. One that cannot be measured is told in `failures`, the rest goes on. */
export async function measureGrowth(options: {
  sizes: readonly number[];
  progress: (text: string) => void;
}): Promise<{ steps: GrowthStep[]; failures: string[] }> {
  requireTools({ wrk: 'wrk' });
  const { sizes, progress } = options;
  progress('poll rates');
  const rates = await owning((owner) => pollRates(owner, sizes));
  const first = rates[0] ?? [];
  const steps: GrowthStep[] = [];
  const failures: string[] = [];
  for (const [i, devices] of sizes.entries()) {
    const size = `${devices.toLocaleString('en')} devices`;
    const ours = rates[i] ?? [];
    try {
      const rest = await owning((owner) =>
        measureSize(owner, devices, (text) => progress(`${size}: ${text}`)),
      );
      steps.push({
        devices,
        pollRate: median(ours),
        pollRateSpread: spreadOf(ours),
        pollRateRatio: median(ours.map((rate, round) => rate / (first[round] ?? NaN))),
        ...rest,
      });
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : '';
      failures.push(`growth, ${size}: ${String(error)}${cause}`);
    }
  }
  return { steps, failures };
}

/** Of each size, a figure a round, all sizes in turn in each. */
async function pollRates(owner: Owner, sizes: readonly number[]): Promise<number[][]> {
  const servers = new Map<string, { server: Peer; devices: number }>();
  for (const devices of sizes) {
    const server = await startPollServer(owner, pinned(PROXY_CORES), { tls: null, known: devices });
    servers.set(String(devices), { server, devices });
  }
  const figures = await inTurn([...servers.keys()], POLL_ROUNDS, async (name) => {
    const { server, devices } = servers.get(name)!;
    const began = performance.now();
    const polls = await wrk(server.plain, POLL_SECONDS, { devices });
    return (polls * 1000) / (performance.now() - began);
  });
  return sizes.map((devices) => figures[String(devices)] ?? []);
}

type Rest = Omit<GrowthStep, 'devices' | 'pollRate' | 'pollRateSpread' | 'pollRateRatio'>;

async function measureSize(owner: Owner, devices: number, progress: (text: string) => void): Promise<Rest> {
  const gate = await startGate(owner, {
    logLevel: 'info',
    wrap: { proxy: pinned(PROXY_CORES), relay: pinned(OTHER_CORES) },
    proxy: { sites: [{ name: 'default', session_gap_s: 0, max_sessions: 1_000_000 }] },
  });
  const pending = devices / PENDING_SHARE;
  progress('pushing to all, by bulk');
  const bulkRate = await bulkPush(gate, { first: 0, count: devices }, 'known');
  await gate.call('POST', '/v1/campaigns/known/abort');
  await until(async () => (await gate.call('GET', '/v1/campaigns/known')).body['held'] === 0);
  await bulkPush(gate, { first: 0, count: pending, step: PENDING_SHARE });
  await until(async () => (await pendingAtProxy(gate)) === pending);

  progress('polls, pushes, pages');
  const { p99: pollP99 } = await probing(owner, gate, devices, () => sleep(PROBE_MS));
  const jobs = await startJobs<PushJob, PushDone>(owner, pinned(OTHER_CORES), './push-process.ts');
  const { pushed } = await pushAtRate(gate, jobs, {
    ...{ rate: PUSHES.rate, pushes: PUSHES.count, first: 0, untilOffered: false },
    ...{ step: PENDING_SHARE, among: devices },
  });
  const page = await listPages(gate);

  progress('resync');
  await gate.proxy.stop();
  await gate.startProxy();
  let currentS = NaN;
  let knownS = NaN;
  const { p99: resyncPollP99, most: resyncPollMost } = await probing(owner, gate, devices, async () => {
    const up = await gate.proxy.line(({ msg }) => msg === 'relay link up', PATIENCE_MS);
    const since = Date.parse(String(up['time']));
    const current = await gate.proxy.line(({ msg }) => msg === 'site current', PATIENCE_MS);
    if (current['devices'] !== pending)
      throw new Error(`the proxy holds ${String(current['devices'])} devices`);
    currentS = (Date.parse(String(current['time'])) - since) / 1000;
    await until(async () => (await knownAtProxy(gate)) === devices);
    knownS = (Date.now() - since) / 1000;
  });
  await sleep(SETTLE_MS);
  return {
    ...{ pending, pollP99, bulkRate, currentS, knownS, resyncPollP99, resyncPollMost },
    ...{ pushP50: pushed.p50, pushP99: pushed.p99, listPageP50: page.p50, listPageP99: page.p99 },
    proxyMb: memoryMb(gate.proxy.pid).now,
    relayMb: memoryMb(gate.relay.pid).now,
    outboxMb: megabytesIn(join(dirname(gate.relayConfig), 'outbox')),
  };
}

/** Polls of random devices at a steady rate while `task` runs. */
async function probing(
  owner: Owner,
  gate: Gate,
  devices: number,
  task: () => Promise<unknown>,
): Promise<ProbeTold> {
  const script = new URL('poll-probe.ts', import.meta.url).pathname;
  const given = { port: Number(new URL(gate.pollUrl).port), rate: PROBE_PER_SECOND, devices };
  const wrap = ahead(OTHER_CORES);
  const probe: Program = await startProcess('poll-probe', [
    ...[...wrap, process.execPath, script, JSON.stringify(given)],
  ]);
  owner.teardown(() => probe.stop());
  await task();
  probe.tell('take');
  const told = await probe.line(({ msg }) => msg === 'told' || msg === 'failed');
  await probe.stop();
  if (told.msg !== 'told') throw new Error(`polls failed: ${String(told['why'])}`);
  return told as unknown as ProbeTold;
}

async function listPages(gate: Gate): Promise<{ p50: number; p99: number }> {
  const took: number[] = [];
  let cursor = '';
  for (let page = 0; page < PAGES; page++) {
    const began = performance.now();
    const { body } = await gate.call('GET', `/v1/devices?limit=${PAGE}${cursor}`);
    took.push(performance.now() - began);
    cursor = typeof body['next'] === 'string' ? `&cursor=${encodeURIComponent(body['next'])}` : '';
  }
  return shares(took);
}

async function pendingAtProxy(gate: Gate): Promise<number> {
  const status = (await (await fetch(`${gate.ops}/status`)).json()) as {
    sites: { pendingDevices: number }[];
  };
  return status.sites[0]?.pendingDevices ?? NaN;
}

async function knownAtProxy(gate: Gate): Promise<number> {
  const text = await (await fetch(`${gate.ops}/metrics`)).text();
  return Number(/^sallyport_marks_known (\d+)/m.exec(text)?.[1] ?? NaN);
}

function megabytesIn(dir: string): number {
  const sizes = readdirSync(dir).map((name) => statSync(join(dir, name)).size);
  return sizes.reduce((sum, size) => sum + size, 0) / 2 ** 20;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function until(test: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await test())) {
    if (performance.now() > deadline) throw new Error('it did not come about in time');
    await sleep(LOOK_MS);
  }
}
