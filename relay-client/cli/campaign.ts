import type { Command } from 'commander';
import type { CampaignBody } from '../api/shapes/campaigns.ts';
import { action, common, FAILED, OK } from './command.ts';
import type { Desk, Surroundings } from './command.ts';
import { createProgress } from './progress.ts';
import { pairs, table } from '../../shared/table.ts';

/** Between two looks at a campaign that is watched. */
const LOOK_MS = 1_000;

const VERBS = [
  ['pause', 'offer nothing more of it to phones; sessions that run go on'],
  ['resume', 'go on where it was paused'],
  ['abort', 'cancel all that is held of it, for good'],
] as const;

/** The commands about messages that were pushed under one name; `push --campaign` begins one. */
export function addCampaign(program: Command, around: Surroundings): void {
  const campaign = program
    .command('campaign')
    .description('campaigns: messages that were pushed under one name (push --campaign)');
  common(campaign.command('list')).description('all campaigns').action(action(around, list));
  common(campaign.command('show'))
    .description('its plan and how far it has come')
    .argument('<name>', 'name of the campaign')
    .action(
      action(around, async (desk, _options, [name = '']) => {
        print(desk, await desk.client.campaign(name));
        return OK;
      }),
    );
  common(campaign.command('watch'))
    .description('show its progress until all of it has ended; exit 1 if it was aborted or anything failed')
    .argument('<name>', 'name of the campaign')
    .action(action(around, (desk, _options, [name = '']) => watch(desk, name)));
  for (const [verb, description] of VERBS) {
    common(campaign.command(verb))
      .description(description)
      .argument('<name>', 'name of the campaign')
      .action(
        action(around, async (desk, _options, [name = '']) => {
          print(desk, await desk.client.changeCampaign(name, verb));
          return OK;
        }),
      );
  }
}

async function list({ client, io, json, printJson }: Desk): Promise<number> {
  const all: CampaignBody[] = [];
  let cursor: string | undefined;
  do {
    const page = await client.campaigns(cursor);
    all.push(...page.campaigns);
    cursor = page.next ?? undefined;
  } while (cursor !== undefined);
  if (json) all.forEach(printJson);
  else if (all.length === 0) io.out('There are no campaigns.\n');
  else
    io.out(
      table(
        ['CAMPAIGN', 'STATE', 'TOTAL', 'HELD', 'PARKED', 'CLEARED', 'FAILED', 'DEAD', 'EXPIRED', 'CANCELLED'],
        all.map((each) => [
          each.name,
          stateText(each),
          each.total,
          each.held,
          each.parked,
          each.cleared,
          each.failed,
          each.dead,
          each.expired,
          each.cancelled,
        ]),
      ),
    );
  return OK;
}

async function watch(desk: Desk, name: string): Promise<number> {
  const { client, io, json, printJson } = desk;
  const progress = createProgress(io);
  for (;;) {
    const campaign = await client.campaign(name);
    const { total, held } = campaign;
    const share = total === 0 ? 0 : (total - held) / total;
    if (json) printJson(campaign);
    else progress.show(share, `${total - held} of ${total} ended, ${stateText(campaign)}`);
    const over = held === 0 && total > 0;
    if (over || io.signal.aborted) {
      progress.end();
      if (!json) print(desk, campaign);
      return over && isGood(campaign) ? OK : FAILED;
    }
    await pause(LOOK_MS, io.signal);
  }
}

const isGood = ({ state, failed, dead, expired }: CampaignBody): boolean =>
  state !== 'aborted' && failed + dead + expired === 0;

function print({ io, json, printJson }: Desk, campaign: CampaignBody): void {
  if (json) return printJson(campaign);
  const { canary, abort_at: abortAt, spacing_s: spacing } = campaign;
  io.out(
    pairs([
      ['campaign', campaign.name],
      ['state', `${stateText(campaign)}${campaign.why === null ? '' : `: ${campaign.why}`}`],
      ...(campaign.created_at === null ? [] : [['begun', campaign.created_at] as const]),
      ...(campaign.ended_at === null ? [] : [['ended', campaign.ended_at] as const]),
      ['goes first', canary === 0 ? 'nobody, all at once' : percent(canary)],
      ['aborted at', abortAt === 1 ? 'never' : `more than ${percent(abortAt)} failures`],
      ['pace', spacing === 0 ? 'at once' : `${Math.round(60 / spacing)} a minute`],
      ['messages', campaign.total],
      ['held', `${campaign.held}${campaign.parked === 0 ? '' : `, ${campaign.parked} of them parked`}`],
      ['cleared', `${campaign.cleared}${campaign.failed === 0 ? '' : `, ${campaign.failed} of them failed`}`],
      ['dead', campaign.dead],
      ['expired', campaign.expired],
      ['cancelled', campaign.cancelled],
      ['superseded', campaign.superseded],
    ]),
  );
}

const percent = (share: number): string => `${Number((share * 100).toFixed(2))} %`;

function stateText({ state, phase, held }: CampaignBody): string {
  if (state !== 'running') return state;
  if (held === 0) return 'done';
  return phase === 'canary' ? 'running, canary' : 'running';
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
