import { plant } from './bugs/plant.ts';
import type { PlantedBug } from './bugs/bugs.ts';
import { useLeanCaches } from './engine/lean-caches.ts';
import type { Turns } from './engine/turns.ts';
import { watchTurns } from './engine/turns.ts';
import type { Outcome, RunOptions } from './run.ts';

/** The simulation with the product in it. */
export interface Simulation {
  runSeed(options: Omit<RunOptions, 'turns'>): Promise<Outcome>;
  /** Gives Node's own functions back. */
  stop(): void;
}

/**
 * Loads the product into the simulation, for once and all in this process. Nothing of it may have been imported before.
 *
 * @param bug - to be planted in it; null = none
 */
export async function loadSimulation(bug: PlantedBug | null = null): Promise<Simulation> {
  useLeanCaches();
  if (bug !== null) plant(bug);
  const { runSeed } = await import('./run.ts');
  const turns: Turns = watchTurns();
  return { runSeed: (options) => runSeed({ ...options, turns }), stop: turns.stop };
}
