import { Option } from 'commander';
import type { Command } from 'commander';
import { systemClock } from '../../shared/clock.ts';
import { describeError } from '../../shared/errors.ts';
import { LOG_LEVELS } from '../../shared/log-levels.ts';
import type { LogLevel } from '../../shared/log-levels.ts';
import { EXIT, refuseUnknownCommand, runUntilSignal } from '../../shared/program.ts';
import { softwareVersion } from '../../shared/version.ts';
import { CONFIG_OPTION } from './command.ts';

interface RunOptions {
  config: string;
  logLevel: LogLevel;
  acceptLoss?: boolean;
}

/** Adds the command that runs the relay; it ends the process by itself. */
export function addRun(program: Command): void {
  program
    .command('run', { isDefault: true })
    .description('run the relay until SIGTERM; SIGHUP re-reads certificates and keys')
    .option(...CONFIG_OPTION)
    .addOption(new Option('--log-level <level>', 'what to log').choices(LOG_LEVELS).default('info'))
    .option(
      '--accept-loss',
      'where the outbox is damaged: put it aside, keep what is readable, say what is gone',
    )
    .allowExcessArguments()
    .action(async ({ config: file, logLevel, acceptLoss }: RunOptions, command: Command) => {
      refuseUnknownCommand(command);
      // Loaded late: the other commands answer sooner without all of it.
      const { loadRelayConfig } = await import('../config.ts');
      const config = loadRelayConfig(file, 'into files');
      const { createLog } = await import('../../shared/log.ts');
      const log = createLog(logLevel);
      const { createRelay } = await import('../relay.ts');
      const relay = await createRelay(config, {
        clock: systemClock,
        log,
        software: softwareVersion(),
        acceptLoss: acceptLoss === true,
      });
      void relay.failed.then((error) => {
        log.error('the outbox failed; ending at once, what was accepted is on disk', {
          why: describeError(error),
        });
        process.exit(EXIT.failure);
      });
      const reload = async (): Promise<Record<string, unknown>> => {
        await relay.reload();
        return { services: config.services.map(({ name }) => name) };
      };
      const ended = runUntilSignal({ reload, close: relay.close }, log);
      log.info('ready', { ...relay.addresses, proxies: config.proxies.map(({ url }) => url.host) });
      process.exit(await ended);
    });
}
