import { pino } from 'pino';
import { createLogOutput } from './log-output.ts';
import type { LogLevel } from './log-levels.ts';

/** Facts that go with a log line. Bodies, tokens and keys stay out. */
export type LogFields = Record<string, unknown>;

/** A logger: fixed message text first, facts in fields. `child` adds its fields to every line. */
export interface Log {
  debug(msg: string, fields?: LogFields): void;
  info(msg: string, fields?: LogFields): void;
  warn(msg: string, fields?: LogFields): void;
  error(msg: string, fields?: LogFields): void;
  child(fields: LogFields): Log;
}

export type { LogLevel } from './log-levels.ts';

/** Field names that are hidden wherever they stand, should one be logged by mistake. */
const SECRET_FIELDS = [
  'authorization',
  'cookie',
  'token',
  'password',
  'key',
  'body',
  'join',
  'actions',
  'results',
];

/**
 * JSON lines on standard output: `time` (ISO 8601), `level` (word), `msg`, then the facts.
 *
 * @param level - the least level that is written; default `info`
 */
export function createLog(level: LogLevel = 'info', destination?: { write(line: string): void }): Log {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: SECRET_FIELDS.flatMap((name) => [name, `*.${name}`]), censor: '[hidden]' },
  };
  // Standard output is written synchronously: the last line before a crash is the one that is needed.
  return wrap(pino(options, destination ?? createLogOutput()));
}

/** A logger that writes nothing. */
export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLog,
};

function wrap(logger: pino.Logger): Log {
  return {
    debug: (msg, fields) => logger.debug(fields ?? {}, msg),
    info: (msg, fields) => logger.info(fields ?? {}, msg),
    warn: (msg, fields) => logger.warn(fields ?? {}, msg),
    error: (msg, fields) => logger.error(fields ?? {}, msg),
    child: (fields) => wrap(logger.child(fields)),
  };
}
