import { readFileSync } from 'node:fs';
import { Command, Option } from 'commander';
import { formatAddress, isWildcard } from '../shared/address.ts';
import { endOfChain, expiryWarnings } from '../shared/certificates.ts';
import { systemClock } from '../shared/clock.ts';
import { describeError, SallyportError } from '../shared/errors.ts';
import { createLog, LOG_LEVELS } from '../shared/log.ts';
import type { LogLevel } from '../shared/log.ts';
import { EXIT, explainFailure, refuseUnknownCommand, runUntilSignal } from '../shared/program.ts';
import { softwareVersion } from '../shared/version.ts';
import { addDeskCommands, runCommandLine } from './cli/desk.ts';
import { addKeepCommands } from './cli/keep.ts';
import { addPollPath } from './cli/poll-path.ts';
import { loadRelayConfig } from './config.ts';

const PROGRAM = 'sallyport-relay';
const DEFAULT_CONFIG = 'relay.yaml';

const program = new Command(PROGRAM)
  .description(
    'Keeps what is pending for phones, tells the proxies, and leads sessions to the provisioning service.',
  )
  .version(softwareVersion(), '--version')
  .showHelpAfterError('(--help tells more)');

interface RunOptions {
  config: string;
  logLevel: LogLevel;
  acceptLoss?: boolean;
}

const configOption = ['-c, --config <file>', 'config file', DEFAULT_CONFIG] as const;

program
  .command('run', { isDefault: true })
  .description('run the relay until SIGTERM; SIGHUP re-reads certificates and keys')
  .option(...configOption)
  .addOption(new Option('--log-level <level>', 'what to log').choices(LOG_LEVELS).default('info'))
  .option(
    '--accept-loss',
    'where the outbox is damaged: put it aside, keep what is readable, say what is gone',
  )
  .allowExcessArguments()
  .action(async ({ config: file, logLevel, acceptLoss }: RunOptions, command: Command) => {
    refuseUnknownCommand(command);
    const config = loadRelayConfig(file, 'into files');
    const log = createLog(logLevel);
    // Loaded late: the other commands answer sooner without it.
    const { createRelay } = await import('./relay.ts');
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

program
  .command('check')
  .description('check the config file and name every fault')
  .option(...configOption)
  .action(({ config: file }: { config: string }) => {
    const config = loadRelayConfig(file, 'into files');
    say(`${file} is fine: ${config.proxies.length} proxies, ${config.services.length} services`);
    const uses = config.services.flatMap((service) =>
      service.kind === 'tcp' || service.tls === null
        ? []
        : { name: `service ${service.name}`, notAfter: endOfChain(readFileSync(service.tls.cert, 'utf8')) },
    );
    for (const warning of expiryWarnings(uses, systemClock.wall())) say(`but ${warning}`);
    if (config.services.length === 0) say('but with no services, no phone can be led anywhere');
  });

program
  .command('join <join-string>')
  .description('register at a proxy with the last line of its invite; once more adds another proxy')
  .requiredOption('--dir <dir>', 'where relay.key and relay.yaml are, or shall be')
  .option('--via <http-url>', 'corporate HTTP proxy to go through')
  .option('--new-key', 'replace the key of the relay that is there: make DIR/relay.key.new and register that')
  .action(
    async (joinString: string, { dir, via, newKey }: { dir: string; via?: string; newKey?: boolean }) => {
      const { joinProxy } = await import('./links/join.ts');
      const viaUrl = via === undefined ? null : URL.parse(via);
      if (via !== undefined && viaUrl?.protocol !== 'http:') {
        throw new SallyportError('CONFIG_INVALID', '--via is not an http:// URL');
      }
      const joined = await joinProxy(joinString, dir, {
        now: new Date(),
        via: viaUrl,
        newKey: newKey === true,
      });
      say(`relay ${joined.relay} has joined site ${joined.site} at ${joined.url}`);
      if (newKey === true) {
        say(`its new key is ${dir}/relay.key.new; the present one is good for 24 hours more at that proxy`);
        say('once every proxy has the new one, put it in the place of relay.key and restart the relay');
      } else if (joined.added) say(`added the proxy to ${joined.config}; restart the relay to use it`);
      else
        say(
          `wrote ${joined.config}; name your services there, then: ${PROGRAM} run --config ${joined.config}`,
        );
    },
  );

addKeepCommands(program, (file) => loadRelayConfig(file).outbox.path, say);

const pollSecretIn = async (file: string): Promise<Uint8Array> => {
  // Loaded late, as with run.
  const { readPollSecret } = await import('./secrets.ts');
  return readPollSecret(loadRelayConfig(file));
};
addPollPath(program, pollSecretIn, say);

addDeskCommands(program, ({ config: file = DEFAULT_CONFIG }) => {
  const { api } = loadRelayConfig(file);
  if (api === null) throw new SallyportError('CONFIG_INVALID', `${file} has no api`);
  const { listen, tokenFile } = api;
  const host = isWildcard(listen) ? (listen.host.includes(':') ? '::1' : '127.0.0.1') : listen.host;
  return {
    url: `http://${formatAddress({ host, port: listen.port })}`,
    token: tokenFile === null ? null : readFileSync(tokenFile, 'utf8').trim(),
  };
});

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

try {
  await runCommandLine(program, process.argv.slice(2), { exit: (code) => process.exit(code) });
} catch (error) {
  process.exit(explainFailure(PROGRAM, error));
}
