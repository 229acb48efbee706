import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { describeError, SallyportError } from '../../shared/errors.ts';
import type { MessageBody } from '../api/shapes/messages.ts';
import type { HeldAction } from '../courier/actions.ts';
import { createIsSecret, MASK, maskActions } from '../courier/secrets.ts';
import { action, common, FAILED, OK, UsageError } from './command.ts';
import type { Desk, Surroundings } from './command.ts';
import { parseDuration } from './duration.ts';
import { followToEnd } from './follow.ts';

interface ActOptions {
  wait?: boolean;
  timeout?: string;
  ttl?: string;
  dryRun?: boolean;
}

/** The commands that have a phone do something, and show what it answered. */
export function addActions(program: Command, around: Surroundings): void {
  const shared = (command: Command): Command =>
    common(command)
      .option('--ttl <time>', 'expires after this long (default 7d)')
      .option('--timeout <time>', 'give up waiting after this long (default: never)')
      .option('--dry-run', 'check, and show what would be held; nothing is sent');
  shared(program.command('read'))
    .description('have a phone read items, wait for it, and print their values')
    .argument('<device>', 'device id')
    .argument('<items...>', 'item names; NAME:INDEX for one of several')
    .action(
      action<ActOptions>(around, (desk, options, [device = '', ...items]) =>
        act(desk, device, [{ action: 'ReadItems', items: items.map(parseItem) }], { ...options, wait: true }),
      ),
    );
  shared(program.command('restart'))
    .description('have a phone restart')
    .argument('<device>', 'device id')
    .option('--wait', 'until the phone has answered')
    .action(
      action<ActOptions>(around, (desk, options, [device = '']) =>
        act(desk, device, [{ action: 'Restart' }], options),
      ),
    );
}

/**
 * Reads the actions of a file: JSON, or WPI.
 *
 * @throws SallyportError FILE_UNREADABLE, REQUEST_INVALID naming the file and the place in it
 */
export async function readActionsFile(file: string): Promise<HeldAction[]> {
  return checkActions(readActionsSource(file), file);
}

/** Loaded late: most commands answer sooner without the reader of WPI. */
async function checkActions(source: unknown, from: string): Promise<HeldAction[]> {
  const { readActions } = await import('../courier/actions.ts');
  return readActions(source, from);
}

/** What such a file holds, before it is checked. @throws SallyportError FILE_UNREADABLE, REQUEST_INVALID */
export function readActionsSource(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SallyportError('FILE_UNREADABLE', `${file} cannot be read: ${describeError(cause)}`, { cause });
  }
  return /^\s*[[{]/.test(text) ? parseJson(file, text) : text;
}

function parseJson(file: string, text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's message quotes the file, which may hold secrets.
    throw new SallyportError('REQUEST_INVALID', `${file} is neither JSON nor a WPI document`);
  }
  return Array.isArray(value) ? value : [value];
}

/** What would be held for some devices. */
export interface Preview {
  devices: readonly string[];
  actions: readonly HeldAction[];
  /** Values that came by reference, as `action.item` by their places. */
  secrets?: ReadonlySet<string>;
}

/** Shows what would be held, secrets masked: by the relay's patterns where its config is at hand, else by the defaults. */
export function showActions({ io, json, secretItems, printJson }: Desk, previews: Iterable<Preview>): number {
  const isSecret = createIsSecret(secretItems);
  for (const { devices, actions, secrets } of previews) {
    const masked = maskActions(actions, isSecret).map(({ action, items }, i) => ({
      action,
      items: items.map((item, j) => (secrets?.has(`${i}.${j}`) === true ? { ...item, value: MASK } : item)),
    }));
    if (json) for (const device of devices) printJson({ device, kind: 'dls', actions: masked });
    else io.out(`${devices.join(', ')}:\n${masked.map(actionText).join('')}`);
  }
  if (!json) io.out('Nothing was sent.\n');
  return OK;
}

function actionText({ action: name, items }: HeldAction): string {
  const lines = items.map((item) => {
    const value = item.value === undefined ? '' : ` = ${oneLine(item.value)}`;
    return `    ${itemName(item)}${value}\n`;
  });
  return `  ${name}\n${lines.join('')}`;
}

/** What phones answered, line by line; true = all of it is well. */
export function tellResults({ io }: Desk, { results }: Pick<MessageBody, 'results'>): boolean {
  for (const result of results) {
    const reads = result.action === 'ReadItems' || result.action === 'ReadAllItems';
    const why = result.why === undefined ? '' : ` (${result.why})`;
    if (!reads || result.status !== 'accepted') io.out(`  ${result.action}: ${result.status}${why}\n`);
    for (const item of result.items) {
      const fine = item.status === 'accepted';
      if (!fine) io.out(`    ${itemName(item)}: ${item.status}\n`);
      else if (reads) io.out(`    ${itemName(item)} = ${valueText(item)}\n`);
    }
    if (result.truncated === true) io.out('    …\n');
  }
  return isWell({ results });
}

/** Whether the phone did all that it was asked. */
export function isWell({ results }: Pick<MessageBody, 'results'>): boolean {
  return results.every(
    ({ status, items }) =>
      (status === 'accepted' || status === 'done') && items.every((item) => item.status === 'accepted'),
  );
}

function valueText(item: MessageBody['results'][number]['items'][number]): string {
  if (item.withheld === true) return '(withheld)';
  return `${oneLine(item.value ?? '')}${item.truncated === true ? '…' : ''}`;
}

/** A phone's text must not move the cursor of whoever reads it. */
function oneLine(text: string): string {
  return /^[\x20-\x7e\xa0-\uffff]*$/.test(text) ? text : JSON.stringify(text);
}

const itemName = ({ name, index }: { name: string; index?: string | undefined }): string =>
  index === undefined ? name : `${name}:${index}`;

function parseItem(text: string): { name: string; index?: string } {
  const [name = '', index] = text.split(':');
  return index === undefined ? { name } : { name, index };
}

async function act(desk: Desk, device: string, wanted: unknown, options: ActOptions): Promise<number> {
  const actions = await checkActions(wanted, 'items');
  if (options.dryRun === true) return showActions(desk, [{ devices: [device], actions }]);
  const { client, io, json, printJson } = desk;
  const ttl = options.ttl === undefined ? {} : { ttl_s: duration('--ttl', options.ttl) / 1000 };
  const push = () => client.push(device, { kind: 'dls', actions, ...ttl });
  if (options.wait !== true) {
    const pushed = await push();
    if (json) printJson(pushed);
    else io.out(`${pushed.device}: held (message ${pushed.id}, generation ${pushed.generation})\n`);
    return OK;
  }
  const limit =
    options.timeout === undefined
      ? io.signal
      : AbortSignal.any([io.signal, AbortSignal.timeout(duration('--timeout', options.timeout))]);
  let id = '';
  const left = await followToEnd(
    client,
    limit,
    async () => [(id = (await push()).id)],
    () => undefined,
  );
  const message = await client.message(id);
  if (json) printJson(message);
  else if (left.length > 0)
    io.err(
      `${message.device}: not answered in time, and still held; "why ${message.device}" says where it stands\n`,
    );
  else
    io.out(
      `${message.device}: ${message.state}${message.ended_by === null ? '' : ` (${message.ended_by})`}\n`,
    );
  const well = json ? isWell(message) : tellResults(desk, message);
  return left.length === 0 && message.state === 'cleared' && well ? OK : FAILED;
}

function duration(option: string, text: string): number {
  try {
    return parseDuration(text);
  } catch (error) {
    throw new UsageError(`${option}: ${describeError(error)}`);
  }
}
