import type { Milliseconds, Timer } from '../../../shared/clock.ts';
import type { Turns } from './turns.ts';

/** Simulated time. It stands still while anything runs, and then jumps to the next task. */
export interface Scheduler {
  now(): Milliseconds;
  at(time: Milliseconds, task: () => void): Timer;
  after(delay: Milliseconds, task: () => void): Timer;
  sleep(delay: Milliseconds): Promise<void>;
  /** Runs what falls due until `time`, or until `done` says that it is enough. */
  run(time: Milliseconds, done?: () => boolean): Promise<void>;
  /** Lets time pass in which nothing happens: every task is put off by as much. */
  skip(ms: Milliseconds): void;
}

interface Task {
  at: Milliseconds;
  order: number;
  run: (() => void) | null;
}

const before = (a: Task, b: Task): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

export function createScheduler(turns: Turns): Scheduler {
  /** A binary heap. */
  const heap: Task[] = [];
  let now = 0;
  let order = 0;

  function put(task: Task): void {
    let at = heap.push(task) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!before(task, heap[above]!)) break;
      heap[at] = heap[above]!;
      at = above;
    }
    heap[at] = task;
  }

  function takeFirst(): void {
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && before(heap[below + 1]!, heap[below]!)) below += 1;
      if (!before(heap[below]!, last)) break;
      heap[at] = heap[below]!;
      at = below;
    }
    heap[at] = last;
  }

  const at = (time: Milliseconds, run: () => void): Timer => {
    const task: Task = { at: Math.max(now, time), order: order++, run };
    put(task);
    return { cancel: () => void (task.run = null) };
  };

  return {
    now: () => now,
    at,
    after: (delay, task) => at(now + Math.max(0, delay), task),
    sleep: (delay) => new Promise((resolve) => void at(now + delay, resolve)),
    async run(time, done = () => false) {
      await turns.settle();
      while (!done()) {
        const next = heap[0];
        if (next === undefined || next.at > time) break;
        takeFirst();
        if (next.run === null) continue;
        now = next.at;
        next.run();
        await turns.settle();
      }
      if (!done()) now = Math.max(now, time);
    },
    skip(ms) {
      now += ms;
      for (const task of heap) task.at += ms;
    },
  };
}
