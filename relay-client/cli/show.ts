import { visible } from '../../shared/visible.ts';
import { Option } from 'commander';
import type { Command } from 'commander';
import type { DeviceRowBody, UnknownDeviceBody, WhyBody } from '../api/shapes/devices.ts';
import type { StatusBody } from '../api/shapes/relay.ts';
import { span } from '../words.ts';
import { action, common, FAILED, OK, UsageError } from './command.ts';
import type { Desk, Surroundings } from './command.ts';
import { pairs, table } from '../../shared/table.ts';

interface DevicesOptions {
  unknown?: boolean;
  state?: string;
  q?: string;
  limit: string;
}

/** Devices asked for at once. */
const PAGE = 1000;
const STATES = ['pending', 'idle', 'dead'];

/** The commands that only look. */
export function addShow(program: Command, around: Surroundings): void {
  common(program.command('status'))
    .description('the relay at a glance: links, services, counts')
    .action(
      action(around, async ({ client, io, json, printJson }) => {
        const status = await client.status();
        if (json) printJson(status);
        else io.out(statusText(status));
        return OK;
      }),
    );
  common(program.command('devices'))
    .description('devices that were pushed to; with --unknown those that only poll')
    .option('--unknown', 'devices that poll and were never pushed to')
    .addOption(new Option('--state <state>', 'only those').choices(STATES))
    .option('--q <text>', 'part of the device id')
    .option('--limit <n>', 'at most this many', '100')
    .action(action<DevicesOptions>(around, showDevices));
  common(program.command('why'))
    .description("where a device's work stands, and what to do")
    .argument('<device>', 'device id')
    .action(
      action(around, async ({ client, io, json, printJson }, _options, [device = '']) => {
        const why = await client.why(device);
        if (json) printJson(why);
        else io.out(whyText(why));
        return OK;
      }),
    );
  common(program.command('health'))
    .description('exit 0 while every proxy is linked and the outbox answers')
    .action(
      action(around, async ({ client, io, json, printJson }) => {
        const { ready, reasons, warnings } = await client.ready();
        if (json) printJson({ ready, reasons, warnings });
        else {
          const lines = [
            ready ? 'ready' : 'not ready',
            ...[...reasons, ...warnings].map((why) => `  ${why}`),
          ];
          io.out(`${lines.join('\n')}\n`);
        }
        return ready ? OK : FAILED;
      }),
    );
}

function whyText({ sentence, advice, standing, verdict, warnings }: WhyBody): string {
  const lines = warnings.map(
    ({ what, count, at, sentence: about }) =>
      `warning: ${visible(about)}${count === 1 ? '' : `, ${count} times`}, last ${ago(at)} [${what}]\n`,
  );
  const where = standing === null ? '' : `${visible(standing)}\n`;
  return `${visible(sentence)}${advice === null ? '' : ` ${visible(advice)}`} [${verdict}]\n${where}${lines.join('')}`;
}

async function showDevices(desk: Desk, options: DevicesOptions): Promise<number> {
  const limit = Number(options.limit);
  if (!Number.isInteger(limit) || limit < 1)
    throw new UsageError(`--limit takes a whole number from 1, not ${options.limit}`);
  const filter = options.q === undefined ? {} : { q: options.q };
  if (options.unknown === true) {
    const unknown = await desk.client.unknownDevices({ ...filter, limit: Math.min(limit, PAGE) });
    if (desk.json) unknown.forEach(desk.printJson);
    else desk.io.out(unknown.length === 0 ? 'No unknown device polls.\n' : unknownTable(unknown));
    return OK;
  }
  const devices: DeviceRowBody[] = [];
  let cursor: string | null = null;
  do {
    const page: Awaited<ReturnType<typeof desk.client.devices>> = await desk.client.devices({
      ...filter,
      ...(options.state === undefined ? {} : { state: options.state }),
      ...(cursor === null ? {} : { cursor }),
      limit: Math.min(limit - devices.length, PAGE),
    });
    devices.push(...page.devices);
    cursor = page.next;
  } while (cursor !== null && devices.length < limit);
  if (desk.json) devices.forEach(desk.printJson);
  else desk.io.out(devices.length === 0 ? 'No such device was pushed to.\n' : deviceTable(devices));
  if (cursor !== null && !desk.json) desk.io.err(`There are more; --limit shows them.\n`);
  return OK;
}

function deviceTable(devices: DeviceRowBody[]): string {
  return table(
    ['DEVICE', 'STATE', 'PENDING', 'GENERATION', 'LAST POLL', 'ANSWER', 'LAST SESSION', 'OUTCOME'],
    devices.map(({ device, state, pending, generation, last_poll, last_session }) => [
      device,
      state,
      pending,
      generation,
      last_poll === null ? null : ago(last_poll.at),
      last_poll?.status ?? null,
      last_session === null ? null : ago(last_session.at),
      last_session?.outcome ?? null,
    ]),
  );
}

function unknownTable(unknown: UnknownDeviceBody[]): string {
  return table(
    ['DEVICE', 'LAST POLL', 'FROM', 'PROXY'],
    unknown.map(({ device, at, address, proxy }) => [device, ago(at), address, proxy]),
  );
}

function statusText(status: StatusBody): string {
  const { outbox } = status;
  const facts = pairs([
    ['relay', `${status.name}, site ${status.site}, version ${status.version}`],
    ['up for', span(Date.parse(status.now) - Date.parse(status.started_at))],
    ['ready', status.ready ? 'yes' : `no: ${status.reasons.join('; ')}`],
    ...status.warnings.map((warning) => ['but', warning] as const),
    ['held', outbox.held],
    ['sessions', status.sessions],
    ['devices', outbox.devices],
    [
      'ended',
      Object.entries(outbox.ended)
        .map(([state, n]) => `${state} ${n}`)
        .join(', '),
    ],
  ]);
  const proxies = table(
    ['PROXY', 'LINK', 'FOR', 'ROUND TRIP', 'LAG', 'STREAMS', 'WHY'],
    status.proxies.map(({ url, state, since, round_trip_ms, lag, streams, why }) => [
      url,
      state,
      span(Date.parse(status.now) - Date.parse(since)),
      round_trip_ms === null ? null : `${round_trip_ms.toFixed(1)} ms`,
      lag,
      streams,
      why,
    ]),
  );
  const services = table(
    ['SERVICE', 'KIND', 'STATE', 'FOR', 'CONNECTIONS', 'WHY'],
    status.services.map(({ name, kind, up, since, connections, why }) => [
      name,
      kind,
      up ? 'up' : 'down',
      span(Date.parse(status.now) - Date.parse(since)),
      connections,
      why,
    ]),
  );
  return [facts, proxies, services].join('\n');
}

function ago(iso: string): string {
  return `${span(Date.now() - Date.parse(iso))} ago`;
}
