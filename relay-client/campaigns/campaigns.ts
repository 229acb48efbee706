import { createHash } from 'node:crypto';
import type { Clock, Milliseconds, Timer } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import type { Log } from '../../shared/log.ts';
import type { CampaignNews, CampaignProgress, Outbox } from '../outbox/outbox.ts';
import { judge } from './judge.ts';
import { newsOf, withCounts } from './news.ts';
import { DEFAULT_PLAN, newRecord, readRecord } from './record.ts';
import type { CampaignPlan, CampaignRecord } from './record.ts';

/** Campaigns with a record; one more is refused. */
export const CAMPAIGNS = 10_000;
/** The least time between two looks at campaigns. */
const LOOK_MS: Milliseconds = 1_000;
/** Looks take at most this share of the outbox's time: one in so many. */
const LOOK_SHARE = 20;
/** Records read at a time. */
const PAGE = 500;

/** A record as the outbox keeps it; null = none, or none that can be read. */
interface Kept {
  text: string | null;
  record: CampaignRecord | null;
}

/** One that can be read. */
interface Read extends Kept {
  record: CampaignRecord;
}

/** A campaign as it stands. */
export interface Campaign extends CampaignRecord {
  name: string;
  progress: CampaignProgress;
}

/** A push that goes on: until `close`, its campaign is not taken for whole. */
export interface CampaignPush {
  /** How a device's message is to be held; `order` is its place in the push, from 0. */
  place(device: DeviceId, order: number): { parked: boolean; delay: Milliseconds };
  close(): void;
}

/**
 * Campaigns: messages under one name that are begun, paused, resumed and aborted together. What is wanted is written down
 * first and then done, so a relay that died in between goes on with it at its next start. What is written down is told in
 * the history with the same commit.
 */
export interface Campaigns {
  /**
   * Begins to push under a name. The first push of a campaign makes its plan; later ones may repeat it, not change it.
   *
   * @throws SallyportError CAMPAIGN_REFUSED where it was aborted or has another plan, OUTBOX_FULL where there are too many
   */
  begin(name: string, plan?: Partial<CampaignPlan>): Promise<CampaignPush>;
  /** @throws SallyportError NOT_FOUND */
  get(name: string): Promise<Campaign>;
  /** In the order of their names, after `after` (empty = from the start). */
  list(after: string, limit: number): Promise<{ campaigns: Campaign[]; next: string | null }>;
  /** Nothing more of it is offered to phones. @throws SallyportError NOT_FOUND, CAMPAIGN_REFUSED */
  pause(name: string): Promise<Campaign>;
  /** Goes on, each device as its plan says. @throws SallyportError NOT_FOUND, CAMPAIGN_REFUSED */
  resume(name: string): Promise<Campaign>;
  /** Cancels all that is held of it, for good. @throws SallyportError NOT_FOUND */
  abort(name: string): Promise<Campaign>;
  close(): Promise<void>;
}

export interface CampaignsOptions {
  outbox: Outbox;
  clock: Clock;
  log: Log;
}

/** Reads the records, and goes on with what a former run had begun. */
export async function createCampaigns({ outbox, clock, log }: CampaignsOptions): Promise<Campaigns> {
  const records = new Map<string, Read>();
  /** Campaigns whose end is ours to tell: known at the start, or begun here. */
  const own = new Set<string>();
  /** Pushes that go on, by campaign. */
  const pushing = new Map<string, number>();
  /** Campaigns that somebody must keep an eye on. */
  const watched = new Set<string>();
  let timer: Timer | null = null;
  let looking: Promise<void> | null = null;
  let closed = false;

  for (let after = '', more = true; more;) {
    const page = await outbox.campaigns(after, PAGE);
    for (const { name, settings } of page) {
      const record = readRecord(settings);
      own.add(name);
      if (record === null) log.warn('the record of a campaign cannot be read', { campaign: name });
      else records.set(name, { text: settings, record });
    }
    after = page.at(-1)?.name ?? after;
    more = page.length === PAGE;
  }

  /** Another relay that shares the outbox may have begun it, or changed it. */
  async function reread(name: string): Promise<Kept> {
    const text = await outbox.campaignRecord(name);
    if (text === null) return { text, record: null };
    const record = readRecord(text);
    if (record === null) return { text, record };
    const kept = { text, record };
    records.set(name, kept);
    watch(name, record);
    return kept;
  }

  /**
   * @param former - what `record` was made of
   * @returns what is kept now; null = the record was changed by somebody else meanwhile, and nothing was done
   */
  async function keep(
    name: string,
    record: CampaignRecord,
    former: Kept,
    news: CampaignNews | null = newsOf(name, former.record, record),
  ): Promise<Read | null> {
    const text = JSON.stringify(record);
    if (!(await outbox.keepCampaign(name, text, former.text, news ?? undefined))) return null;
    const kept = { text, record };
    records.set(name, kept);
    watch(name, record);
    if (news !== null) log.info('campaign', { what: news.what, ...news.facts });
    return kept;
  }

  function watch(name: string, record: CampaignRecord): void {
    const ends = record.endedAt === null && record.state !== 'aborted' && own.has(name);
    if (ends || isJudged(record)) watched.add(name);
    else watched.delete(name);
    arm(LOOK_MS);
  }

  function arm(delay: Milliseconds): void {
    if (timer !== null || looking !== null || closed || watched.size === 0) return;
    timer = clock.after(delay, () => {
      timer = null;
      const began = clock.monotonic();
      looking = look().finally(() => {
        looking = null;
        arm(Math.max(LOOK_MS, (clock.monotonic() - began) * LOOK_SHARE));
      });
    });
  }

  async function look(): Promise<void> {
    for (const name of [...watched]) {
      if (closed) return;
      try {
        await lookAt(name);
      } catch (error) {
        log.warn('campaign could not be looked at', { campaign: name, why: describeError(error) });
      }
    }
  }

  async function lookAt(name: string): Promise<void> {
    const kept = await reread(name);
    const { record } = kept;
    if (record === null || record.state === 'aborted') return;
    const isWhole = (): boolean => (pushing.get(name) ?? 0) === 0;
    if (isJudged(record)) {
      const verdict = judge(record, await outbox.campaign(name));
      // Where somebody else was faster, the next look sees what he did.
      if (verdict.do === 'abort')
        return void (await apply(name, { ...record, state: 'aborted', why: verdict.why }, kept));
      if (verdict.do === 'start' && isWhole()) {
        if (verdict.most === null) return void (await apply(name, { ...record, phase: 'all' }, kept));
        await outbox.release(name, { spacing: 0, most: verdict.most });
      }
    }
    if (!isWhole() || (await outbox.holdsCampaign(name)) || !isWhole()) return;
    // With nothing held there is nothing to come; a push or a re-drive begins anew.
    watched.delete(name);
    if (record.endedAt === null && own.has(name)) await end(name, { ...kept, record });
  }

  async function end(name: string, kept: Read): Promise<void> {
    const { record } = kept;
    const ended = { ...record, endedAt: clock.wall() };
    const news = newsOf(name, record, ended);
    const told = news === null ? null : withCounts(news, await outbox.campaign(name));
    if ((await keep(name, ended, kept, told)) === null) watch(name, record);
  }

  /** Writes down what is wanted, and does it; false where the record was changed meanwhile, and nothing was done. */
  async function apply(name: string, record: CampaignRecord, former: Kept): Promise<boolean> {
    const kept = await keep(name, record, former);
    if (kept === null) return false;
    await fulfil(name, kept);
    return true;
  }

  async function fulfil(name: string, kept: Read): Promise<void> {
    const { record } = kept;
    if (record.state === 'aborted') await outbox.abandon(name, 'campaign aborted');
    else if (record.state === 'paused') await outbox.park(name);
    else if (record.phase === 'all') await outbox.release(name, { spacing: record.spacing });
    else if (record.underWay > 0) {
      await outbox.release(name, { spacing: 0, most: record.underWay });
      await keep(name, { ...record, underWay: 0 }, kept);
    }
  }

  /** A campaign whose record is lost (a salvaged outbox) waits for somebody to say how to go on. */
  async function findKept(name: string): Promise<{ campaign: Campaign; kept: Kept }> {
    const kept = await reread(name);
    const progress = await outbox.campaign(name);
    if (kept.record !== null) return { campaign: { name, ...kept.record, progress }, kept };
    if (Object.keys(progress.states).length === 0) throw unknown(name);
    const state = progress.parked > 0 ? 'paused' : 'running';
    return { campaign: { name, ...newRecord(DEFAULT_PLAN, 0), state, progress }, kept };
  }

  const find = async (name: string): Promise<Campaign> => (await findKept(name)).campaign;

  async function change(
    name: string,
    to: (campaign: Campaign) => Partial<CampaignRecord> | null,
  ): Promise<Campaign> {
    for (;;) {
      const { campaign, kept } = await findKept(name);
      const { name: _name, progress: _progress, ...record } = campaign;
      const changed = to(campaign);
      if (changed === null || (await apply(name, { ...record, ...changed }, kept))) return find(name);
    }
  }

  function refuseAborted({ name, state, why }: Pick<Campaign, 'name' | 'state' | 'why'>): void {
    if (state !== 'aborted') return;
    const because = why === null ? '' : ` (${why})`;
    throw new SallyportError(
      'CAMPAIGN_REFUSED',
      `Campaign ${name} was aborted${because}, which is for good; use another name.`,
    );
  }

  /** Sees to it that there is a record under which can be pushed. */
  async function start(name: string, asked: Partial<CampaignPlan>): Promise<void> {
    for (;;) {
      const kept = await reread(name);
      const known = kept.record;
      own.add(name);
      if (known === null) {
        if (records.size >= CAMPAIGNS) throw tooMany(name);
        const fresh = newRecord({ ...DEFAULT_PLAN, ...asked }, clock.wall());
        if ((await keep(name, fresh, kept)) !== null) return;
        continue;
      }
      refuseAborted({ name, ...known });
      refuseOtherPlan(name, known, asked);
      if (known.endedAt === null) return watch(name, known);
      if ((await keep(name, { ...known, endedAt: null }, kept)) !== null) return;
    }
  }

  for (const [name, kept] of records) {
    const { record } = kept;
    watch(name, record);
    if (record.state !== 'running' || record.phase === 'all') await fulfil(name, kept);
  }

  return {
    async begin(name, asked = {}) {
      await start(name, asked);
      pushing.set(name, (pushing.get(name) ?? 0) + 1);
      let open = true;
      return {
        place(device, order) {
          const { state, phase, canary, spacing } = records.get(name)!.record;
          const waits = phase === 'canary' && shareOf(name, device) >= canary;
          return { parked: state !== 'running' || waits, delay: waits ? 0 : Math.floor(order * spacing) };
        },
        close() {
          if (!open) return;
          open = false;
          const left = (pushing.get(name) ?? 1) - 1;
          if (left > 0) pushing.set(name, left);
          else pushing.delete(name);
          // Stopped while the push went on: its last messages came behind what was stopped then.
          const stopped = async (): Promise<void> => {
            const { text, record } = await reread(name);
            if (record !== null && record.state !== 'running') await fulfil(name, { text, record });
          };
          void stopped().catch((error: unknown) =>
            log.warn('campaign could not be stopped whole', { campaign: name, why: describeError(error) }),
          );
        },
      };
    },
    get: find,
    async list(after, limit) {
      const page = await outbox.campaigns(after, limit + 1);
      const shown = page.slice(0, limit);
      const readable = shown.filter(({ settings }) => readRecord(settings) !== null);
      const campaigns = await Promise.all(readable.map(({ name }) => find(name)));
      return { campaigns, next: page.length > limit ? (shown.at(-1)?.name ?? null) : null };
    },
    pause: (name) =>
      change(name, (campaign) => {
        refuseAborted(campaign);
        if (campaign.state === 'paused') return null;
        const { progress } = campaign;
        const underWay = campaign.phase === 'all' ? 0 : (progress.states.held ?? 0) - progress.parked;
        return { state: 'paused', why: null, underWay };
      }),
    resume: (name) =>
      change(name, (campaign) => {
        refuseAborted(campaign);
        return campaign.state === 'running' ? null : { state: 'running', why: null };
      }),
    abort: (name) =>
      change(name, ({ state }) => (state === 'aborted' ? null : { state: 'aborted', why: null })),
    async close() {
      closed = true;
      timer?.cancel();
      await looking;
    },
  };
}

/** Whether its figures decide how it goes on. */
const isJudged = ({ state, phase, abortAt }: CampaignRecord): boolean =>
  state === 'running' && (phase === 'canary' || abortAt < 1);

/** Where a device stands in a campaign, from 0 up to 1: always the same, so that a repeated push moves nobody. */
export function shareOf(campaign: string, device: DeviceId): number {
  const hash = createHash('sha256').update(`${campaign}\n${device}`).digest();
  return hash.readUInt32BE(0) / 2 ** 32;
}

function refuseOtherPlan(name: string, known: CampaignPlan, asked: Partial<CampaignPlan>): void {
  for (const part of ['canary', 'abortAt', 'spacing'] as const) {
    const wanted = asked[part];
    if (wanted === undefined || wanted === known[part]) continue;
    throw new SallyportError(
      'CAMPAIGN_REFUSED',
      `Campaign ${name} was begun with another plan (${part} ${known[part]}, not ${wanted}); leave it out, or use another name.`,
    );
  }
}

const unknown = (name: string): SallyportError =>
  new SallyportError('NOT_FOUND', `There is no campaign ${name}.`);

const tooMany = (name: string): SallyportError =>
  new SallyportError(
    'OUTBOX_FULL',
    `Campaign ${name} is refused: there are ${CAMPAIGNS} campaigns already, which is the limit.`,
  );
