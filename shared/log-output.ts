import { writeSync } from 'node:fs';
import type { Milliseconds } from './clock.ts';

/** How long a line waits for a reader that does not read on; the lines after it are dropped without waiting, until one does. */
const STALL_MS: Milliseconds = 1_000;
const PAUSE_MS: Milliseconds = 5;

const STANDARD_OUTPUT = 1;

/**
 * Standard output for logs, written synchronously. A line that it does not take (the disk is full, the reader is gone or
 * stands still) is dropped: what the program is for goes on. The next line that it takes comes after one that says how many
 * are missing. Lines are never torn.
 *
 * @param write - writes what it can and says how many bytes that was; default: to standard output
 */
export function createLogOutput(
  write: (bytes: Uint8Array) => number = (bytes) => writeSync(STANDARD_OUTPUT, bytes),
): { write(line: string): void } {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  let missing = 0;
  let stalled = false;
  /** What is still to come of a line that has begun. */
  let rest: Uint8Array = new Uint8Array();

  /** Returns what was not taken. */
  const put = (bytes: Uint8Array): Uint8Array => {
    const until = performance.now() + (stalled ? 0 : STALL_MS);
    while (bytes.length > 0) {
      try {
        bytes = bytes.subarray(write(bytes));
      } catch (error) {
        const busy = (error as NodeJS.ErrnoException).code === 'EAGAIN';
        if (busy && performance.now() < until) {
          Atomics.wait(pause, 0, 0, PAUSE_MS);
          continue;
        }
        stalled = busy;
        return bytes;
      }
    }
    stalled = false;
    return bytes;
  };
  /** Whether the line will be whole in the end. */
  const putLine = (line: string): boolean => {
    rest = put(rest);
    if (rest.length > 0) return false;
    const bytes = Buffer.from(line);
    const left = put(bytes);
    if (left.length === bytes.length) return false;
    rest = left;
    return true;
  };

  return {
    write(line) {
      if (missing > 0) {
        const time = new Date().toISOString();
        const note = { level: 'warn', time, lines: missing, msg: 'log lines are missing: nobody took them' };
        if (putLine(`${JSON.stringify(note)}\n`)) missing = 0;
      }
      if (missing > 0 || !putLine(line)) missing += 1;
    },
  };
}
