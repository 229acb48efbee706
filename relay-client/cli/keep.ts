import { statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import type { StoreCopy } from '../outbox/store-backup.ts';
import { CONFIG_OPTION, JSON_OPTION } from './command.ts';

/**
 * Adds the commands that work on the outbox's files, with or without a running relay: backup, restore.
 *
 * @param outboxOf - the outbox's directory, by the relay's config
 */
export function addKeepCommands(
  program: Command,
  outboxOf: (config: string) => Promise<string>,
  say: (text: string) => void,
): void {
  program
    .command('backup <file-or-dir>')
    .description(
      'copy the outbox, as of one moment, to a file or into a directory; the relay may run meanwhile',
    )
    .option(...CONFIG_OPTION)
    .option(...JSON_OPTION)
    .action(async (target: string, { config: file, json }: { config: string; json?: boolean }) => {
      const { backUpOutbox } = await import('../outbox/store-backup.ts');
      const copy = await backUpOutbox(await outboxOf(file), backupPath(target, new Date()));
      say(json === true ? JSON.stringify(asJson(copy)) : `wrote ${copy.path}: ${inWords(copy)}`);
    });
  program
    .command('restore <file>')
    .description('put a backup in the place of the outbox, which is kept beside it; the relay must not run')
    .option(...CONFIG_OPTION)
    .option(...JSON_OPTION)
    .action(async (source: string, { config: file, json }: { config: string; json?: boolean }) => {
      const { restoreOutbox } = await import('../outbox/store-backup.ts');
      const copy = restoreOutbox(resolve(source), await outboxOf(file));
      if (json === true) return say(JSON.stringify({ ...asJson(copy), replaced: copy.replaced }));
      say(`restored ${copy.path}: ${inWords(copy)}`);
      if (copy.replaced !== null) say(`the former outbox is in ${copy.replaced}`);
      say('at its next start the relay begins a new incarnation and tells every proxy everything anew');
    });
}

/** Where a backup goes: a directory gets a file that bears the time. */
function backupPath(target: string, now: Date): string {
  const path = resolve(target);
  if (!(statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false)) return path;
  return join(path, `outbox-${now.toISOString().replaceAll(/[-:]|\.\d+/g, '')}.db`);
}

function inWords({ bytes, held, accepted, sequence, incarnation }: StoreCopy): string {
  return `${bytes} bytes, ${held} held of ${accepted} accepted, position ${sequence} of incarnation ${incarnation}`;
}

function asJson({ path, bytes, incarnation, sequence, held, accepted }: StoreCopy): Record<string, unknown> {
  return { file: path, bytes, held, accepted, sequence, incarnation };
}
