import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { CampaignBody } from '../../api/shapes/campaigns.ts';
import { ask, at } from '../data/api.ts';
import { useResource } from '../data/use.ts';
import { Empty, Fault, Heading, Loading, Panel } from '../parts/blocks.tsx';
import { DeedButton, Outcome } from '../parts/confirm.tsx';
import type { Deed, Told } from '../parts/confirm.tsx';
import { Ago, Badge, number, StateBadge } from '../parts/words.tsx';

const FRESH_MS = 3_000;
const PAGE = 20;

/** Messages that were pushed under one name. */
export function Campaigns(): JSX.Element {
  const [cursors, setCursors] = useState<string[]>([]);
  const cursor = cursors.at(-1);
  const path = `v1/campaigns?limit=${PAGE}${cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`}`;
  const found = useResource<{ campaigns: CampaignBody[]; next: string | null }>(path, {
    every: FRESH_MS,
    on: ({ kind }) => kind === 'campaign',
  });
  const [told, setTold] = useState<Told | null>(null);
  const done = (outcome: Told): void => {
    setTold(outcome);
    found.refresh();
  };
  const next = found.value?.next ?? null;
  return (
    <>
      <Heading>Campaigns</Heading>
      <Fault text={found.fault} />
      <Outcome told={told} />
      {found.value === null ? (
        found.fault === null ? (
          <Loading />
        ) : null
      ) : found.value.campaigns.length === 0 ? (
        <Empty title="No campaign was begun yet.">
          <p>
            A campaign is a list of devices that are pushed to under one name, some first, so many in a
            minute, and stopped by itself where too many fail. Begin one with{' '}
            <code>sallyport-relay push --from phones.txt --campaign spring --canary 5% --per-minute 100</code>
            .
          </p>
        </Empty>
      ) : (
        found.value.campaigns.map((campaign) => (
          <Campaign key={campaign.name} campaign={campaign} done={done} />
        ))
      )}
      {cursors.length === 0 && next === null ? null : (
        <nav class="pager" aria-label="Pages of campaigns">
          <button
            type="button"
            disabled={cursors.length === 0}
            onClick={() => setCursors(cursors.slice(0, -1))}
          >
            ← Back
          </button>
          <button
            type="button"
            disabled={next === null}
            onClick={() => next !== null && setCursors([...cursors, next])}
          >
            Next →
          </button>
        </nav>
      )}
    </>
  );
}

const STATES = ['held', 'cleared', 'superseded', 'expired', 'cancelled', 'dead'] as const;

function Campaign({ campaign, done }: { campaign: CampaignBody; done: (told: Told) => void }): JSX.Element {
  const { name, state, phase, why, total, held } = campaign;
  const through = total - held;
  return (
    <Panel
      title={name}
      class="campaign"
      extra={
        <>
          {campaign.ended_at === null ? <StateBadge state={state} /> : <Badge tone="good">ended</Badge>}
          {campaign.ended_at === null && state === 'running' && phase === 'canary' ? (
            <Badge tone="busy">canary</Badge>
          ) : null}
          <span class="buttons end">
            {deedsOf(campaign).map((deed) => (
              <DeedButton key={deed.label} deed={deed} done={done} />
            ))}
          </span>
        </>
      }
    >
      {why === null ? null : <p class="fault">{why}</p>}
      <p class="progress">
        <progress max={Math.max(1, total)} value={through} aria-label={`Progress of ${name}`} />
        <span>
          {number(through)} of {number(total)} through
        </span>
      </p>
      <dl class="counts">
        {STATES.map((each) => (
          <div key={each} class={campaign[each] === 0 ? 'none' : ''}>
            <dt>{each}</dt>
            <dd>{number(campaign[each])}</dd>
          </div>
        ))}
        <div class={campaign.parked === 0 ? 'none' : ''}>
          <dt>parked</dt>
          <dd>{number(campaign.parked)}</dd>
        </div>
        <div class={campaign.failed === 0 ? 'none' : ''}>
          <dt>failed</dt>
          <dd>{number(campaign.failed)}</dd>
        </div>
      </dl>
      <p class="muted">
        {planOf(campaign)}{' '}
        {campaign.created_at === null ? null : (
          <>
            Begun <Ago at={campaign.created_at} />.
          </>
        )}{' '}
        {campaign.ended_at === null ? null : (
          <>
            Ended <Ago at={campaign.ended_at} />.
          </>
        )}
      </p>
    </Panel>
  );
}

function planOf({ canary, abort_at: abortAt, spacing_s: spacing }: CampaignBody): string {
  const share = (part: number): string => `${number(part * 100)} %`;
  return [
    canary === 0 ? (spacing === 0 ? 'All at once.' : '') : `The first ${share(canary)} go alone.`,
    spacing === 0 ? '' : `One device every ${number(spacing)} s.`,
    abortAt >= 1 ? 'Never aborted by itself.' : `Aborted above ${share(abortAt)} of failures.`,
  ]
    .filter((part) => part !== '')
    .join(' ');
}

function deedsOf({ name, state, held, ended_at: endedAt }: CampaignBody): Deed[] {
  const change = async (verb: string): Promise<void> =>
    void (await ask<CampaignBody>('POST', at('v1', 'campaigns', name, verb), {}));
  if (state === 'aborted' || (endedAt !== null && held === 0 && state === 'running')) return [];
  const pause: Deed = {
    label: 'Pause',
    question: null,
    act: async () => {
      await change('pause');
      return `${name} is paused: nothing more of it is offered to phones. Sessions that run go on.`;
    },
  };
  const resume: Deed = {
    label: 'Resume',
    primary: true,
    question: null,
    act: async () => {
      await change('resume');
      return `${name} goes on where it was.`;
    },
  };
  const abort: Deed = {
    label: 'Abort',
    question: {
      title: `Abort ${name} for good?`,
      text: (
        <p>
          {held === 1 ? 'One message that is held is' : `${number(held)} messages that are held are`}{' '}
          cancelled, and the name takes no more pushes. What phones have done stays done. To stop for a while,
          pause it.
        </p>
      ),
      yes: 'Abort the campaign',
      grave: true,
    },
    act: async () => {
      await change('abort');
      return `${name} was aborted.`;
    },
  };
  return [state === 'paused' ? resume : pause, abort];
}
