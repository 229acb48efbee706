import { SITE_LINKS } from './site-links.ts';

/** The secrets that devices of a site poll by, as its relays have told them, those that are away among them. */
export interface SiteSecrets {
  take(relay: string, secrets: readonly string[]): void;
  /** What the relay told counts no longer. */
  forget(relay: string): void;
}

/** @param onChange - told all that count now */
export function createSiteSecrets(onChange: (secrets: readonly string[]) => void): SiteSecrets {
  const byRelay = new Map<string, readonly string[]>();
  const tell = (): void => onChange([...new Set([...byRelay.values()].flat())]);

  return {
    take(relay, secrets) {
      // The newest ones last, so that those of a relay that is gone for good are let go first.
      byRelay.delete(relay);
      byRelay.set(relay, secrets);
      const [oldest] = byRelay.keys();
      if (byRelay.size > SITE_LINKS && oldest !== undefined) byRelay.delete(oldest);
      tell();
    },
    forget(relay) {
      if (byRelay.delete(relay)) tell();
    },
  };
}
