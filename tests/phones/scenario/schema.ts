/** What a scenario file may say. `sallyport-phones scenario --help` explains it to people. */
import { z } from 'zod';
import { parseTarget } from '../dialer.ts';
import { MAX_PHONES } from '../fleet.ts';
import { pollRequest } from '../poll.ts';

/** Node holds a delay in 31 bits of milliseconds. */
const LONGEST_S = 2_000_000;
const MAC = /^[0-9a-f]{2}([:-]?[0-9a-f]{2}){5}$/i;

const whole = (least: number, most: number) =>
  z
    .number(`a whole number from ${least} to ${most}`)
    .int(`a whole number from ${least} to ${most}`)
    .min(least, `at least ${least}`)
    .max(most, `at most ${most}`);
const seconds = z
  .number('seconds')
  .min(0, 'seconds, 0 or more')
  .max(LONGEST_S, `at most ${LONGEST_S} seconds`);
const flag = z.boolean('true or false');
const text = z.string('a text');
const usable = (use: (value: string) => unknown, expected: string) =>
  z.string(expected).refine((value) => {
    try {
      use(value);
      return true;
    } catch {
      return false;
    }
  }, expected);
const httpUrl = z
  .string('a URL')
  .refine(
    (value) => ['http:', 'https:'].includes(URL.parse(value)?.protocol ?? ''),
    'a URL that begins with http:// or https://',
  );
const version = z.enum(['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'], 'one of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3');

/** Values of items, by name; numbers are sent as text. */
const items = z.record(
  z.string(),
  z.union([z.string(), z.number().transform(String)], 'a text or a number'),
  'a map of items',
);

/** Phones that are alike. */
export const groupSchema = z.strictObject(
  {
    count: whole(1, MAX_PHONES).default(1),
    first: z.string('a MAC address').regex(MAC, 'a MAC address such as 00:1A:E8:00:00:01').optional(),
    interval_s: seconds.default(0),
    interval_item: text.optional(),
    poll_keep_alive: flag.default(false),
    forget: flag.default(true),
    busy: z.number('percent').min(0, 'percent from 0 to 100').max(100, 'percent from 0 to 100').default(0),
    call_time_s: seconds.default(5),
    refuses: z.array(text, 'a list of item names').default([]),
    close: flag.default(false),
    cookie: z.enum(['whole', 'pair', 'none'], 'one of whole, pair, none').default('whole'),
    chunked: flag.default(false),
    send_solicited: flag.default(true),
    fragment: whole(0, 10_000).default(0),
    think_s: seconds.default(0),
    comes: flag.default(true),
    items: items.default({}),
    tls: z
      .strictObject(
        { min: version.optional(), max: version.optional(), ciphers: text.optional() },
        'a map with min, max, ciphers',
      )
      .default({}),
  },
  'a map of what these phones are like',
);
export type GroupPlan = z.infer<typeof groupSchema>;

/** `all`, the name of a group, or a list of names. */
const of = z.union([text, z.array(text).min(1)], 'all, a group, or a list of groups');
const count = z.union(
  [
    z.number().int().min(0),
    z.strictObject({ at_least: whole(0, 1e9).optional(), at_most: whole(0, 1e9).optional() }),
  ],
  'a whole number, or a map with at_least and at_most',
);
const counts = z.record(z.string(), count, 'a map of counts');

/** Each verb and what it takes. */
export const verbs = {
  start: of,
  poll: z.union(
    [of, z.strictObject({ of, until: whole(100, 599), within_s: seconds.default(10) })],
    'all, a group, a list of groups, or a map with of, until and within_s',
  ),
  push: of,
  clear: of,
  restart: of,
  call: of,
  hang_up: of,
  change: z.strictObject({ of, items }, 'a map with of and items'),
  pause: seconds,
  request: z.strictObject(
    {
      url: httpUrl,
      method: z.enum(['GET', 'POST', 'PUT', 'DELETE'], 'one of GET, POST, PUT, DELETE').default('POST'),
      json: z.unknown().optional(),
      status: whole(100, 599).default(200),
    },
    'a map with url',
  ),
  expect: z.strictObject(
    {
      of,
      within_s: seconds.default(10),
      polls: counts.optional(),
      sessions: counts.optional(),
      last_poll: whole(100, 599).optional(),
      poll_url: text.nullable().optional(),
      items: items.optional(),
    },
    'a map with of, and polls, sessions, last_poll, poll_url or items',
  ),
} as const;
export type Verb = keyof typeof verbs;

/** One step: what to do, and with what; `index` counts from 0, `line` is where it stands in the file. */
export type Step = {
  [V in Verb]: { verb: V; index: number; line: number; with: z.infer<(typeof verbs)[V]> };
}[Verb];
export type Expectation = z.infer<(typeof verbs)['expect']>;
export type Count = z.infer<typeof count>;

export const scenarioSchema = z.strictObject(
  {
    poll: usable(
      (url) => pollRequest(url, 'x'),
      'a poll base such as http://proxy.example:8080/dcmp/',
    ).optional(),
    service: usable(parseTarget, 'HOST:PORT, or a URL such as https://proxy.example:18443').optional(),
    api: httpUrl.optional(),
    api_token_file: text.optional(),
    step_s: seconds.default(60),
    groups: z.record(z.string(), groupSchema, 'a map of groups'),
    steps: z.array(z.unknown(), 'a list of steps').min(1, 'at least one step'),
  },
  'a map with groups and steps',
);
/** A scenario that holds no contradiction. */
export type Scenario = Omit<z.infer<typeof scenarioSchema>, 'steps'> & { steps: Step[] };
