import { createPaint } from '../../shared/paint.ts';
import type { Paint } from '../../shared/paint.ts';
import { openStandardOutput } from '../../shared/standard-output.ts';
import { visibleLines } from '../../shared/visible.ts';

/** What a command talks to; handed in, so that tests can listen. */
export interface Io {
  /** Text that steers a terminal comes out as text. */
  out(text: string): void;
  err(text: string): void;
  /** Text for a person in which colours may stand, and whose other parts were made {@link visible} before. */
  painted(text: string): void;
  /** Colours, where `painted` is read at a terminal that shows them. */
  readonly paint: Paint;
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
  const write = openStandardOutput('sallyport-relay');
  return {
    out: (text) => write(visibleLines(text)),
    painted: write,
    paint: createPaint(process.stdout.isTTY === true, process.env),
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
