import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { judgeRoom, lookAtSyncs, roomOf } from '../../shared/doctor/disk.ts';
import { lookAtOwnDirectory } from '../../shared/doctor/files.ts';
import { fail } from '../../shared/doctor/finding.ts';
import type { Look } from '../../shared/doctor/finding.ts';
import { describeError } from '../../shared/errors.ts';

/** Looks at the place of the outbox: whose it is, how fast its disk keeps things, and what room there is. */
export async function lookAtOutbox(path: string, signal: AbortSignal): Promise<Look[]> {
  // Before the first start there is only the place where it will be made.
  const place = existsSync(path) ? path : nearest(path);
  const looks: Look[] = [place === path ? lookAtOwnDirectory('outbox', path) : lookAtPlace(place, path)];
  if (looks[0]?.level === 'fail') return looks;
  looks.push(await lookAtSyncs(place, signal));
  try {
    looks.push(...judgeRoom(place, await roomOf(place)));
  } catch (error) {
    looks.push(
      fail(place, `its room cannot be told: ${describeError(error)}`, 'see df and mount for this path'),
    );
  }
  return looks;
}

function lookAtPlace(place: string, path: string): Look {
  const look = lookAtOwnDirectory('place of the outbox', place);
  // Others may look into the directory around it: the outbox itself will be private.
  return look.level === 'fail'
    ? look
    : { ...look, level: 'ok', says: `${path} is not there yet; the first start makes it`, fix: null };
}

function nearest(path: string): string {
  const above = dirname(path);
  return existsSync(above) || above === path ? above : nearest(above);
}
