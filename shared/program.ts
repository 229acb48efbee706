import { ConfigError } from './config-file.ts';
import type { Milliseconds } from './clock.ts';
import { describeError, isSallyportError } from './errors.ts';
import type { Log } from './log.ts';

/** Exit codes of both programs. */
export const EXIT = { ok: 0, failure: 1, usage: 2 } as const;

/**
 * Says on standard error why a program cannot go on, and how it must exit: 2 for a bad config or bad words, else 1.
 */
export function explainFailure(program: string, error: unknown): number {
  process.stderr.write(`${program}: ${isSallyportError(error) ? error.message : describeError(error)}\n`);
  return error instanceof ConfigError || isSallyportError(error, 'CONFIG_INVALID')
    ? EXIT.usage
    : EXIT.failure;
}

/** Ends a default command that was given a word: it was meant as the name of a command, and there is none such. */
export function refuseUnknownCommand(command: {
  readonly args: readonly string[];
  error(message: string, options: { exitCode: number }): void;
}): void {
  const [word] = command.args;
  if (word !== undefined) command.error(`error: unknown command '${word}'`, { exitCode: EXIT.usage });
}

/** After this, a program that was told to end ends without further ado. */
const LAST_RESORT_MS: Milliseconds = 35_000;

/**
 * Runs until SIGTERM or SIGINT, then closes; SIGHUP reloads. Resolves to the exit code.
 */
export function runUntilSignal(
  part: { reload(): Promise<Record<string, unknown>>; close(): Promise<void> },
  log: Log,
): Promise<number> {
  return new Promise((resolve) => {
    let ending = false;
    const end = (signal: NodeJS.Signals): void => {
      if (ending) return;
      ending = true;
      log.info('ending', { signal });
      const late = setTimeout(() => {
        log.error('could not end in time');
        resolve(EXIT.failure);
      }, LAST_RESORT_MS);
      part.close().then(
        () => {
          clearTimeout(late);
          log.info('ended');
          resolve(EXIT.ok);
        },
        (error: unknown) => {
          log.error('ending failed', { why: describeError(error) });
          resolve(EXIT.failure);
        },
      );
    };
    process.on('SIGTERM', end);
    process.on('SIGINT', end);
    process.on('SIGHUP', () => {
      void (async () => {
        try {
          log.info('reloaded', await part.reload());
        } catch (error) {
          log.error('reload failed; all stays as it was', { why: describeError(error) });
        }
      })();
    });
  });
}
