import type { Milliseconds } from '../../../shared/clock.ts';
import { createDice } from '../engine/dice.ts';
import type { Dice } from '../engine/dice.ts';

/** What a seed makes of a run, before anything happens. */
export interface Plan {
  seed: number;
  proxies: number;
  devices: string[];
  gapMs: Milliseconds;
  maxSessions: number;
  deadAfterSessions: number;
  /** Held messages at most. */
  held: number;
  syncDelayMs: Milliseconds;
  /** Whether the service sets a cookie of its own. */
  cookies: boolean;
  pollMs: Milliseconds;
  /** How long faults, forgers and moods go on. */
  stormMs: Milliseconds;
  /** Between two faults, on average; Infinity = none. */
  faultMs: Milliseconds;
  /** Between two requests of clients, on average. */
  clientMs: Milliseconds;
  /** Between two deeds of a forger, on average; Infinity = there is none. */
  forgerMs: Milliseconds;
  /** The forger does one thing only, for long: it keeps phones from their work by sessions in their names. */
  siege: boolean;
  /** Whether clients push actions, too, which the relay delivers by itself. */
  actions: boolean;
  /** Whether files and software are among them, of which the outcome comes later. */
  deployments: boolean;
  /** Whether the relay's machine starts without the time, in 1970. */
  unsetClock: boolean;
}

/** How long the outcome of a deployment is waited for. */
export const FILE_WAIT_MS = 20_000;
/** How long no software is sent to a device again. */
export const SOFTWARE_GAP_MS = 10_000;

/** What is thrown with dice of its own, so that the runs of other seeds stay as they are. */
const ACTIONS_SALT = 0x0d15;
const CLOCK_SALT = 0x1970;
const DEPLOYMENTS_SALT = 0xf11e;

export function planOf(seed: number): { plan: Plan; dice: Dice } {
  const dice = createDice(seed);
  const count = dice.whole(2, 5);
  const plan: Plan = {
    seed,
    proxies: dice.chance(0.4) ? 2 : 1,
    devices: Array.from({ length: count }, (_, i) => `00:1a:e8:00:00:0${i + 1}`),
    gapMs: dice.pick([0, 2_000, 5_000, 20_000]),
    maxSessions: dice.chance(0.15) ? 1 : 200,
    deadAfterSessions: dice.pick([0, 1, 2, 2, 3, 20]),
    held: dice.chance(0.2) ? dice.whole(1, count - 1) : 1_000,
    syncDelayMs: dice.pick([0, 0, 3, 40]),
    cookies: dice.chance(0.6),
    pollMs: dice.pick([3_000, 5_000, 10_000]),
    stormMs: Number(dice.weighted({ 20_000: 3, 40_000: 4, 80_000: 3, 240_000: 1 })),
    faultMs: dice.pick([3_000, 6_000, 15_000, Infinity]),
    clientMs: dice.pick([1_500, 4_000, 10_000]),
    forgerMs: dice.pick([6_000, 15_000, Infinity]),
    siege: dice.chance(0.05),
    actions: createDice(seed ^ ACTIONS_SALT).chance(0.35),
    deployments: createDice(seed ^ DEPLOYMENTS_SALT).chance(0.4),
    unsetClock: createDice(seed ^ CLOCK_SALT).chance(0.15),
  };
  if (plan.siege) {
    Object.assign(plan, {
      devices: plan.devices.slice(0, 2),
      actions: false,
      maxSessions: 200,
      deadAfterSessions: 0,
      held: 1_000,
      stormMs: 240_000,
      faultMs: Infinity,
      clientMs: Infinity,
      forgerMs: 4_000,
    });
  }
  return { plan, dice };
}
