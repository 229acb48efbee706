import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { ask, describe } from './api.ts';
import { liveEvents, liveState, onEvent, onLive } from './live.ts';
import type { LiveEvent, LiveState } from './live.ts';

/** What pages look at, kept fresh. */

export interface Resource<T> {
  /** The newest that came, perhaps still that of the path before; null before the first. */
  value: T | null;
  /** Whether `value` is of this path. */
  current: boolean;
  /** Why the newest try failed; null = it did not. */
  fault: string | null;
  refresh: () => void;
}

export interface Freshness {
  /** Asked again after so many milliseconds. */
  every: number;
  /** And soon after an event of which this is true. */
  on?: (event: LiveEvent) => boolean;
  /** Events come in bursts: after one, so many milliseconds are waited for more. Default {@link SETTLE_MS}. */
  settle?: number;
}

const SETTLE_MS = 250;

/** Asks for `path` now and again; null = not at all. What was there stays while the next is asked for. */
export function useResource<T>(
  path: string | null,
  { every, on, settle = SETTLE_MS }: Freshness,
): Resource<T> {
  const [value, setValue] = useState<{ path: string; value: T } | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const matches = useRef(on);
  matches.current = on;
  const again = useRef<() => void>(() => undefined);

  // Not after the next paint, as an ordinary effect: what is asked for a frame earlier is there a frame earlier.
  useLayoutEffect(() => {
    if (path === null) return;
    const over = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    let running = false;
    let wanted = false;
    const look = async (): Promise<void> => {
      clearTimeout(timer);
      if (running) {
        wanted = true;
        return;
      }
      running = true;
      wanted = false;
      try {
        const next = await ask<T>('GET', path, undefined, over.signal);
        if (over.signal.aborted) return;
        setValue({ path, value: next });
        setFault(null);
      } catch (error) {
        if (!over.signal.aborted) setFault(describe(error));
      } finally {
        running = false;
        if (!over.signal.aborted) plan(wanted ? settle : every);
      }
    };
    const plan = (ms: number): void => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        // A page that nobody sees asks for nothing until it is looked at.
        if (document.visibilityState === 'visible') void look();
        else plan(every);
      }, ms);
    };
    const seen = (): void => {
      if (document.visibilityState === 'visible') void look();
    };
    let settling: ReturnType<typeof setTimeout> | null = null;
    const stop = onEvent((event) => {
      if (settling !== null || matches.current?.(event) !== true) return;
      settling = setTimeout(() => {
        settling = null;
        void look();
      }, settle);
    });
    again.current = () => void look();
    document.addEventListener('visibilitychange', seen);
    void look();
    return () => {
      over.abort();
      clearTimeout(timer);
      if (settling !== null) clearTimeout(settling);
      document.removeEventListener('visibilitychange', seen);
      stop();
    };
  }, [path, every]);

  const refresh = useCallback(() => again.current(), []);
  return { value: value?.value ?? null, current: value?.path === path, fault, refresh };
}

export function useLive(): { state: LiveState; events: readonly LiveEvent[] } {
  const [, draw] = useState({});
  useEffect(() => onLive(() => draw({})), []);
  return { state: liveState(), events: liveEvents() };
}

const clocks = new Set<() => void>();
setInterval(() => clocks.forEach((tick) => tick()), 1_000);

/** Now, again each second. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const tick = (): void => setNow(Date.now());
    clocks.add(tick);
    return () => void clocks.delete(tick);
  }, []);
  return now;
}

/** `value` once it has stood for `ms`. */
export function useSettled<T>(value: T, ms: number): T {
  const [settled, setSettled] = useState(value);
  // Before the paint: what was typed shall not wait for its own drawing first.
  useLayoutEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}
