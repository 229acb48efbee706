import type { Campaign, Campaigns } from '../campaigns/campaigns.ts';
import type { Context } from './context.ts';
import { presentCampaign } from './present.ts';
import { campaignParams, campaignsQuery, noFields } from './shapes/requests.ts';
import { route } from './router.ts';
import type { Reply, Route } from './router.ts';
import { campaignShape, campaignsShape } from './shapes/campaigns.ts';

const PAGE = 100;

const VERBS = [
  {
    verb: 'pause',
    summary: 'Pause a campaign',
    description: 'Nothing more of it is offered to phones. Sessions that run go on; messages expire as ever.',
  },
  {
    verb: 'resume',
    summary: 'Resume a paused campaign',
    description: 'It goes on where it was, one device after the other as its plan says.',
  },
  {
    verb: 'abort',
    summary: 'Abort a campaign',
    description: 'Cancels all that is held of it, for good: its name takes no more pushes.',
  },
] as const;

/** Campaigns: messages that were pushed under one name. */
export function campaignRoutes({ campaigns }: Pick<Context, 'campaigns'>): Route[] {
  const answer = async (campaign: Promise<Campaign>): Promise<Reply> => ({
    status: 200,
    json: presentCampaign(await campaign),
  });
  return [
    route(
      {
        method: 'GET',
        path: '/v1/campaigns',
        operation: 'campaigns',
        summary: 'All campaigns',
        params: noFields,
        query: campaignsQuery,
        answers: { 200: { description: 'In the order of their names.', shape: campaignsShape } },
      },
      async ({ query }) => {
        const page = await campaigns.list(query.cursor ?? '', query.limit ?? PAGE);
        return { status: 200, json: { campaigns: page.campaigns.map(presentCampaign), next: page.next } };
      },
    ),
    route(
      {
        method: 'GET',
        path: '/v1/campaigns/{name}',
        operation: 'campaign',
        summary: "A campaign's progress",
        params: campaignParams,
        query: noFields,
        answers: { 200: { description: 'Its plan, and its messages by state.', shape: campaignShape } },
        refusals: [404],
      },
      ({ params }) => answer(campaigns.get(params.name)),
    ),
    ...VERBS.map(({ verb, summary, description }) =>
      route(
        {
          method: 'POST',
          path: `/v1/campaigns/{name}/${verb}`,
          operation: `${verb}Campaign`,
          summary,
          description,
          params: campaignParams,
          query: noFields,
          body: { kind: 'json', shape: noFields },
          answers: { 200: { description: 'The campaign as it is then.', shape: campaignShape } },
          refusals: [404, 409, 413, 415, 429, 503, 507],
        },
        ({ params }) => answer(change(campaigns, verb, params.name)),
      ),
    ),
  ];
}

const change = (
  campaigns: Campaigns,
  verb: (typeof VERBS)[number]['verb'],
  name: string,
): Promise<Campaign> => campaigns[verb](name);
