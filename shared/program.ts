import { existsSync } from 'node:fs';
import { ConfigError } from './config-error.ts';
import type { Milliseconds } from './clock.ts';
import { describeError, isSallyportError } from './errors.ts';
import type { Log } from './log.ts';
import { nearestWord } from './suggest.ts';
import { visibleLines } from './visible.ts';

/** Exit codes of both programs. */
export const EXIT = { ok: 0, failure: 1, usage: 2 } as const;

/**
 * The config that a command means when it is told none: the one in the current directory, else the one where packages
 * keep it, else the one in the current directory that is not there, so that the error names it.
 */
export function defaultConfigFile(name: 'proxy' | 'relay'): string {
  const here = `${name}.yaml`;
  const installed = `/etc/sallyport-${name}/${here}`;
  return !existsSync(here) && existsSync(installed) ? installed : here;
}

/**
 * Says on standard error why a program cannot go on, and how it must exit: 2 for a config that is missing or wrong and for bad
 * words, else 1.
 */
export function explainFailure(program: string, error: unknown): number {
  const why = isSallyportError(error) ? error.message : describeError(error);
  process.stderr.write(`${program}: ${visibleLines(why)}\n`);
  return error instanceof ConfigError || isSallyportError(error, 'CONFIG_INVALID')
    ? EXIT.usage
    : EXIT.failure;
}

/** Ends a default command that was given a word: it was meant as the name of a command, and there is none such. */
export function refuseUnknownCommand(command: {
  readonly args: readonly string[];
  readonly parent: { readonly commands: readonly { name(): string }[] } | null;
  error(message: string, options: { exitCode: number }): void;
}): void {
  const [word] = command.args;
  if (word === undefined) return;
  const meant = nearestWord(word, command.parent?.commands.map((each) => each.name()) ?? []);
  const hint = meant === null ? '' : `\n(Did you mean ${meant}?)`;
  command.error(`error: unknown command '${word}'${hint}`, { exitCode: EXIT.usage });
}

/** How long ending may take in all; what then still runs is left behind. */
const LAST_RESORT_MS: Milliseconds = 30_000;
/** How much of it running sessions may have at most: the rest is for closing what is left. */
export const DRAIN_MOST_S = 27;

/**
 * Runs until SIGTERM or SIGINT, then closes; SIGHUP reloads, one time after another. Resolves to the exit code.
 *
 * To be called before anybody is told that the program is ready: signals are heeded from the call on.
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
    let reloading: Promise<void> = Promise.resolve();
    const reload = async (): Promise<void> => {
      if (ending) return;
      try {
        log.info('reloaded', await part.reload());
      } catch (error) {
        log.error('reload failed; what could not be used stays as it was', { why: describeError(error) });
      }
    };
    process.on('SIGHUP', () => {
      reloading = reloading.then(reload);
    });
  });
}
