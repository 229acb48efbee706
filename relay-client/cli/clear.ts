import type { Command } from 'commander';
import { action, common, OK, UsageError } from './command.ts';
import type { Surroundings } from './command.ts';

export function addClear(program: Command, around: Surroundings): void {
  common(program.command('clear'))
    .description('clear what is held for devices, so that their polls turn to 200')
    .argument('[devices...]', 'device ids')
    .option('--message <id>', 'cancel just this message')
    .action(
      action<{ message?: string }>(around, async ({ client, io, json, printJson }, { message }, devices) => {
        if (devices.length === 0 && message === undefined)
          throw new UsageError('Name at least one device, or --message ID');
        for (const device of devices) {
          const cleared = await client.clear(device);
          if (json) printJson(cleared);
          else
            io.out(
              `${cleared.device}: ${cleared.count === 0 ? 'nothing was held' : `${cleared.count} cleared`}\n`,
            );
        }
        if (message !== undefined) {
          const ended = await client.cancel(message);
          if (json) printJson(ended);
          else io.out(`${ended.device}: message ${ended.id} ${ended.state}\n`);
        }
        return OK;
      }),
    );
}
