import { ConfigError } from '../config-error.ts';
import type { ConfigFault } from '../config-error.ts';
import { describeError } from '../errors.ts';
import type { Check } from './diagnose.ts';
import { fail, ok, warn } from './finding.ts';
import type { Look } from './finding.ts';

/** A config as far as it is right; null where nothing of it is left. And what is to be said of it. */
export interface ConfigSeen<T> {
  config: T | null;
  /** Paths of what is wrong, and is not in `config`. */
  leftOut: string[];
  looks: Look[];
}

/** Reads a config, and says every fault of it. */
export function lookAtConfig<T>(
  file: string,
  load: (file: string) => { value: T | null; faults: ConfigFault[]; leftOut: string[] },
  describe: (config: T) => string,
): ConfigSeen<T> {
  try {
    const { value, faults, leftOut } = load(file);
    if (value !== null && faults.length === 0)
      return { config: value, leftOut, looks: [ok(file, describe(value))] };
    const rest =
      value === null
        ? warn(file, 'is so wrong that nothing else can be looked at', 'mend it first, then try again')
        : warn(file, `is looked at without ${leftOut.join(', ')}`, 'mend it, then try again');
    return { config: value, leftOut, looks: [...faultsOf(file, faults), rest] };
  } catch (error) {
    if (error instanceof ConfigError)
      return { config: null, leftOut: [], looks: faultsOf(file, error.faults) };
    const look = fail(
      file,
      describeError(error),
      'name the config by --config FILE, readable for the program’s user',
    );
    return { config: null, leftOut: [], looks: [look] };
  }
}

const faultsOf = (file: string, faults: readonly ConfigFault[]): Look[] =>
  faults.map(({ path, line, value, expected }) =>
    fail(
      `${file}${line === null ? '' : `:${line}`}`,
      `${path === '' ? 'the file' : path} is ${value}`,
      `expected: ${expected}; docs/configuration.md explains each field`,
    ),
  );

/**
 * The checks without those for which a field is needed that is wrong; these say so.
 *
 * @param needs - by the first word of a field's path, the names of the checks that are nothing without it
 */
export function withoutThose(
  checks: readonly Check[],
  leftOut: readonly string[],
  needs: Readonly<Record<string, readonly string[]>>,
): Check[] {
  return checks.map((check) => {
    const missing = leftOut.filter((path) => needs[path]?.includes(check.name) === true);
    if (missing.length === 0) return check;
    const look = warn(
      check.name,
      `was not looked at: ${missing.join(', ')} is wrong in the config`,
      'mend the config first',
    );
    return { name: check.name, look: () => [look] };
  });
}
