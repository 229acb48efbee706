import type { Clock, Milliseconds } from '../../shared/clock.ts';
import type { RelayFrame } from '../../shared/protocol.ts';
import type { Service } from '../services/service.ts';

export type HealthFrame = Extract<RelayFrame, { type: 'health' }>;

/** Health is told to proxies at most this often, where only the number of sessions has changed. */
const HEALTH_MS: Milliseconds = 200;

/** What proxies are told of how a relay with these services fares. */
export function healthOf(services: readonly Service[], sessions: number): HealthFrame {
  return {
    type: 'health',
    ready: canServe(services),
    sessions,
    services: services.map((service) => ({ name: service.name, up: service.health().up })),
    courier: services.some(({ kind }) => kind === 'wpi'),
  };
}

/** A session could succeed while every `wpi` upstream answers; a relay with none depends on its `tcp` ones. */
function canServe(services: readonly Service[]): boolean {
  const wpi = services.filter(({ kind }) => kind === 'wpi');
  const needed = wpi.length > 0 ? wpi : services;
  return needed.length > 0 && needed.every((service) => service.health().up);
}

/** Sessions come and go by the hundred; proxies need the sum now and then. Returns what is to be called at each change. */
export function tellNowAndThen(clock: Clock, tell: () => void): () => void {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    clock.after(HEALTH_MS, () => {
      due = false;
      tell();
    });
  };
}
