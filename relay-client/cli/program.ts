import { Argument, Command } from 'commander';
import { formatAddress, isWildcard } from '../../shared/address.ts';
import { addExamples } from '../../shared/cli-shape.ts';
import { completionScript, SHELLS } from '../../shared/completion.ts';
import type { Shell } from '../../shared/completion.ts';
import { SallyportError } from '../../shared/errors.ts';
import { softwareVersion } from '../../shared/version.ts';
import { loadRelayConfig } from '../config.ts';
import { readToken } from '../secrets.ts';
import { DEFAULT_CONFIG } from './command.ts';
import type { ApiAddress } from './command.ts';
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
  addMigrate(program, (file) => loadRelayConfig(file).outbox, io);
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

/** Where the relay of a config has its API. */
function apiOf(file: string): ApiAddress {
  const { api, courier } = loadRelayConfig(file);
  if (api === null) throw new SallyportError('CONFIG_INVALID', `${file} has no api`);
  const { listen, tokenFile } = api;
  const host = isWildcard(listen) ? (listen.host.includes(':') ? '::1' : '127.0.0.1') : listen.host;
  return {
    url: `http://${formatAddress({ host, port: listen.port })}`,
    token: tokenFile === null ? null : readToken(tokenFile),
    secretItems: courier.secretItems,
  };
}

async function readSecret(file: string): Promise<Uint8Array> {
  // Loaded late, as with run.
  const { readPollSecret } = await import('../secrets.ts');
  return readPollSecret(loadRelayConfig(file));
}

/** The directory of an outbox that is kept in one. */
function directoryOf(config: string): string {
  const { path, postgres } = loadRelayConfig(config).outbox;
  if (postgres === null) return path;
  throw new SallyportError(
    'CONFIG_INVALID',
    `the outbox of ${config} is in PostgreSQL; keep copies of it with pg_dump (docs/several-relays.md)`,
  );
}
