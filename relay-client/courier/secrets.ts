import type { HeldAction } from './actions.ts';

/**
 * Names of items whose values are secrets, as patterns in which `*` stands for any characters. From the items that are
 * known to carry one: user-pwd, admin-pwd, sip-pwd, file-pwd, restart-password, bootstrapping-tan, cloud-pin-value,
 * secure-mode-data, dls-client-certificate.
 */
export const SECRET_ITEMS: readonly string[] = [
  '*pwd*',
  '*passw*',
  '*secret*',
  '*credential*',
  '*-key',
  '*-psk',
  '*-tan',
  'pin',
  'pin-*',
  '*-pin',
  '*-pin-*',
  '*private*',
  'secure-mode-data',
  'dls-client-certificate',
];

/** Whether an item's value is a secret. */
export type IsSecret = (name: string) => boolean;

/** @param patterns - letter case does not matter */
export function createIsSecret(patterns: readonly string[]): IsSecret {
  const tests = patterns.map((pattern) => {
    const parts = pattern.toLowerCase().split('*').map(escapePattern);
    return new RegExp(`^${parts.join('.*')}$`, 's');
  });
  return (name) => {
    const lower = name.toLowerCase();
    return tests.some((test) => test.test(lower));
  };
}

function escapePattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

/** Whether a phone would be told a secret. */
export function tellsSecrets(actions: readonly HeldAction[], isSecret: IsSecret): boolean {
  return actions.some(({ items }) => items.some(({ name, value = '' }) => value !== '' && isSecret(name)));
}

/** The actions as they may be shown: secret values replaced. */
export function maskActions(actions: readonly HeldAction[], isSecret: IsSecret): HeldAction[] {
  return actions.map(({ action, items }) => ({
    action,
    items: items.map((item) =>
      item.value !== undefined && item.value !== '' && isSecret(item.name) ? { ...item, value: MASK } : item,
    ),
  }));
}

/** What stands in the place of a secret: always the same, so that it tells no length. */
export const MASK = '***';
