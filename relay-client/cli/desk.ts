import { CommanderError } from 'commander';
import type { Command } from 'commander';
import { addActions } from './actions.ts';
import { addCampaign } from './campaign.ts';
import { addClear } from './clear.ts';
import { OK, USAGE } from './command.ts';
import type { ResolveApi } from './command.ts';
import { addEvents } from './events.ts';
import type { Io } from './io.ts';
import { addPush } from './push.ts';
import { addRedrive } from './redrive.ts';
import { addShow } from './show.ts';

export type { ApiAddress, ResolveApi } from './command.ts';
export type { Io } from './io.ts';

/**
 * Adds the commands that ask a running relay: push, read, restart, clear, redrive, campaign, status, devices, why, health, events.
 *
 * @param resolveApi - finds the API when neither `--api` nor `SALLYPORT_API` names it, or only the token is sought
 */
export function addDeskCommands(program: Command, resolveApi: ResolveApi, io: Io): void {
  const around = { resolveApi, io };
  addPush(program, around);
  addActions(program, around);
  addClear(program, around);
  addRedrive(program, around);
  addCampaign(program, around);
  addShow(program, around);
  addEvents(program, around);
}

/**
 * Parses and runs a command line; the parser's own complaints exit with 2 instead of its 1.
 *
 * @param argv - without node and script
 */
export async function runCommandLine(program: Command, argv: string[], io: Pick<Io, 'exit'>): Promise<void> {
  overrideExits(program);
  try {
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    io.exit(error.exitCode === OK ? OK : USAGE);
  }
}

function overrideExits(command: Command): void {
  command.exitOverride();
  command.commands.forEach(overrideExits);
}
