import { availableParallelism } from 'node:os';
import type { Command } from 'commander';
import { systemClock } from '../../shared/clock.ts';
import { lookAtConfig, withoutThose } from '../../shared/doctor/config.ts';
import { diagnose } from '../../shared/doctor/diagnose.ts';
import type { Check } from '../../shared/doctor/diagnose.ts';
import { findingLine, isHealthy, summaryLine } from '../../shared/doctor/report.ts';
import { EXIT } from '../../shared/program.ts';
import { loadProxyConfigParts } from '../config.ts';
import { proxyChecks } from '../doctor/checks.ts';
import { CONFIG_OPTION, JSON_OPTION } from './options.ts';
import type { Terminal } from './options.ts';

/** Checks that are nothing without a field of the config. */
const NEEDS = {
  poll: ['ports', 'doors', 'exposure'],
  doors: ['ports', 'doors'],
  relay: ['keys', 'state', 'ports', 'exposure', 'relays'],
  ops: ['running', 'ports', 'exposure', 'doors'],
};

/** Adds the command that looks at everything that can be wrong on the proxy's side. */
export function addDoctor(program: Command, { out, paint }: Terminal): void {
  program
    .command('doctor')
    .description('look at all that can be wrong on this side, and say how to mend it; exit 1 if anything is')
    .option(...CONFIG_OPTION)
    .option(...JSON_OPTION)
    .action(async ({ config, json }: { config: string; json?: boolean }) => {
      const findings = await diagnose(checksOf(config), (finding) => {
        if (json !== true) out(`${findingLine(finding, paint)}\n`);
      });
      const ok = isHealthy(findings);
      out(json === true ? `${JSON.stringify({ ok, findings })}\n` : `${summaryLine(findings)}\n`);
      process.exitCode = ok ? EXIT.ok : EXIT.failure;
    });
}

function checksOf(file: string): Check[] {
  const { config, leftOut, looks } = lookAtConfig(
    file,
    loadProxyConfigParts,
    ({ poll, doors, sites }) =>
      `is fine: poll doors: ${poll.length}, session doors: ${doors.length}, sites: ${sites.length}`,
  );
  const first: Check = { name: 'config', look: () => looks };
  if (config === null) return [first];
  const checks = proxyChecks({ config, clock: systemClock, cores: availableParallelism() });
  return [first, ...withoutThose(checks, leftOut, NEEDS)];
}
