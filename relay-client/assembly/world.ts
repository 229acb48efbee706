import type { Clock } from '../../shared/clock.ts';
import type { RelayConfig } from '../config.ts';
import { dialLane } from '../links/dial.ts';
import { createLookup } from '../links/lookup.ts';
import { openOutbox } from '../outbox/open.ts';
import type { OutboxOptions } from '../outbox/open.ts';
import type { Outbox } from '../outbox/outbox.ts';
import { readIdentity } from '../secrets.ts';
import type { Identity } from '../secrets.ts';
import { dialTcp } from '../services/dial.ts';
import { createRandomBytes } from './random.ts';

/** What a relay reaches the world by, so that a simulation can be the world. */
export interface RelayWorld {
  random: (size: number) => Uint8Array;
  readIdentity: (config: RelayConfig, clock: Clock) => Promise<Identity>;
  openOutbox: (options: OutboxOptions) => Promise<Outbox>;
  dialLane: typeof dialLane;
  createLookup: typeof createLookup;
  /** Dials upstream without TLS. */
  dialTcp: typeof dialTcp;
}

/** This machine's disk, network and randomness. */
export const MACHINE: RelayWorld = {
  random: createRandomBytes(),
  readIdentity,
  openOutbox,
  dialLane,
  createLookup,
  dialTcp,
};
