import type { Clock, Milliseconds } from '../../shared/clock.ts';
import { describeError } from '../../shared/errors.ts';
import type { Pin } from '../../shared/key-pair.ts';
import type { Log } from '../../shared/log.ts';
import type { Registry, RelayRecord } from './registry.ts';

/** How often live links are held against the registry, so that a revoked relay is cut. */
const REVOCATION_CHECK_MS: Milliseconds = 10_000;

/** Whose a key is, now and for as long as its relay is linked. */
export interface RelayKeys {
  /** Who has this key; null = nobody, 'unreadable' = the registry cannot be read now. */
  ownerOf(pin: Pin): RelayRecord | null | 'unreadable';
  /** A relay has linked: from now on it is looked whether its key is still good. */
  watch(record: RelayRecord): void;
  stop(): void;
}

/**
 * @param options - `onGone`: the key of a relay that has linked is no longer good; `onRevoked`: and that is because the relay
 * was revoked, whether it is linked now or not
 */
export function createRelayKeys(options: {
  registry: Registry;
  clock: Clock;
  log: Log;
  onGone: (record: RelayRecord) => void;
  onRevoked: (record: RelayRecord) => void;
}): RelayKeys {
  const { registry, clock, log } = options;
  /** Relays that have linked, by the pin they did it with, and since when they do: as many as the registry has keys. */
  const served = new Map<Pin, { record: RelayRecord; since: Milliseconds }>();

  function ownerOf(pin: Pin): RelayRecord | null | 'unreadable' {
    try {
      return registry.byPin(pin);
    } catch (error) {
      log.error('registry failed', { why: describeError(error) });
      return 'unreadable';
    }
  }

  /** Rather than that its former key is no longer good. */
  function wasRevoked(name: string, since: Milliseconds): boolean | 'unreadable' {
    try {
      return registry.removedAt(name) >= since;
    } catch (error) {
      log.error('registry failed', { why: describeError(error) });
      return 'unreadable';
    }
  }

  const timer = clock.every(REVOCATION_CHECK_MS, () => {
    const gone: { record: RelayRecord; revoked: boolean }[] = [];
    for (const { record, since } of served.values()) {
      const owner = ownerOf(record.pin);
      const { name, site } = record;
      // Who was revoked and has joined another site since is no relay of this one.
      if (owner === 'unreadable' || (owner?.name === name && owner.site === site)) continue;
      const revoked = wasRevoked(name, since);
      if (revoked !== 'unreadable') gone.push({ record, revoked });
    }
    // All its keys before what follows from it: a relay that is linked by another of them is to hear why it is cut.
    for (const { record } of gone) {
      served.delete(record.pin);
      log.warn('relay revoked', { relay: record.name });
      options.onGone(record);
    }
    for (const { record, revoked } of gone) if (revoked) options.onRevoked(record);
  });

  return {
    ownerOf,
    watch(record) {
      if (!served.has(record.pin)) served.set(record.pin, { record, since: clock.wall() });
    },
    stop: () => timer.cancel(),
  };
}
