import type { Clock, Milliseconds, Timer } from '../../../shared/clock.ts';
import type { Scheduler } from './scheduler.ts';

/** A machine, whose wall clock outlives the programs on it. */
export interface Host {
  /** How far its wall clock is ahead of the simulation's. */
  wallAhead: Milliseconds;
}

/** One program while it runs: its clock, and the one way in for all that reaches it from outside. */
export interface Process {
  readonly name: string;
  readonly clock: Clock;
  alive(): boolean;
  frozen(): boolean;
  /** Lets something from outside happen to it: now, or when it is thawed; never once it is dead. */
  enter(task: () => void): void;
  /** Stops it as SIGSTOP or a long collection of garbage would. */
  freeze(ms: Milliseconds): void;
  /** Ends it between two instructions: no timer of it runs any more. */
  kill(): void;
  /** Told once, when it is killed. */
  onKilled(task: () => void): void;
}

/** The wall time at which every run begins. */
export const BEGINNING: Milliseconds = Date.UTC(2026, 0, 5, 8);

/** @param booted - what its monotonic clock shows at the simulation's time 0 */
export function createProcess(scheduler: Scheduler, name: string, host: Host, booted: Milliseconds): Process {
  const waiting: (() => void)[] = [];
  const farewells: (() => void)[] = [];
  let alive = true;
  let frozenUntil = 0;

  const enter = (task: () => void): void => {
    if (!alive) return;
    if (waiting.length > 0 || scheduler.now() < frozenUntil) waiting.push(task);
    else task();
  };
  /** One at a time, so that what each of them begins is done before the next. */
  const thaw = (): void => {
    if (!alive) return;
    if (scheduler.now() < frozenUntil) return void scheduler.at(frozenUntil, thaw);
    const task = waiting.shift();
    task?.();
    if (waiting.length > 0) scheduler.after(0, thaw);
  };
  const schedule = (at: Milliseconds, task: () => void): Timer => {
    let cancelled = false;
    const timer = scheduler.at(at, () => enter(() => void (cancelled || task())));
    return {
      cancel() {
        cancelled = true;
        timer.cancel();
      },
    };
  };

  return {
    name,
    clock: {
      monotonic: () => scheduler.now() + booted,
      wall: () => BEGINNING + scheduler.now() + host.wallAhead,
      after: (delay, task) =>
        alive ? schedule(scheduler.now() + Math.max(0, delay), task) : { cancel: () => undefined },
      every(period, task) {
        let timer: Timer = { cancel: () => undefined };
        let stopped = !alive;
        const arm = (at: Milliseconds): void => {
          timer = schedule(at, () => {
            // Like an interval of Node's, it does not make up for what it missed.
            if (!stopped) arm(Math.max(at + period, scheduler.now()));
            task();
          });
        };
        if (!stopped) arm(scheduler.now() + period);
        return {
          cancel() {
            stopped = true;
            timer.cancel();
          },
        };
      },
    },
    alive: () => alive,
    frozen: () => alive && scheduler.now() < frozenUntil,
    enter,
    freeze(ms) {
      frozenUntil = Math.max(frozenUntil, scheduler.now() + ms);
      scheduler.at(frozenUntil, thaw);
    },
    kill() {
      alive = false;
      waiting.length = 0;
      for (const task of farewells.splice(0)) task();
    },
    onKilled: (task) => void farewells.push(task),
  };
}
