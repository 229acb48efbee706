import type { Milliseconds } from '../../shared/clock.ts';
import { itemValue } from '../../shared/wpi/message.ts';
import type { PhoneMessage } from '../../shared/wpi/message.ts';
import type { HeldAction } from './actions.ts';
import type { CourierConfig } from './config.ts';

/**
 * How long the phone's later word about an accepted action is waited for; 0 = there will be none. A single deployment of
 * a file is followed by a `status` session, several at once and deletions are not (Developer's Guide p. 54); new firmware
 * shows at the next start-up (p. 56).
 */
export function waitFor(
  { action, items }: HeldAction,
  { fileWait, softwareWait }: Pick<CourierConfig, 'fileWait' | 'softwareWait'>,
): Milliseconds {
  if (action === 'SoftwareDeployment') return valueOf(items, 'file-sw-version') === '' ? 0 : softwareWait;
  if (action !== 'FileDeployment') return 0;
  const deletes = valueOf(items, 'file-action').toLowerCase() === 'delete';
  const several = items.some(({ index }) => index !== undefined);
  return deletes || several ? 0 : fileWait;
}

/** What a phone's message says about an action that waits; null = nothing. */
export function confirms({ action, items }: HeldAction, message: PhoneMessage): 'done' | 'failed' | null {
  if (action === 'FileDeployment' && message.reason === 'status') {
    const named = itemValue(message.items, 'file-deployment-name');
    if (named !== null && !isSameFile(named, items)) return null;
    switch (itemValue(message.items, 'file-deployment-status')?.toLowerCase()) {
      case 'ok':
        return 'done';
      case 'failed':
        return 'failed';
      default:
        return null;
    }
  }
  if (action === 'SoftwareDeployment' && message.reason === 'start-up') {
    const version = itemValue(message.items, 'software-version');
    return version !== null && isSame(version, valueOf(items, 'file-sw-version')) ? 'done' : null;
  }
  return null;
}

/** Whether a phone of this version has no need of the new software; false where nobody said which that is. */
export function runsAlready({ action, items }: HeldAction, version: string | null): boolean {
  const wanted = valueOf(items, 'file-sw-version');
  return action === 'SoftwareDeployment' && wanted !== '' && version !== null && isSame(version, wanted);
}

function isSameFile(named: string, items: HeldAction['items']): boolean {
  const name = valueOf(items, 'file-name');
  const url = valueOf(items, 'file-https-base-url');
  return [name, baseOf(name), baseOf(url)].some((known) => known !== '' && isSame(known, baseOf(named)));
}

const baseOf = (path: string): string => path.split(/[\\/]/).at(-1) ?? '';

const isSame = (a: string, b: string): boolean => a.trim().toLowerCase() === b.trim().toLowerCase();

function valueOf(items: HeldAction['items'], name: string): string {
  return items.find((item) => item.name.toLowerCase() === name)?.value ?? '';
}
