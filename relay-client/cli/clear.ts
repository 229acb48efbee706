import type { Command } from 'commander';
import { action, common, FAILED, OK, refusedAlone, UsageError } from './command.ts';
import type { Desk, Surroundings } from './command.ts';
import { deviceIds, DEVICES_HELP } from './device-ids.ts';
import { sideBySide } from './side-by-side.ts';

export function addClear(program: Command, around: Surroundings): void {
  common(program.command('clear'))
    .description('clear what is held for devices, so that their polls turn to 200')
    .argument('[devices...]', DEVICES_HELP)
    .option('--message <id>', 'cancel just this message')
    .action(action<{ message?: string }>(around, run));
}

async function run(desk: Desk, { message }: { message?: string }, devices: string[]): Promise<number> {
  const { client, io, json, printJson } = desk;
  if (devices.length === 0 && message === undefined)
    throw new UsageError('Name at least one device, or --message ID');
  let failed = false;
  // A refused id hinders no other: a list of thousands is not to end at its first misspelt line.
  const outcomes = sideBySide(deviceIds(devices), async (device) => {
    try {
      return await client.clear(device);
    } catch (error) {
      return { device, ...refusedAlone(error) };
    }
  });
  for await (const outcome of outcomes) {
    const refused = 'code' in outcome;
    failed ||= refused;
    if (json) printJson(outcome);
    else if (refused) io.err(`${outcome.device}: ${outcome.message}\n`);
    else
      io.out(`${outcome.device}: ${outcome.count === 0 ? 'nothing was held' : `${outcome.count} cleared`}\n`);
  }
  if (message !== undefined) {
    const ended = await client.cancel(message);
    if (json) printJson(ended);
    else io.out(`${ended.device}: message ${ended.id} ${ended.state}\n`);
  }
  return failed ? FAILED : OK;
}
