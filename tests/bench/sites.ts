/** What a flood at one site's doors does to the phones of another, on one proxy. */
import { startGate } from '../fixtures/gate.ts';
import type { Owner } from '../fixtures/gate.ts';
import { startSecondSite, TWO_SITES } from '../fixtures/second-site.ts';
import { startJobs } from './jobs.ts';
import { absoluteRow, median } from './rows.ts';
import type { BenchOptions, BenchRow } from './rows.ts';
import type { FloodDone, FloodJob } from './site-flood.ts';
import type { ProbeDone, ProbeJob } from './site-probe.ts';

const BENCH = 'sites';
const KINDS = ['poll', 'session'] as const;
const NAMES = {
  poll: "polls of a site beside another's flood, p99",
  session: "sessions of a site beside another's flood, p99",
};
/** To the same without the flood. */
const MOST = { most: 2 };
const FLOOD = { polls: 500, sessions: 100, pushes: 100 };
const PROBE = { polls: 100, sessions: 20 };
/** What the flooded site may have. */
const QUOTA = { poll_connections: 200, session_connections: 50 };
/** Least length of one measurement, so that its 99th percentiles mean something. */
const LEAST_MS = 6_000;
/** From the beginning of the flood to a measurement: the site is at its quotas by then. */
const WARM_MS = 1_500;
const PATIENCE_MS = 60_000;

export async function run(owner: Owner, options: BenchOptions): Promise<BenchRow[]> {
  const kinds = KINDS.filter((kind) => options.wanted(BENCH, NAMES[kind]));
  if (kinds.length === 0) return [];
  const [north, south] = TWO_SITES.sites;
  const gate = await startGate(owner, {
    logLevel: 'info',
    site: 'north',
    proxy: { ...TWO_SITES, sites: [{ ...north, ...QUOTA }, south] },
  });
  const other = await startSecondSite(owner, gate);
  const flood = await startJobs<FloodJob, FloodDone>(owner, [], './site-flood.ts');
  const probe = await startJobs<ProbeJob, ProbeDone>(owner, [], './site-probe.ts');
  const portOf = (url: string): number => Number(new URL(url).port);
  const ms = Math.max(LEAST_MS, options.seconds * 1000);
  const look = (): Promise<ProbeDone> =>
    probe.run(
      { ...PROBE, poll: portOf(other.pollDoor), door: portOf(other.phoneService), ms },
      ms + PATIENCE_MS,
    );
  const alone: ProbeDone[] = [];
  const beside: ProbeDone[] = [];
  let first = 0;
  await look();
  for (let round = 1; round <= options.rounds; round++) {
    options.progress(`round ${round} of ${options.rounds}`);
    alone.push(await look());
    const flooding = flood.run(
      {
        ...FLOOD,
        ...{ poll: portOf(gate.pollUrl), door: portOf(gate.phoneService), api: portOf(gate.api) },
        ...{ ms: ms + 2 * WARM_MS, first },
      },
      ms + PATIENCE_MS,
    );
    await new Promise((resolve) => setTimeout(resolve, WARM_MS));
    beside.push(await look());
    first += (await flooding).pushes;
  }
  const text = await (await fetch(`${gate.ops}/metrics`)).text();
  if (!/^sallyport_session_refused_total\{door="wpi",reason="site_full"\} [1-9]/m.test(text))
    throw new Error('the flood has not reached the quota of sessions');
  const cut =
    /^sallyport_(site_poll_connections_refused_total\{site="north"|poll_connections_cut_total\{reason="evicted")\} [1-9]/m;
  if (!cut.test(text)) throw new Error('the flood has not reached the quota of polls');
  return kinds.map((kind) =>
    absoluteRow({
      ...{ bench: BENCH, name: NAMES[kind], unit: '×', goal: MOST },
      ours: beside.map((each, round) => each[kind].p99 / (alone[round]?.[kind].p99 ?? NaN)),
      beside: {
        'with it, p50, ms': median(beside.map((each) => each[kind].p50)),
        'with it, p99, ms': median(beside.map((each) => each[kind].p99)),
        'without it, p50, ms': median(alone.map((each) => each[kind].p50)),
        'without it, p99, ms': median(alone.map((each) => each[kind].p99)),
      },
      note:
        `times of the same without the flood; in a second ${FLOOD.polls} poll connections that never idle, ${FLOOD.sessions} silent ones ` +
        `at the session door and ${FLOOD.pushes} pushes, at a site with ${QUOTA.poll_connections} and ${QUOTA.session_connections} places; ` +
        `measured at a door of the other's own, ${PROBE.polls} polls and ${PROBE.sessions} TLS sessions a second, each on a connection of its own`,
    }),
  );
}
