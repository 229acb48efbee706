import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { Log, LogFields } from '../../shared/log.ts';

/** Lines that phones, who may be anybody, can bring about. */
export interface RareLog {
  info(msg: string, fields: LogFields): void;
  warn(msg: string, fields: LogFields): void;
  /** Adds its fields to every line; the limit stays one for all. */
  child(fields: LogFields): RareLog;
}

/** Least time between two lines of one message. */
const PERIOD_MS: Milliseconds = 1_000;

/**
 * A log that a flood of phones cannot fill: each message comes at most once a second, and says how many of its kind
 * were left out before (`unlogged`).
 */
export function createRareLog(log: Log, clock: Clock): RareLog {
  const last = new Map<string, { at: Milliseconds; unlogged: number }>();
  const write = (level: 'info' | 'warn', msg: string, fields: LogFields): void => {
    const now = clock.monotonic();
    const before = last.get(msg);
    if (before !== undefined && now - before.at < PERIOD_MS) {
      before.unlogged += 1;
      return;
    }
    const unlogged = before?.unlogged ?? 0;
    last.set(msg, { at: now, unlogged: 0 });
    log[level](msg, unlogged === 0 ? fields : { ...fields, unlogged });
  };
  const bound = (own: LogFields): RareLog => ({
    info: (msg, fields) => write('info', msg, { ...own, ...fields }),
    warn: (msg, fields) => write('warn', msg, { ...own, ...fields }),
    child: (fields) => bound({ ...own, ...fields }),
  });
  return bound({});
}
