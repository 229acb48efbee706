import type { Clock, Milliseconds } from './clock.ts';
import { HEARTBEAT_MS, SILENCE_MS } from './protocol.ts';

export interface Heartbeat {
  /** The peer was heard, by whatever frame. */
  heard(): void;
  stop(): void;
}

/** How often silence is looked for, between one beat and the next: it is noticed half a second late at most. */
const LOOKS_PER_BEAT = 5;

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
  let looks = 0;
  const timer = clock.every(HEARTBEAT_MS / LOOKS_PER_BEAT, () => {
    const silentFor = clock.monotonic() - last;
    if (silentFor >= SILENCE_MS) {
      timer.cancel();
      return options.onSilent(silentFor);
    }
    looks += 1;
    if (looks % LOOKS_PER_BEAT === 0) options.beat();
  });
  return {
    heard() {
      last = clock.monotonic();
    },
    stop: () => timer.cancel(),
  };
}
