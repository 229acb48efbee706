import { ConfigError } from '../config-error.ts';
import { describeError } from '../errors.ts';
import { fail, ok } from './finding.ts';
import type { Look } from './finding.ts';

/** A config, or null where none could be read; and what is to be said of it. */
export interface ConfigSeen<T> {
  config: T | null;
  looks: Look[];
}

/** Reads a config, and says every fault of it. */
export function lookAtConfig<T>(
  file: string,
  load: (file: string) => T,
  describe: (config: T) => string,
): ConfigSeen<T> {
  try {
    const config = load(file);
    return { config, looks: [ok(file, describe(config))] };
  } catch (error) {
    if (!(error instanceof ConfigError)) {
      const look = fail(
        file,
        describeError(error),
        'name the config by --config FILE, readable for the program’s user',
      );
      return { config: null, looks: [look] };
    }
    const looks = error.faults.map(({ path, line, value, expected }) =>
      fail(
        `${file}${line === null ? '' : `:${line}`}`,
        `${path === '' ? 'the file' : path} is ${value}`,
        `expected: ${expected}; docs/configuration.md explains each field`,
      ),
    );
    return { config: null, looks };
  }
}
