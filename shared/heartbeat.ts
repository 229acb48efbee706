import type { Clock, Milliseconds } from './clock.ts';
import { HEARTBEAT_MS, SILENCE_MS } from './protocol.ts';

export interface Heartbeat {
  /** The peer was heard, by whatever frame. */
  heard(): void;
  stop(): void;
}

/**
 * Keeps one lane's pulse: calls `beat` each {@link HEARTBEAT_MS}, and `onSilent` once when the peer hasn't been
 * heard for {@link SILENCE_MS}. Each side beats on its own time, so a lane that is open in one direction only is
 * noticed by the side that hears nothing.
 */
export function createHeartbeat(options: {
  clock: Clock;
  beat: () => void;
  onSilent: (silentFor: Milliseconds) => void;
}): Heartbeat {
  const { clock } = options;
  let last = clock.monotonic();
  const timer = clock.every(HEARTBEAT_MS, () => {
    const silentFor = clock.monotonic() - last;
    if (silentFor < SILENCE_MS) return options.beat();
    timer.cancel();
    options.onSilent(silentFor);
  });
  return {
    heard() {
      last = clock.monotonic();
    },
    stop: () => timer.cancel(),
  };
}
