import { Option } from 'commander';
import type { Command } from 'commander';
import type { BulkInput, BulkOptions, DeskClient } from '../api/client.ts';
import type { PushBody } from '../api/shapes/requests.ts';
import { action, common, FAILED, OK, refusedAlone, UsageError } from './command.ts';
import type { Desk, Surroundings } from './command.ts';
import type { HeldAction } from '../courier/actions.ts';
import { isWell, readActionsFile, readActionsSource, showActions, tellResults } from './actions.ts';
import { deviceIds, DEVICES_HELP } from './device-ids.ts';
import { parseDuration } from './duration.ts';
import { followToEnd } from './follow.ts';
import { sideBySide } from './side-by-side.ts';

interface PushOptions {
  kind?: 'contact-me' | 'dls';
  file?: string;
  values?: string;
  dryRun?: boolean;
  ttl?: string;
  key?: string;
  notBefore?: string;
  spread?: string;
  campaign?: string;
  canary?: string;
  abortAt?: string;
  perMinute?: string;
  from?: string;
  wait?: string;
  timeout?: string;
}

/** One device's push, however it went. */
type Outcome = { device: string; id?: string | undefined } & Record<string, unknown>;

export function addPush(program: Command, around: Surroundings): void {
  common(program.command('push'))
    .description('hold a message for devices; without --wait, done once it is durable')
    .argument('[devices...]', DEVICES_HELP)
    .addOption(
      new Option(
        '--kind <kind>',
        'contact-me: please call the service (default); dls: do what --file says',
      ).choices(['contact-me', 'dls']),
    )
    .option('--file <file>', 'actions for the phone, JSON or WPI; see docs/courier.md')
    .option(
      '--values <file>',
      'devices and their own values, CSV or JSON, for the places {{column}} in --file; see docs/templates.md',
    )
    .option('--dry-run', 'check, and show what would be held; nothing is sent')
    .option('--ttl <time>', 'expires after this long (default 7d)')
    .option('--key <key>', 'a name of your own; pushing it again changes nothing')
    .option('--not-before <when>', 'ISO 8601 date-time, or a length of time from now')
    .option('--spread <time>', 'spread the devices over this long')
    .option(
      '--campaign <name>',
      'group the messages under this name; "campaign show NAME" tells its progress',
    )
    .option('--canary <share>', 'of a campaign: so many devices go first, alone, such as 5%')
    .option('--abort-at <share>', 'of a campaign: abort it when more than so many fail, such as 10%')
    .option('--per-minute <n>', 'of a campaign: offer so many devices their messages in a minute')
    .option('--from <file>', 'read device ids from a file, one a line')
    .addOption(
      new Option('--wait <for>', 'proxy: until every linked proxy holds it; cleared: until it ended').choices(
        ['proxy', 'cleared'],
      ),
    )
    .option('--timeout <time>', 'give up waiting after this long (default: never)')
    .action(action<PushOptions>(around, run));
}

async function run(desk: Desk, options: PushOptions, args: string[]): Promise<number> {
  const each = await eachOf(options, args, desk.io.env);
  if (each === null && args.length === 0 && options.from === undefined)
    throw new UsageError('Name at least one device, or --from FILE');
  const actions = each === null ? await actionsOf(options) : null;
  if (options.dryRun === true) {
    const from = options.from === undefined ? [] : [`those in ${options.from}`];
    if (each !== null)
      return showActions(
        desk,
        each.map(({ device, ...rest }) => ({ devices: [device], ...rest })),
      );
    if (actions === null) throw new UsageError('--dry-run shows the actions of --file');
    return showActions(desk, [{ devices: [...args, ...from], actions }]);
  }
  const body: PushBody = { ...bodyOf(options), ...(actions === null ? {} : { kind: 'dls', actions }) };
  const spreadS =
    options.spread === undefined ? undefined : Math.round(duration('--spread', options.spread) / 1000);
  const plan = [options.canary, options.abortAt, options.perMinute];
  if (options.campaign === undefined && plan.some((given) => given !== undefined)) {
    throw new UsageError(
      '--canary, --abort-at and --per-minute are parts of a campaign: give --campaign NAME',
    );
  }
  const bulk =
    args.length > 1 ||
    args.includes('-') ||
    [options.values, options.from, options.spread, options.campaign, ...plan].some(
      (given) => given !== undefined,
    );
  if (bulk && options.wait === 'proxy' && (spreadS !== undefined || options.campaign !== undefined)) {
    throw new UsageError('--wait proxy goes with neither --spread nor --campaign');
  }
  const bulkOptions = {
    ...(spreadS === undefined ? {} : { spreadS }),
    ...campaignOf(options),
  };
  const pushAll = (): AsyncIterable<Outcome> => {
    const inputs = each === null ? inputsOf(args, options.from, body) : inputsOfEach(each, body);
    if (!bulk || options.wait === 'proxy')
      return sideBySide(inputs, ({ device, ...push }) =>
        pushOne(desk.client, device, push, options.wait === 'proxy'),
      );
    return pushBulk(desk.client, inputs, bulkOptions);
  };
  if (options.wait !== 'cleared') return (await tellAll(desk, pushAll())).failed ? FAILED : OK;
  return pushAndFollow(
    desk,
    pushAll,
    options.timeout === undefined ? null : duration('--timeout', options.timeout),
    actions !== null || each !== null,
  );
}

async function pushAndFollow(
  desk: Desk,
  pushAll: () => AsyncIterable<Outcome>,
  timeoutMs: number | null,
  withResults: boolean,
): Promise<number> {
  const { client, io, json } = desk;
  const devices = new Map<string, string>();
  const cleared: string[] = [];
  const over = timeoutMs === null ? io.signal : AbortSignal.any([io.signal, AbortSignal.timeout(timeoutMs)]);
  let failed = false;
  const left = await followToEnd(
    client,
    over,
    async () => {
      const pushed = await tellAll(desk, pushAll());
      failed ||= pushed.failed;
      for (const { id, device } of pushed.held) devices.set(id, device);
      return [...devices.keys()];
    },
    (id, { state, by }) => {
      failed ||= state !== 'cleared';
      if (state === 'cleared') cleared.push(id);
      const device = devices.get(id) ?? null;
      if (json) desk.printJson({ id, device, state, ended_by: by });
      else io.out(`${device ?? id}: ${state}${by === null ? '' : ` (${by})`}\n`);
    },
  );
  for (const id of left) {
    const device = devices.get(id) ?? id;
    if (json) desk.printJson({ id, device, state: 'held', timeout: true });
    else io.err(`${device}: not cleared in time; "why ${device}" says where it stands\n`);
  }
  for (const id of withResults ? cleared : []) {
    const message = await client.message(id);
    if (json) desk.printJson({ id, device: message.device, results: message.results });
    else io.out(`${message.device}\n`);
    const well = json ? isWell(message) : tellResults(desk, message);
    failed ||= !well;
  }
  return failed || left.length > 0 ? FAILED : OK;
}

async function tellAll(
  desk: Desk,
  outcomes: AsyncIterable<Outcome>,
): Promise<{ failed: boolean; held: { id: string; device: string }[] }> {
  const held: { id: string; device: string }[] = [];
  let failed = false;
  for await (const outcome of outcomes) {
    const { device, id } = outcome;
    if (id === undefined) failed = true;
    else held.push({ id, device });
    if (outcome['waited'] === false) failed = true;
    if (desk.json) desk.printJson(outcome);
    else if (id === undefined) desk.io.err(`${device}: ${String(outcome['message'])}\n`);
    else desk.io.out(`${device}: ${heldText(outcome)}\n`);
  }
  return { failed, held };
}

function heldText({ id, generation, state, known, waited, proxies }: Outcome): string {
  const again = known === true ? ', known by its key' : '';
  const where = Array.isArray(proxies)
    ? `; at ${proxies.length === 0 ? 'no proxy' : proxies.join(', ')}`
    : '';
  const late = waited === false ? ', others did not take it in time' : '';
  return `${String(state)} (message ${id}, generation ${String(generation)}${again})${where}${late}`;
}

/** A refused push hinders no other, but a relay that's gone ends it all. */
async function pushOne(client: DeskClient, device: string, body: PushBody, wait: boolean): Promise<Outcome> {
  try {
    return { ...(await client.push(device, body, wait ? { wait: 'proxy' } : {})) };
  } catch (error) {
    return { device, ...refusedAlone(error) };
  }
}

async function* pushBulk(
  client: DeskClient,
  inputs: AsyncIterable<BulkInput>,
  options: BulkOptions,
): AsyncGenerator<Outcome> {
  for await (const { line, status, ...result } of client.pushMany(inputs, options)) {
    yield {
      ...result,
      device: result.device ?? `line ${line}`,
      ...(result.id === undefined ? {} : { known: status === 200 }),
    };
  }
}

async function* inputsOf(
  args: string[],
  file: string | undefined,
  body: PushBody,
): AsyncGenerator<BulkInput> {
  for await (const device of deviceIds(args, file)) yield { device, ...body };
}

/** What each device of --values is to do; null without it. All of it is checked before anything is sent. */
async function eachOf(
  { kind, file, values, from }: PushOptions,
  args: string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ device: string; actions: HeldAction[]; secrets: ReadonlySet<string> }[] | null> {
  if (values === undefined) return null;
  if (file === undefined) throw new UsageError('--values has what goes into the places of --file; give both');
  if (args.length > 0 || from !== undefined)
    throw new UsageError('--values names the devices; name no others');
  if (kind === 'contact-me') throw new UsageError('--file has actions, which a contact-me carries none of');
  // Loaded late, as with run: most pushes have neither.
  const [{ readTemplate }, { readDeviceValues }] = await Promise.all([
    import('./template.ts'),
    import('./values.ts'),
  ]);
  const template = readTemplate(readActionsSource(file), file, env);
  return readDeviceValues(values, env).map((each) => ({ device: each.device, ...template.fill(each) }));
}

async function* inputsOfEach(
  each: readonly { device: string; actions: HeldAction[] }[],
  body: PushBody,
): AsyncGenerator<BulkInput> {
  for (const { device, actions } of each) yield { ...body, device, kind: 'dls', actions };
}

/** What --file says; null without it. */
async function actionsOf({ kind, file }: PushOptions): Promise<HeldAction[] | null> {
  if (kind === 'dls' && file === undefined) throw new UsageError('--kind dls takes its actions from --file');
  if (file === undefined) return null;
  if (kind === 'contact-me') throw new UsageError('--file has actions, which a contact-me carries none of');
  return readActionsFile(file);
}

function bodyOf({ kind, ttl, key, notBefore }: PushOptions): PushBody {
  return {
    ...(kind === undefined ? {} : { kind }),
    ...(ttl === undefined ? {} : { ttl_s: duration('--ttl', ttl) / 1000 }),
    ...(key === undefined ? {} : { key }),
    ...(notBefore === undefined ? {} : { not_before: moment(notBefore) }),
  };
}

function campaignOf({ campaign, canary, abortAt, perMinute }: PushOptions): BulkOptions {
  if (perMinute !== undefined && !/^[1-9]\d{0,5}$/.test(perMinute))
    throw new UsageError(`--per-minute takes a whole number from 1, not ${perMinute}`);
  return {
    ...(campaign === undefined ? {} : { campaign }),
    ...(canary === undefined ? {} : { canary: share('--canary', canary) }),
    ...(abortAt === undefined ? {} : { abortAt: share('--abort-at', abortAt) }),
    ...(perMinute === undefined ? {} : { perMinute: Number(perMinute) }),
  };
}

/** A share as people write it: `5%`, `0.05`. */
function share(option: string, text: string): number {
  const [, number = '', sign] = /^(\d{1,3}(?:\.\d{1,4})?)\s*(%?)$/.exec(text) ?? [];
  const value = Number(number) / (sign === '%' ? 100 : 1);
  if (number !== '' && value <= 1) return value;
  throw new UsageError(`${option} takes a share such as 5% or 0.05, not ${text}`);
}

function moment(text: string): string {
  const date = /^\d{4}-/.test(text) ? Date.parse(text) : Date.now() + duration('--not-before', text);
  if (Number.isNaN(date))
    throw new UsageError(
      `--not-before takes a date-time such as 2030-01-31T06:00:00Z, or a length of time, not ${text}`,
    );
  return new Date(date).toISOString();
}

function duration(option: string, text: string): number {
  try {
    return parseDuration(text);
  } catch (error) {
    throw new UsageError(`${option}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
