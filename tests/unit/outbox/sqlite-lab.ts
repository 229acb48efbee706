import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { openSqliteOutbox } from '../../../relay-client/outbox/sqlite.ts';
import type { SqliteOutbox, SqliteOutboxOptions } from '../../../relay-client/outbox/sqlite.ts';
import { systemClock } from '../../../shared/clock.ts';
import { silentLog } from '../../../shared/log.ts';

const PUSHER = fileURLToPath(new URL('../../fixtures/outbox-pusher.ts', import.meta.url));

/** Opens the outbox in `path`, closed at the end of the test. */
export async function openAt(
  t: Test,
  path: string,
  more: Partial<SqliteOutboxOptions> = {},
): Promise<SqliteOutbox> {
  const outbox = await openSqliteOutbox({
    path,
    clock: systemClock,
    random: randomBytes,
    log: silentLog,
    onFatal: (error) => t.fail(error.message),
    ...more,
  });
  t.teardown(async () => {
    await outbox.close();
    rmSync(`${path}.key`, { force: true });
  });
  return outbox;
}

export interface Pusher {
  child: ChildProcess;
  /** Every line it said so far. */
  lines: string[];
  /** Waits until it said a line of which `test` is true; rejects when it ends before. */
  said(test: (line: string) => boolean): Promise<void>;
  /** Waits until it has ended and all its lines were read. */
  ended: Promise<void>;
}

/** Starts a process that pushes without end; killed at the end of the test. */
export function startPusher(t: Test, path: string, args: string[] = [], prefix: string[] = []): Pusher {
  const [command = '', ...rest] = [...prefix, process.execPath, PUSHER, path, ...args];
  const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  const reader = createInterface({ input: child.stdout });
  reader.on('line', (line) => {
    lines.push(line);
    for (const look of waiting) look();
  });
  const ended = new Promise<void>((resolve) => reader.on('close', resolve));
  const said = (test: (line: string) => boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (!lines.some(test)) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      void ended.then(() =>
        reject(new Error(`the pusher ended after ${lines.length} lines: ${lines.at(-1) ?? ''}`)),
      );
      look();
    });
  return { child, lines, said, ended };
}

/** The ids of the pushes that a pusher was told are durable. */
export function acceptedBy({ lines }: Pusher): string[] {
  return lines.filter((line) => line.startsWith('accepted ')).map((line) => line.slice('accepted '.length));
}
