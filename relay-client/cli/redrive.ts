import type { Command } from 'commander';
import type { MessageBody } from '../api/shapes/messages.ts';
import { action, common, FAILED, OK, refusedAlone, UsageError } from './command.ts';
import type { Desk, Surroundings } from './command.ts';
import { deviceIds, DEVICES_HELP } from './device-ids.ts';

/** Messages of a device that are looked through, newest first. */
const LOOKED_THROUGH = 1_000;

export function addRedrive(program: Command, around: Surroundings): void {
  common(program.command('redrive'))
    .description('hold dead messages again; exit 1 where there was none')
    .argument(
      '[devices...]',
      `${DEVICES_HELP}; of each all dead actions, oldest first, and its newest contact-me if dead`,
    )
    .option('--message <id>', 'just this message')
    .action(action<{ message?: string }>(around, run));
}

async function run(desk: Desk, { message }: { message?: string }, devices: string[]): Promise<number> {
  if (devices.length === 0 && message === undefined)
    throw new UsageError('Name at least one device, or --message ID');
  let missing = false;
  for await (const device of deviceIds(devices)) {
    let why = 'nothing is dead';
    try {
      const dead = deadOf(await desk.client.messages(device, LOOKED_THROUGH));
      for (const { id } of dead) await redrive(desk, id);
      if (dead.length > 0) continue;
    } catch (error) {
      why = refusedAlone(error).message;
    }
    missing = true;
    desk.io.err(`${device}: ${why}\n`);
  }
  if (message !== undefined) await redrive(desk, message);
  return missing ? FAILED : OK;
}

/**
 * What to hold again, in the order of pushing. A phone needs to be called only once, so of contact-me messages it is the
 * newest, and none where a newer one is held or has ended well.
 */
function deadOf(newestFirst: readonly Pick<MessageBody, 'id' | 'kind' | 'state'>[]): { id: string }[] {
  const newestCall = newestFirst.find(({ kind }) => kind === 'contact-me');
  return newestFirst
    .filter((each) => each.state === 'dead' && (each.kind === 'dls' || each === newestCall))
    .toReversed();
}

async function redrive({ client, io, json, printJson }: Desk, id: string): Promise<void> {
  const held = await client.redrive(id);
  if (json) printJson(held);
  else io.out(`${held.device}: message ${held.id} held again, generation ${held.generation}\n`);
}
