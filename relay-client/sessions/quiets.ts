import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { DeviceId } from '../../shared/device-id.ts';
import type { PendingView } from '../pending-view.ts';

/**
 * How long polls of a device may be kept at 200 because of its sessions, in all, per generation. Sessions can be
 * forged; this is what a forger can delay a phone by.
 */
export const QUIET_BUDGET_MS: Milliseconds = 120_000;

/** Devices whose budget is kept. When there are more, further ones get no quiet: that costs a needless poll at most. */
export const QUIET_DEVICES = 100_000;

/** Polls of a device that are kept at 200 for the time being. */
export interface Quiet {
  device: DeviceId;
  generation: number;
  /** How long yet, at most. */
  ms: Milliseconds;
}

/** Says to the proxies when a device is quiet. */
export interface QuietLinks {
  quiet(device: DeviceId, generation: number, ms: Milliseconds): void;
  loud(device: DeviceId): void;
}

/** The budgets of quiet. */
export interface Quiets {
  /** A session needs quiet; does nothing where the budget is used up or nothing is held. */
  hold(session: string, device: DeviceId, generation: number): void;
  /** The session needs it no more. Does nothing for one that never did. */
  release(session: string, device: DeviceId): void;
  /** The wall time at which the device's quiet ends at the latest; null = it's not quiet. */
  until(device: DeviceId): Milliseconds | null;
  /** All that are quiet now. */
  all(): Quiet[];
}

interface Budget {
  readonly generation: number;
  spent: Milliseconds;
  /** Since when it is being spent; null = it isn't. */
  since: Milliseconds | null;
  /** The sessions that need it. */
  readonly holders: Set<string>;
}

export function createQuiets(options: {
  links: QuietLinks;
  pending: Pick<PendingView, 'generation'>;
  clock: Clock;
  budgetMs?: Milliseconds;
  devices?: number;
}): Quiets {
  const { links, pending, clock, budgetMs = QUIET_BUDGET_MS, devices = QUIET_DEVICES } = options;
  const budgets = new Map<DeviceId, Budget>();
  let forgotten = false;

  const left = ({ spent, since }: Budget): Milliseconds =>
    Math.max(0, budgetMs - spent - (since === null ? 0 : clock.monotonic() - since));

  /** A budget may be forgotten only once nothing is held: every later generation is then a newer one. */
  const makeRoom = (): boolean => {
    if (budgets.size < devices) return true;
    for (const [device, { holders }] of budgets) {
      if (holders.size === 0 && pending.generation(device) === 0) forgotten = budgets.delete(device);
    }
    return budgets.size < devices;
  };

  const budgetOf = (device: DeviceId, generation: number): Budget | null => {
    const known = budgets.get(device);
    if (known !== undefined && known.generation >= generation)
      return known.generation === generation ? known : null;
    // A session from before may still ask for a generation whose budget is spent and forgotten.
    if (known === undefined && forgotten && generation !== pending.generation(device)) return null;
    if (known === undefined && !makeRoom()) return null;
    const fresh = { generation, spent: 0, since: null, holders: new Set<string>() };
    budgets.set(device, fresh);
    return fresh;
  };

  return {
    hold(session, device, generation) {
      if (generation <= 0) return;
      const budget = budgetOf(device, generation);
      if (budget === null || left(budget) <= 0) return;
      budget.holders.add(session);
      if (budget.since !== null) return;
      budget.since = clock.monotonic();
      links.quiet(device, generation, left(budget));
    },
    release(session, device) {
      const budget = budgets.get(device);
      if (budget === undefined || !budget.holders.delete(session) || budget.holders.size > 0) return;
      budget.spent = budgetMs - left(budget);
      budget.since = null;
      links.loud(device);
    },
    until(device) {
      const budget = budgets.get(device);
      if (budget === undefined || budget.since === null) return null;
      const ms = left(budget);
      return ms > 0 ? clock.wall() + ms : null;
    },
    all() {
      const quiet: Quiet[] = [];
      for (const [device, budget] of budgets) {
        const ms = budget.since === null ? 0 : left(budget);
        if (ms > 0) quiet.push({ device, generation: budget.generation, ms });
      }
      return quiet;
    },
  };
}
