import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { resolve } from 'node:path';
import { Argument, Command, Option } from 'commander';
import { formatAddress, isWildcard } from '../../shared/address.ts';
import { endOfChain, expiryWarnings } from '../../shared/certificates.ts';
import type { CertificateUse } from '../../shared/certificates.ts';
import { addExamples } from '../../shared/cli-shape.ts';
import { fields } from '../../shared/config-file.ts';
import { systemClock } from '../../shared/clock.ts';
import { completionScript, SHELLS } from '../../shared/completion.ts';
import type { Shell } from '../../shared/completion.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { writeJoinString } from '../../shared/join-string.ts';
import { pinOf, readPrivateKey } from '../../shared/key-pair.ts';
import { createLog } from '../../shared/log.ts';
import { LOG_LEVELS } from '../../shared/log-levels.ts';
import type { LogLevel } from '../../shared/log-levels.ts';
import { NAME_PATTERN } from '../../shared/mux-opening.ts';
import { EXIT, refuseUnknownCommand, runUntilSignal } from '../../shared/program.ts';
import { table } from '../../shared/table.ts';
import { softwareVersion } from '../../shared/version.ts';
import { loadProxyConfig } from '../config.ts';
import { initProxy } from '../init.ts';
import { INVITE_MS, signInvite } from '../relays/invite.ts';
import { createProxy } from '../proxy.ts';
import { openRegistry } from '../relays/registry.ts';
import { addDoctor } from './doctor.ts';
import { PROXY_EXAMPLES } from './examples.ts';
import { CONFIG_OPTION, JSON_OPTION } from './options.ts';
import type { Terminal } from './options.ts';

export const PROGRAM = 'sallyport-proxy';
const HEALTH_MS = 5_000;

interface RunOptions {
  config: string;
  logLevel: LogLevel;
  beside?: boolean;
}

/** The whole command line of `sallyport-proxy`: its verbs, options, examples. Nothing is run yet. */
export function createProxyProgram(terminal: Terminal): Command {
  const say = (text: string): void => terminal.out(`${text}\n`);
  const warn = (text: string): void => terminal.err(`${PROGRAM}: ${text}\n`);
  const program = new Command(PROGRAM)
    .description('Answers the polls of phones in the DMZ, and leads their sessions to the relay inside.')
    .version(softwareVersion(), '--version')
    .showHelpAfterError('(--help tells more)');

  program
    .command('run', { isDefault: true })
    .description('run the proxy until SIGTERM; SIGHUP re-reads certificates, keys and session doors')
    .option(...CONFIG_OPTION)
    .addOption(new Option('--log-level <level>', 'what to log').choices(LOG_LEVELS).default('info'))
    .option(
      '--beside',
      'listen where a running proxy does, to take its place: then end that one by SIGTERM (Linux)',
    )
    .allowExcessArguments()
    .action(async ({ config: file, logLevel, beside }: RunOptions, command: Command) => {
      refuseUnknownCommand(command);
      const config = loadProxyConfig(file, 'into files');
      const log = createLog(logLevel);
      const proxy = await createProxy(config, {
        clock: systemClock,
        log,
        software: softwareVersion(),
        beside: beside === true,
      });
      const reload = async (): Promise<Record<string, unknown>> => ({
        doors: await proxy.reload(loadProxyConfig(file, 'into files')),
      });
      const ended = runUntilSignal({ reload, close: proxy.close }, log);
      log.info('ready', { ...proxy.addresses, pin: proxy.pin });
      process.exit(await ended);
    });

  program
    .command('check')
    .description('check the config file and name every fault')
    .option(...CONFIG_OPTION)
    .option(...JSON_OPTION)
    .action(({ config: file, json }: { config: string; json?: boolean }) => {
      const config = loadProxyConfig(file, 'into files');
      const shown = (name: string, cert: string): CertificateUse => ({
        name,
        notAfter: endOfChain(readFileSync(cert, 'utf8')),
      });
      const uses = [
        ...config.poll.flatMap(({ listen, tls }) =>
          tls === null ? [] : shown(`poll ${formatAddress(listen)}`, tls.cert),
        ),
        ...config.doors.flatMap(({ name, tls }) => (tls === 'relay' ? [] : shown(`door ${name}`, tls.cert))),
        shown('relay', config.relay.tls.cert),
      ];
      const warnings = expiryWarnings(uses, systemClock.wall());
      const [poll, doors, sites] = [config.poll, config.doors, config.sites].map(({ length }) => length);
      if (json === true) return say(JSON.stringify({ file, poll, doors, sites, warnings }));
      say(`${file} is fine: poll doors: ${poll}, session doors: ${doors}, sites: ${sites}`);
      for (const warning of warnings) say(`but ${warning}`);
    });

  program
    .command('init <dir>')
    .description('make a directory to run from: proxy.yaml, proxy.pem, proxy.key, state/')
    .option('--state <dir>', "where relays' public keys shall be kept (default: DIR/state)")
    .option(...JSON_OPTION)
    .action(async (dir: string, { state, json }: { state?: string; json?: boolean }) => {
      const { files, pin } = await initProxy(
        dir,
        new Date(),
        state === undefined ? undefined : resolve(state),
      );
      if (json === true) return say(JSON.stringify({ files, pin }));
      for (const file of files) say(`wrote ${file}`);
      say(`pin ${pin}`);
      say(`next: set relay.advertise in ${files[0]}, then ${PROGRAM} run --config ${files[0]}`);
    });

  program
    .command('invite <name>')
    .description('invite a relay: the last line is its join string, good once and for 24 hours')
    .option(...CONFIG_OPTION)
    .option('--site <site>', 'site that the relay serves (default: the only one)')
    .option(
      '--url <wss-url>',
      'what the relay shall dial, wss://HOST:PORT (default: relay.advertise, or the listen address)',
    )
    .option(...JSON_OPTION)
    .action((name: string, options: { config: string; site?: string; url?: string; json?: boolean }) => {
      const config = loadProxyConfig(options.config);
      if (!NAME_PATTERN.test(name)) {
        throw new SallyportError(
          'CONFIG_INVALID',
          `${JSON.stringify(name)} is no name: letters, digits, . _ - only`,
        );
      }
      const site = options.site ?? (config.sites.length === 1 ? config.sites[0]!.name : '');
      if (!config.sites.some((each) => each.name === site)) {
        const names = config.sites.map((each) => each.name).join(', ');
        throw new SallyportError(
          'CONFIG_INVALID',
          `which site? ${options.config} has ${names}; say it by --site`,
        );
      }
      const namesake = openRegistry(config.relay.state, warn)
        .list()
        .find((relay) => relay.name === name);
      if (namesake !== undefined && namesake.site !== site) {
        throw new SallyportError(
          'CONFIG_INVALID',
          `relay ${name} is one of site ${namesake.site} already; invite this one by another name, or revoke that one first`,
        );
      }
      const url = dialUrl(config.relay.listen, config.relay.advertise, options.url);
      const key = readPrivateKey(readFileSync(config.relay.tls.key, 'utf8'), config.relay.tls.key);
      const now = systemClock.wall();
      const token = signInvite(key, { relay: name, site }, now, randomBytes(16));
      const until = new Date(now + INVITE_MS).toISOString();
      const join = writeJoinString({ url, pin: pinOf(key), token });
      if (options.json === true) return say(JSON.stringify({ relay: name, site, url, until, join }));
      say(`relay ${name} may join site ${site} at ${url}, once, until ${until}:`);
      say(join);
    });

  program
    .command('relays')
    .description('list the relays that may link')
    .option(...CONFIG_OPTION)
    .option('--site <site>', 'of one site only')
    .option(...JSON_OPTION)
    .action(({ config: file, site: of, json }: { config: string; site?: string; json?: boolean }) => {
      const relays = openRegistry(loadProxyConfig(file).relay.state, warn)
        .list()
        .filter(({ site }) => of === undefined || site === of);
      if (json === true) return say(JSON.stringify(relays));
      if (relays.length === 0)
        return say(`no relay has joined; make one a join string: ${PROGRAM} invite NAME`);
      const now = systemClock.wall();
      terminal.out(
        table(
          ['RELAY', 'SITE', 'JOINED', 'KEY', 'FORMER KEY', 'GOOD UNTIL'],
          relays.map(({ name, site, pin, added, former }) => {
            const good = former !== undefined && Date.parse(former.until) > now ? former : null;
            return [name, site, added, pin, good?.pin ?? null, good?.until ?? null];
          }),
        ),
      );
    });

  program
    .command('revoke <name>')
    .description('forget a relay: its link is cut within 10 seconds, and others of its site link anew')
    .option(...CONFIG_OPTION)
    .option('--site <site>', 'only if it is a relay of this site')
    .option(...JSON_OPTION)
    .action(
      (name: string, { config: file, site, json }: { config: string; site?: string; json?: boolean }) => {
        const state = loadProxyConfig(file).relay.state;
        const registry = openRegistry(state, warn);
        const elsewhere = registry.list().find((relay) => relay.name === name && relay.site !== site);
        if (site !== undefined && elsewhere !== undefined) {
          throw new SallyportError(
            'RELAY_UNKNOWN',
            `relay ${name} is one of site ${elsewhere.site}; it stays`,
          );
        }
        if (!registry.remove(name)) {
          throw new SallyportError(
            'RELAY_UNKNOWN',
            `no relay ${name} in ${state}; ${PROGRAM} relays lists them`,
          );
        }
        say(json === true ? JSON.stringify({ relay: name, revoked: true }) : `relay ${name} is revoked`);
      },
    );

  program
    .command('health')
    .description('ask the running proxy: exit 0 when every site has its relay, 1 otherwise')
    .option(...CONFIG_OPTION)
    .option('--site <site>', 'ask about this site only')
    .option(...JSON_OPTION)
    .action(async ({ config: file, site, json }: { config: string; site?: string; json?: boolean }) => {
      const { ops, sites } = loadProxyConfig(file);
      if (site !== undefined && sites.every(({ name }) => name !== site)) {
        throw new SallyportError('CONFIG_INVALID', `there is no site ${site} in ${file}`);
      }
      const query = site === undefined ? '' : `?site=${encodeURIComponent(site)}`;
      const { status, text } = await get(`http://${formatAddress(ops.listen)}/readyz${query}`);
      const { reasons, warnings } = JSON.parse(text) as { reasons: string[]; warnings: string[] };
      if (json === true) say(text.trim());
      else {
        const all = site === undefined ? 'every site has its relay' : `site ${site} has its relay`;
        say(status === 200 ? `ready: ${all}` : `not ready: ${reasons.join('; ')}`);
        for (const warning of warnings) say(`but ${warning}`);
      }
      process.exitCode = status === 200 ? EXIT.ok : EXIT.failure;
    });

  addDoctor(program, terminal);
  program
    .command('completion')
    .description(
      'print a script that completes commands and options: source <(sallyport-proxy completion bash)',
    )
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .action((shell: Shell) => terminal.out(completionScript(shell, program)));
  addExamples(program, PROXY_EXAMPLES);
  return program;
}

function dialUrl(
  listen: { host: string; port: number },
  advertise: URL | null,
  given: string | undefined,
): string {
  if (given !== undefined) {
    const { data: url, error } = fields.url(['wss:']).safeParse(given);
    if (url === undefined) {
      const expected = error.issues.map(({ message }) => message).join(', ');
      // The value is not shown: it may have a password in it.
      throw new SallyportError('CONFIG_INVALID', `--url is to be wss://HOST:PORT: ${expected}`);
    }
    return `wss://${url.host}`;
  }
  if (advertise !== null) return `wss://${advertise.host}`;
  if (isWildcard(listen) || listen.port === 0) {
    throw new SallyportError(
      'CONFIG_INVALID',
      `relays cannot dial ${formatAddress(listen)}: set relay.advertise in the config, or say --url wss://HOST:PORT`,
    );
  }
  return `wss://${formatAddress(listen)}`;
}

function get(url: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { timeout: HEALTH_MS }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (text += chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${HEALTH_MS} ms`)));
    asked.on('error', (cause) =>
      reject(
        new SallyportError('LINK_DOWN', `no proxy answers at ${url}: ${describeError(cause)}`, { cause }),
      ),
    );
    asked.end();
  });
}
