import { Argument, Command } from 'commander';
import { addExamples } from '../../shared/cli-shape.ts';
import { completionScript, SHELLS } from '../../shared/completion.ts';
import type { Shell } from '../../shared/completion.ts';
import { SallyportError } from '../../shared/errors.ts';
import { softwareVersion } from '../../shared/version.ts';
import type { RelayConfig } from '../config.ts';
import { apiOf } from './api-address.ts';
import { DEFAULT_CONFIG } from './command.ts';
import { addDeskCommands } from './desk.ts';
import { addDoctor } from './doctor.ts';
import { RELAY_EXAMPLES } from './examples.ts';
import type { Io } from './io.ts';
import { addKeepCommands } from './keep.ts';
import { addMigrate } from './migrate.ts';
import { addPollPath } from './poll-path.ts';
import { addRun } from './run.ts';
import { addSetUp } from './set-up.ts';

/** The whole command line of `sallyport-relay`: its verbs, options, examples. Nothing is run yet. */
export function createRelayProgram(io: Io): Command {
  const program = new Command('sallyport-relay')
    .description(
      'Keeps what is pending for phones, tells the proxies, and leads sessions to the provisioning service.',
    )
    .version(softwareVersion(), '--version')
    .showHelpAfterError('(--help tells more)');
  const say = (text: string): void => io.out(`${text}\n`);
  addRun(program);
  addSetUp(program, say);
  addDoctor(program, apiOf, io);
  addKeepCommands(program, directoryOf, say);
  addMigrate(program, async (file) => (await load(file)).outbox, io);
  addPollPath(program, readSecret, say);
  addDeskCommands(program, ({ config: file = DEFAULT_CONFIG }) => apiOf(file), io);
  program
    .command('completion')
    .description(
      'print a script that completes commands and options: source <(sallyport-relay completion bash)',
    )
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .action((shell: Shell) => io.out(completionScript(shell, program)));
  addExamples(program, RELAY_EXAMPLES);
  return program;
}

async function readSecret(file: string): Promise<Uint8Array> {
  const { readPollSecret } = await import('../secrets.ts');
  return readPollSecret(await load(file));
}

/** The directory of an outbox that is kept in one. */
async function directoryOf(config: string): Promise<string> {
  const { path, postgres } = (await load(config)).outbox;
  if (postgres === null) return path;
  throw new SallyportError(
    'CONFIG_INVALID',
    `the outbox of ${config} is in PostgreSQL; keep copies of it with pg_dump (docs/several-relays.md)`,
  );
}

/** Loaded late: commands that ask a running relay answer sooner without the config's whole schema. */
async function load(file: string): Promise<RelayConfig> {
  const { loadRelayConfig } = await import('../config.ts');
  return loadRelayConfig(file);
}
