import type { IncomingMessage, ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { Log } from '../../shared/log.ts';
import type { CampaignPush } from '../campaigns/campaigns.ts';
import type { Accepted, Push } from '../outbox/outbox.ts';
import { demandType, parseJson, readLines } from './body.ts';
import type { Line } from './body.ts';
import type { Context } from './context.ts';
import { ApiError, toReply } from './errors.ts';
import { messageState } from './present.ts';
import { deliversActions, toPush } from './push.ts';
import type { PushSurroundings } from './push.ts';
import { route } from './router.ts';
import type { Route } from './router.ts';
import { readAs } from './schema.ts';
import { bulkLineShape, bulkQuery, noFields } from './shapes/requests.ts';
import type { BulkQuery } from './shapes/requests.ts';
import { bulkResultShape } from './shapes/messages.ts';
import type { BulkResult } from './shapes/messages.ts';

const LINE_TYPES = ['application/x-ndjson', 'application/ndjson', 'application/jsonl', 'application/json'];

/** How much of an error's text a result line carries; 100 000 of them must stay bearable. */
const RESULT_MESSAGE_LIMIT = 200;

interface Read {
  line: number;
  push: Push | null;
  refused: unknown;
}

/** Pushing to many devices at once. */
export function bulkRoutes(context: Context): Route[] {
  let running = 0;
  return [
    route(
      {
        method: 'POST',
        path: '/v1/messages',
        operation: 'pushMany',
        summary: 'Hold messages for many devices',
        description:
          `Newline-delimited JSON, at most ${context.limits.bulkLines} lines of at most ${context.limits.bulkLineBytes} bytes, read and ` +
          'committed as they come. Each line is answered by a result line in the same order; a refused line hinders no other. ' +
          'Lines beyond the limit are not read, and a last result line of status 413 says so.',
        params: noFields,
        query: bulkQuery,
        body: { kind: 'lines', line: bulkLineShape, types: LINE_TYPES },
        answers: {
          200: {
            description: 'A result line for each line.',
            type: 'application/x-ndjson',
            shape: bulkResultShape,
          },
        },
        refusals: [415, 429],
      },
      async ({ query, request, signal, log }) => {
        demandType(request, LINE_TYPES);
        if (running >= context.limits.bulks) {
          throw new ApiError('API_BUSY', `${running} bulk pushes are running, which is the limit; try again`);
        }
        const around = {
          defaults: context.defaults,
          spread: (query.spread_s ?? 0) * 1000,
          campaign: query.campaign ?? null,
          courier: deliversActions(context.view),
        };
        running++;
        const campaign = await beginCampaign(context, query).catch((error: unknown) => {
          running--;
          throw error;
        });
        return {
          status: 200,
          headers: { 'content-type': 'application/x-ndjson' },
          stream: async (response) => {
            const exchange = { request, response, signal, log };
            try {
              await pushLines(context, { ...around, place: campaign?.place ?? atOnce }, exchange);
            } finally {
              campaign?.close();
              running--;
            }
          },
        };
      },
    ),
  ];
}

/** The campaign that a bulk push belongs to; null where it names none. @throws ApiError REQUEST_INVALID */
async function beginCampaign(
  { campaigns }: Context,
  { campaign, canary, abort_at: abortAt, per_minute: perMinute, spread_s: spread }: BulkQuery,
): Promise<CampaignPush | null> {
  const plan = {
    ...(canary === undefined ? {} : { canary }),
    ...(abortAt === undefined ? {} : { abortAt }),
    ...(perMinute === undefined ? {} : { spacing: MINUTE_MS / perMinute }),
  };
  if (campaign !== undefined) {
    if (perMinute === undefined || spread === undefined) return campaigns.begin(campaign, plan);
    throw new ApiError('REQUEST_INVALID', 'per_minute and spread_s say the same in two ways; give one', {
      field: 'per_minute',
    });
  }
  const [field] = Object.keys(plan);
  if (field === undefined) return null;
  throw new ApiError('REQUEST_INVALID', 'canary, abort_at and per_minute are parts of a campaign; name it', {
    field: 'campaign',
  });
}

const MINUTE_MS = 60_000;

/** Where a push belongs to no campaign. */
const atOnce: CampaignPush['place'] = () => ({ parked: false, delay: 0 });

interface Around extends Omit<PushSurroundings, 'now'> {
  place: CampaignPush['place'];
}

interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  signal: AbortSignal;
  log: Log;
}

async function pushLines(
  context: Context,
  around: Around,
  { request, response, signal, log }: Exchange,
): Promise<void> {
  const { limits, clock } = context;
  let batch: Read[] = [];
  let taken = 0;
  const here = { ...around, now: 0 };
  /** Settled when all batches so far are committed, and their results written. */
  let told: Promise<void> = Promise.resolve();
  const tell = async (results: BulkResult[]): Promise<void> => {
    response.write(results.map((result) => `${JSON.stringify(result)}\n`).join(''));
    // Results wait here rather than the reading, so that a caller may send everything before he reads anything.
    if (response.writableLength > limits.bulkBacklogBytes) await once(response, 'drain', { signal });
  };
  /** One batch is at the disk while the next one is read. */
  const commit = async (): Promise<void> => {
    const before = told;
    const results = commitBatch(context, batch, log);
    batch = [];
    told = before.then(async () => tell(await results));
    // It is awaited below; until then nobody looks at it.
    told.catch(() => undefined);
    await before;
  };
  /** Returns false where there are more lines than may be. */
  const takeLines = async (lines: Line[]): Promise<boolean> => {
    for (const line of lines) {
      if (taken === limits.bulkLines) {
        const refused = new ApiError(
          'TOO_LARGE',
          `More than ${limits.bulkLines} lines; nothing from here on was read`,
        );
        batch.push({ line: line.number, push: null, refused });
        return false;
      }
      here.now = clock.wall();
      batch.push(readLine(line, here, taken++, limits.bulkLineBytes));
      if (batch.length >= limits.bulkBatch) await commit();
    }
    return true;
  };
  try {
    const chunks = readLines(request.iterator({ destroyOnReturn: false }), limits.bulkLineBytes);
    for await (const lines of chunks) if (!(await takeLines(lines))) break;
    await commit();
  } finally {
    await told;
  }
}

function readLine(
  { number, bytes }: Line,
  around: Around & PushSurroundings,
  order: number,
  limit: number,
): Read {
  try {
    if (bytes === null) throw new ApiError('TOO_LARGE', `The line is over ${limit} bytes`);
    const { device, ...body } = readAs(bulkLineShape, parseJson(bytes), 'line');
    return {
      line: number,
      push: placed(toPush(device, body, around), around.place(device, order)),
      refused: null,
    };
  } catch (error) {
    return { line: number, push: null, refused: error };
  }
}

function placed(push: Push, { parked, delay }: ReturnType<CampaignPush['place']>): Push {
  const later = push.delay + delay;
  if (later < push.ttl) return { ...push, delay: later, parked };
  throw new ApiError(
    'REQUEST_INVALID',
    `Its turn comes ${Math.round(later / 1000)} s from now, when it has expired; give a longer ttl_s`,
    { field: 'ttl_s' },
  );
}

async function commitBatch(context: Context, batch: Read[], log: Log): Promise<BulkResult[]> {
  const pushes = batch.flatMap(({ push }) => (push === null ? [] : [push]));
  const outcomes: unknown[] =
    pushes.length === 0
      ? []
      : await context.outbox.pushMany(pushes).catch((error: unknown) => pushes.map(() => error));
  let next = 0;
  return batch.map(({ line, push, refused }) => {
    if (push === null) return refusal(line, refused, log);
    const outcome = outcomes[next++];
    if (!isAccepted(outcome)) return { ...refusal(line, outcome, log), device: push.device };
    const { message, known } = outcome;
    return {
      line,
      status: known ? 200 : 201,
      id: message.id,
      device: message.device,
      generation: message.generation,
      state: messageState(message, context.view),
    };
  });
}

function isAccepted(outcome: unknown): outcome is Accepted {
  return typeof outcome === 'object' && outcome !== null && 'message' in outcome && 'known' in outcome;
}

function refusal(line: number, error: unknown, log: Log): BulkResult {
  const { status, body } = toReply(error, log);
  return { line, status, ...body, message: body.message.slice(0, RESULT_MESSAGE_LIMIT) };
}
