import type { Command } from 'commander';
import { systemClock } from '../../shared/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../../shared/errors.ts';
import { lookAtConfig, withoutThose } from '../../shared/doctor/config.ts';
import { diagnose } from '../../shared/doctor/diagnose.ts';
import type { Check } from '../../shared/doctor/diagnose.ts';
import { findingLine, isHealthy, summaryLine } from '../../shared/doctor/report.ts';
import { CONFIG_OPTION, FAILED, JSON_OPTION, OK } from './command.ts';
import type { ApiAddress } from './command.ts';
import type { Io } from './io.ts';

type ApiOf = (file: string) => Promise<ApiAddress>;

/** Checks that are nothing without a field of the config. */
const NEEDS = {
  key: ['keys', 'proxies'],
  proxies: ['proxies'],
  outbox: ['outbox'],
  api: ['firewall', 'running'],
  services: ['services', 'certificates', 'phones'],
};

interface DoctorOptions {
  config: string;
  door: string[];
  json?: boolean;
}

/**
 * Adds the command that looks at everything that can be wrong on the relay's side.
 *
 * @param apiOf - where the running relay is asked, by its config
 */
export function addDoctor(program: Command, apiOf: ApiOf, io: Io): void {
  program
    .command('doctor')
    .description('look at all that can be wrong on this side, and say how to mend it; exit 1 if anything is')
    .option(...CONFIG_OPTION)
    .option(
      '--door <host:port>',
      'look at this session door as an old phone does; may be repeated',
      (door: string, before: string[]) => [...before, door],
      [],
    )
    .option(...JSON_OPTION)
    .action(async (options: DoctorOptions) => {
      const findings = await diagnose(await checksOf(options, apiOf), (finding) => {
        if (options.json !== true) io.painted(`${findingLine(finding, io.paint)}\n`);
      });
      const healthy = isHealthy(findings);
      if (options.json === true) io.out(`${JSON.stringify({ ok: healthy, findings })}\n`);
      else io.out(`${summaryLine(findings)}\n`);
      io.exit(healthy ? OK : FAILED);
    });
}

async function checksOf({ config: file, door }: DoctorOptions, apiOf: ApiOf): Promise<Check[]> {
  const { parseDoors } = await import('../doctor/phones.ts');
  const doors = (() => {
    try {
      return parseDoors(door);
    } catch (error) {
      throw new SallyportError('CONFIG_INVALID', `--door: ${describeError(error)}`, { cause: error });
    }
  })();
  const { loadRelayConfigParts } = await import('../config.ts');
  const { config, leftOut, looks } = lookAtConfig(
    file,
    loadRelayConfigParts,
    ({ name, site, proxies, services }) =>
      `is fine: relay ${name} of site ${site}, proxies: ${proxies.length}, services: ${services.length}`,
  );
  const first: Check = { name: 'config', look: () => looks };
  if (config === null) return [first];
  const { relayChecks } = await import('../doctor/checks.ts');
  const checks = relayChecks({ file, config, api: await apiFrom(file, apiOf), doors, clock: systemClock });
  return [first, ...withoutThose(checks, leftOut, NEEDS)];
}

/** Without a token that can be read the relay cannot be asked; that the file is bad is said by another check. */
async function apiFrom(file: string, apiOf: ApiOf): Promise<ApiAddress | null> {
  try {
    return await apiOf(file);
  } catch (error) {
    if (isSallyportError(error)) return null;
    throw error;
  }
}
