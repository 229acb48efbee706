import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** Two streams joined. */
export interface Splice {
  /** Bytes that have passed in both directions. */
  moved(): number;
  /** Cuts both. */
  cut(): void;
}

/**
 * Joins two streams: bytes, backpressure and half-closes pass both ways. When either is destroyed before both
 * directions have ended, so is the other; both need listeners for `error` already.
 */
export function splice(a: Duplex, b: Duplex): Splice {
  let moved = 0;
  const cut = (): void => {
    for (const side of [a, b]) {
      if (side.destroyed) continue;
      // A bare destroy would end a TCP connection in order, and what was cut off would look whole.
      if (side instanceof Socket) side.resetAndDestroy();
      else side.destroy();
    }
  };
  const lead = (from: Duplex, to: Duplex): void => {
    from.on('data', (chunk: Buffer) => {
      moved += chunk.length;
      if (!to.write(chunk)) from.pause();
    });
    to.on('drain', () => from.resume());
    from.on('end', () => to.end());
    from.on('close', () => {
      // After an orderly end the other side may still be writing out what it was given.
      if (!from.readableEnded || !from.writableFinished) cut();
    });
  };
  lead(a, b);
  lead(b, a);
  return { moved: () => moved, cut };
}
