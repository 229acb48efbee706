import { visibleLines } from '../../shared/visible.ts';

/** What a command talks to; handed in, so that tests can listen. */
export interface Io {
  /** Text that steers a terminal comes out as text. */
  out(text: string): void;
  err(text: string): void;
  /** Whether what `err` is given is read by a person at a terminal, where lines can be drawn over. */
  readonly terminal: boolean;
  env: Readonly<Record<string, string | undefined>>;
  /** Aborted when the user wants out (^C). */
  readonly signal: AbortSignal;
  /** The exit code: 0 ok, 1 failure, 2 usage. */
  exit(code: number): void;
}

/** The process itself. Signals are listened to from the first use of `signal` on, so that other commands keep theirs. */
export function processIo(): Io {
  let stop: AbortController | null = null;
  let piped = false;
  return {
    out(text) {
      // A reader that went away (`| head`) has seen enough; that's no failure.
      if (!piped) process.stdout.on('error', () => process.exit());
      piped = true;
      process.stdout.write(visibleLines(text));
    },
    err: (text) => void process.stderr.write(text),
    terminal: process.stderr.isTTY === true,
    env: process.env,
    get signal() {
      if (stop === null) {
        const made = (stop = new AbortController());
        process.once('SIGINT', () => made.abort());
        process.once('SIGTERM', () => made.abort());
      }
      return stop.signal;
    },
    exit: (code) => void (process.exitCode = code),
  };
}
