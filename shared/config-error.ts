import { SallyportError } from './errors.ts';

/** One thing that is wrong in a config file. */
export interface ConfigFault {
  /** Dotted, with indexes: `doors[1].listen`; empty for the file as a whole. */
  path: string;
  /** 1-based; null where the file does not hold the field. */
  line: number | null;
  /** The value as written, shortened; `(missing)` where there is none. */
  value: string;
  expected: string;
}

/** All that is wrong in one config file. Its message is the whole report, a line for each fault. */
export class ConfigError extends SallyportError {
  readonly file: string;
  readonly faults: ConfigFault[];

  constructor(file: string, faults: ConfigFault[]) {
    const lines = faults.map(({ path, line, value, expected }) => {
      const where = line === null ? file : `${file}:${line}`;
      return `  ${where}: ${path === '' ? 'the file' : path} is ${value}; expected ${expected}`;
    });
    const count = faults.length === 1 ? '1 fault' : `${faults.length} faults`;
    super('CONFIG_INVALID', `${file} has ${count}:\n${lines.join('\n')}`);
    this.file = file;
    this.faults = faults;
  }
}
