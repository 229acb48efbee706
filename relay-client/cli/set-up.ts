import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { endOfChain, expiryWarnings } from '../../shared/certificates.ts';
import { systemClock } from '../../shared/clock.ts';
import { SallyportError } from '../../shared/errors.ts';
import { databaseWarnings } from '../outbox/postgres-trust.ts';
import { CONFIG_OPTION, JSON_OPTION } from './command.ts';

/** Adds the commands that come before the first run: check, join. */
export function addSetUp(program: Command, say: (text: string) => void): void {
  program
    .command('check')
    .description('check the config file and name every fault')
    .option(...CONFIG_OPTION)
    .option(...JSON_OPTION)
    .action(async ({ config: file, json }: { config: string; json?: boolean }) => {
      const { loadRelayConfig } = await import('../config.ts');
      const config = loadRelayConfig(file, 'into files');
      const uses = config.services.flatMap((service) =>
        service.kind === 'tcp' || service.tls === null
          ? []
          : { name: `service ${service.name}`, notAfter: endOfChain(readFileSync(service.tls.cert, 'utf8')) },
      );
      const warnings = [
        ...expiryWarnings(uses, systemClock.wall()),
        ...(await databaseWarnings(config.outbox.postgres)),
        ...(config.services.length === 0 ? ['with no services, no phone can be led anywhere'] : []),
      ];
      const { length: proxies } = config.proxies;
      const { length: services } = config.services;
      if (json === true) return say(JSON.stringify({ file, proxies, services, warnings }));
      say(`${file} is fine: proxies: ${proxies}, services: ${services}`);
      for (const warning of warnings) say(`but ${warning}`);
    });

  program
    .command('join <join-string>')
    .description('register at a proxy with the last line of its invite; once more adds another proxy')
    .requiredOption('--dir <dir>', 'where relay.key and relay.yaml are, or shall be')
    .option('--outbox <dir>', 'where the outbox shall be, in a new config (default: DIR/outbox)')
    .option('--via <http-url>', 'corporate HTTP proxy to go through')
    .option(
      '--new-key',
      'replace the key of the relay that is there: make DIR/relay.key.new and register that',
    )
    .option(...JSON_OPTION)
    .action(
      async (
        joinString: string,
        {
          dir,
          outbox,
          via,
          newKey,
          json,
        }: { dir: string; outbox?: string; via?: string; newKey?: boolean; json?: boolean },
      ) => {
        const { joinProxy } = await import('../links/join.ts');
        const viaUrl = via === undefined ? null : URL.parse(via);
        if (via !== undefined && viaUrl?.protocol !== 'http:') {
          throw new SallyportError('CONFIG_INVALID', '--via is not an http:// URL');
        }
        const joined = await joinProxy(joinString, dir, {
          now: new Date(),
          via: viaUrl,
          newKey: newKey === true,
          ...(outbox === undefined ? {} : { outbox: resolve(outbox) }),
        });
        if (json === true) return say(JSON.stringify(joined));
        say(`relay ${joined.relay} has joined site ${joined.site} at ${joined.url}`);
        if (newKey === true) {
          say(`its new key is ${dir}/relay.key.new; the present one is good for 24 hours more at that proxy`);
          say('once every proxy has the new one, put it in the place of relay.key and restart the relay');
        } else if (joined.added) say(`added the proxy to ${joined.config}; restart the relay to use it`);
        else
          say(
            `wrote ${joined.config}; name your services there, then: ${program.name()} run --config ${joined.config}`,
          );
      },
    );
}
