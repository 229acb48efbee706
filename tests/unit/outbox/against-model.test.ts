import fc from 'fast-check';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import type { Test } from 'tap';
import { createModelDisk, createModelOutbox } from '../../../relay-client/outbox/model.ts';
import type { Outbox, OutboxLimits } from '../../../relay-client/outbox/outbox.ts';
import { openPostgresOutbox } from '../../../relay-client/outbox/postgres.ts';
import { openSqliteOutbox } from '../../../relay-client/outbox/sqlite.ts';
import { isSallyportError } from '../../../shared/errors.ts';
import { silentLog } from '../../../shared/log.ts';
import { createFakeClock } from '../../fixtures/fake-clock.ts';
import type { FakeClock } from '../../fixtures/fake-clock.ts';
import { startPostgres, whyNoPostgres } from '../../fixtures/postgres.ts';
import { seededRandom } from '../../fixtures/seeded-random.ts';
import { contactMe, DAY, dls, HOUR, phone } from './conformance/lab.ts';

/** So small that a few dozen operations meet each of them. */
const LIMITS: Partial<OutboxLimits> = {
  messages: 8,
  perDevice: 3,
  bytes: 30,
  resultBytes: 20,
  history: 25,
  ended: 6,
  devices: 4,
  strangers: 1,
};

const STEPS = 150;

/** What happens to both: an operation, or time, or a restart. `pick` gives the n-th newest of the ids known so far; the newest dead one comes before all. */
type Step =
  | {
      type: 'operation';
      name: string;
      run(outbox: Outbox, pick: (n: number) => string): Promise<unknown> | void;
    }
  | { type: 'time'; advance: number; jump: number }
  | { type: 'reopen' };

const device = fc.integer({ min: 1, max: 5 }).map(phone);
const ttl = fc.constantFrom(HOUR, DAY, 7 * DAY);
const delay = fc.constantFrom(0, 0, HOUR);
const generation = fc.integer({ min: 1, max: 20 });
const kind = fc.constantFrom('contact-me' as const, 'dls' as const);
const reason = fc.constantFrom({ state: 'cleared', by: 'session' }, { state: 'cancelled', by: 'api' });
const index = fc.nat(5);

const push = fc
  .record({
    device,
    kind,
    ttl,
    delay,
    key: fc.option(fc.constantFrom('a', 'b'), { nil: undefined, freq: 2 }),
    replace: fc.boolean(),
    actions: fc.constantFrom('[]', '[123456789]', 'äöü'),
    campaign: fc.option(fc.constantFrom('spring', 'autumn'), { nil: undefined, freq: 2 }),
    parked: fc.boolean(),
  })
  .map(({ device, kind, actions, replace, key, campaign, parked, ...times }) => {
    const names = {
      ...(key === undefined ? {} : { key }),
      ...(campaign === undefined ? {} : { campaign, parked }),
    };
    const more = { ...times, ...names };
    return kind === 'dls' ? dls(device, actions, { ...more, replace }) : contactMe(device, more);
  });

type Operation = Extract<Step, { type: 'operation' }>;

const operation = <T>(
  name: string,
  given: fc.Arbitrary<T>,
  run: (o: Outbox, given: T, pick: (n: number) => string) => Promise<unknown> | void,
) =>
  given.map((value): Operation => {
    return {
      type: 'operation',
      name: `${name} ${JSON.stringify(value)}`,
      run: (outbox, pick) => run(outbox, value, pick),
    };
  });

const operations = fc.oneof(
  { weight: 10, arbitrary: operation('push', push, (outbox, given) => outbox.push(given)) },
  {
    weight: 3,
    arbitrary: operation('pushMany', fc.array(push, { maxLength: 6 }), (outbox, given) =>
      outbox.pushMany(given),
    ),
  },
  {
    weight: 3,
    arbitrary: operation(
      'clear',
      fc.tuple(device, reason, fc.record({ generation, kind }, { requiredKeys: [] })),
      (outbox, [device, end, only]) => outbox.clear(device, { ...end, ...only }),
    ),
  },
  {
    weight: 2,
    arbitrary: operation('end', fc.tuple(index, reason), (outbox, [n, end], pick) =>
      outbox.end(pick(n), end as Parameters<Outbox['end']>[1]),
    ),
  },
  {
    weight: 3,
    arbitrary: operation(
      'advance',
      fc.tuple(index, fc.constantFrom('[1]', '[1,2,3,4]', 'ä'), fc.constantFrom(0, HOUR, DAY)),
      (outbox, [n, results, wait], pick) => outbox.advance(pick(n), { results, wait }),
    ),
  },
  {
    weight: 2,
    arbitrary: operation(
      'end with results',
      fc.tuple(index, fc.constantFrom('[]', '[1,2,3,4,5]')),
      (outbox, [n, results], pick) =>
        outbox.end(pick(n), {
          state: 'cleared',
          by: 'courier',
          results,
          facts: { actions: 1 },
          failed: n % 2 === 0,
        }),
    ),
  },
  {
    weight: 3,
    arbitrary: operation('redrive', fc.constantFrom(0, 0, 0, 1, 5), (outbox, n, pick) =>
      outbox.redrive(pick(n)),
    ),
  },
  {
    weight: 4,
    arbitrary: operation(
      'fruitless',
      fc.tuple(device, generation, fc.constantFrom(0, 1, 1, 2), fc.option(kind, { nil: undefined })),
      (outbox, [of, upTo, limit, only]) => outbox.fruitless(of, upTo, limit, only),
    ),
  },
  { weight: 2, arbitrary: operation('expire', fc.constant(null), (outbox) => outbox.expire()) },
  {
    weight: 2,
    arbitrary: operation('note', fc.tuple(device, fc.boolean()), (outbox, [device, session]) =>
      outbox.note(device, 'session', { outcome: 'done' }, { session }),
    ),
  },
  {
    weight: 3,
    arbitrary: operation(
      'campaign',
      fc.tuple(fc.constantFrom('park', 'release', 'release', 'abandon'), fc.constantFrom('spring', 'autumn')),
      (outbox, [what, name]) => {
        if (what === 'park') return outbox.park(name);
        if (what === 'release') return outbox.release(name, { spacing: HOUR, most: 2 });
        return outbox.abandon(name, 'campaign aborted');
      },
    ),
  },
  {
    weight: 1,
    arbitrary: operation(
      'keepCampaign',
      fc.tuple(fc.constantFrom('{}', '{"n":1}'), fc.constantFrom(null, '{}', '{"n":1}'), fc.boolean()),
      (outbox, [settings, former, told]) =>
        told
          ? outbox.keepCampaign('spring', settings, former, { what: 'paused', facts: { campaign: 'spring' } })
          : outbox.keepCampaign('spring', settings, former),
    ),
  },
  {
    weight: 1,
    arbitrary: operation('holdsCampaign', fc.constantFrom('spring', 'autumn'), (outbox, name) =>
      outbox.holdsCampaign(name),
    ),
  },
  {
    weight: 1,
    arbitrary: operation('renew', fc.constant(null), (outbox) => outbox.renew().then(() => 'renewed')),
  },
);

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 20, arbitrary: operations },
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant('time' as const),
      advance: fc.constantFrom(0, 1, HOUR, DAY, 4 * DAY),
      jump: fc.constantFrom(0, 0, -30 * DAY, -HOUR, HOUR, 30 * DAY),
    }),
  },
  { weight: 1, arbitrary: fc.constant<Step>({ type: 'reopen' }) },
);

async function outcome(begun: Promise<unknown> | void): Promise<unknown> {
  try {
    return await begun;
  } catch (error) {
    if (!isSallyportError(error)) throw error;
    return { refused: error.code, message: error.message };
  }
}

/** All that an outbox can tell. */
async function everything(outbox: Outbox) {
  const held = [];
  for await (const { seq, entries } of outbox.snapshot(3)) held.push({ seq, entries });
  const devices = (await outbox.devices({ limit: 2 })).devices;
  const each = [1, 2, 3, 4, 5].map(phone);
  return {
    held,
    devices: [...devices, ...(await outbox.devices({ limit: 100, cursor: phone(2) })).devices],
    dead: await outbox.devices({ limit: 100, state: 'dead' }),
    messages: await Promise.all(each.map((device) => outbox.messages(device, 100))),
    histories: await Promise.all(each.map((device) => outbox.recentHistory(device, 5))),
    history: await outbox.history({ after: 0, limit: 1000 }),
    changes: await outbox.changes(Math.max(0, outbox.sequence() - 25), 1000),
    counts: await outbox.counts(),
    nextActions: await Promise.all(each.map((device) => outbox.nextActions(device))),
    awaited: await Promise.all(each.map((device) => outbox.awaited(device))),
    overdue: await outbox.overdue(9),
    campaigns: [await outbox.campaign('spring'), await outbox.campaign('autumn')],
    records: await outbox.campaigns('', 9),
    nextExpiry: await outbox.nextExpiry(),
    sequence: outbox.sequence(),
  };
}

function balanced({ counts }: Awaited<ReturnType<typeof everything>>): boolean {
  return counts.accepted === counts.held + Object.values(counts.ended).reduce((sum, count) => sum + count, 0);
}

/** An engine that is held against the model. */
interface Engine {
  name: string;
  runs: number;
  skip?: string | false;
  /** Readies an empty place for a store; returns what opens it. */
  prepare(t: Test): Promise<(run: { path: string; clock: FakeClock; seed: number }) => Promise<Open>>;
}

/** Opens the store again and again. */
type Open = () => Promise<Outbox>;

const fatal = (error: Error): never => {
  throw error;
};

const engines: Engine[] = [
  {
    name: 'SQLite',
    runs: 15,
    prepare:
      async () =>
      async ({ path, clock, seed }) => {
        const random = seededRandom(seed);
        return () =>
          openSqliteOutbox({ path, clock, random, log: silentLog, limits: LIMITS, onFatal: fatal });
      },
  },
  {
    name: 'PostgreSQL',
    runs: 4,
    skip: whyNoPostgres(),
    async prepare(t) {
      const server = await startPostgres(t);
      const url = await server.database();
      return async ({ path, clock, seed }) => {
        await server.sql(url, 'DROP SCHEMA IF EXISTS sallyport CASCADE');
        const random = seededRandom(seed);
        const common = { clock, random, log: silentLog, limits: LIMITS, onFatal: fatal };
        return () =>
          openPostgresOutbox({ ...common, url, keyFile: `${path}.key`, relay: 'test', serverTime: false });
      };
    },
  },
];

for (const engine of engines)
  t.test(
    `${engine.name} does whatever the model does, over restarts and jumps of time`,
    { skip: engine.skip ?? false },
    async (t) => {
      const root = t.testdir();
      const prepared = await engine.prepare(t);
      const property = fc.asyncProperty(
        fc.array(fc.tuple(step, fc.boolean()), { minLength: STEPS / 2, maxLength: STEPS, size: 'max' }),
        fc.nat(),
        async (steps, seed) => {
          const clock = createFakeClock();
          const path = await mkdtemp(join(root, 'run-'));
          const disk = createModelDisk();
          const random = seededRandom(seed);
          const openModel = () => createModelOutbox({ clock, random, disk, limits: LIMITS });
          const open = await prepared({ path, clock, seed });
          let model = openModel();
          let real = await open();
          const ids: string[] = [];
          const dead: string[] = [];
          const pick = (n: number): string => [...ids, ...dead.slice(-1)].at(-1 - n) ?? 'none';
          let begun: { name: string; outcomes: [Promise<unknown>, Promise<unknown>] }[] = [];

          /** Waits for what was begun together, and compares. */
          const settle = async (): Promise<void> => {
            for (const { name, outcomes } of begun) {
              const [expected, found] = await Promise.all(outcomes);
              if (!t.same(found, expected, name)) throw new Error(`they differ in ${name}`);
              const results = Array.isArray(expected) ? (expected as unknown[]) : [expected];
              for (const result of results) {
                const { id, state, message } = (result ?? {}) as {
                  id?: string;
                  state?: string;
                  message?: unknown;
                };
                if (id !== undefined && state === 'dead') dead.push(id);
                const accepted = message as { id?: string } | undefined;
                if (accepted?.id !== undefined) ids.push(accepted.id);
              }
            }
            begun = [];
          };

          try {
            for (const [each, together] of steps) {
              if (each.type === 'operation') {
                const { name, run } = each;
                begun.push({ name, outcomes: [outcome(run(model, pick)), outcome(run(real, pick))] });
                if (together) continue;
              }
              await settle();
              if (each.type === 'time') {
                clock.advance(each.advance);
                clock.jumpWall(each.jump);
              } else if (each.type === 'reopen') {
                await Promise.all([model.close(), real.close()]);
                model = openModel();
                real = await open();
              }
            }
            await settle();
            const expected = await everything(model);
            const same = t.same(await everything(real), expected, 'they tell the same');
            if (!same || !balanced(expected)) throw new Error('they differ in the end');
          } finally {
            await Promise.all([model.close(), real.close()]);
          }
          await rm(path, { recursive: true });
        },
      );

      await fc.assert(property, { numRuns: engine.runs, endOnFailure: true });
    },
  );
