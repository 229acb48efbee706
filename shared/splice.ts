import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';

/**
 * Joins two connections byte for byte, each direction with its own end and backpressure. When one is cut, so is the
 * other: an end is only ever passed on where there was one, so a cut transfer cannot look finished.
 *
 * @param done - called once when both are over; `cut` tells whether by a cut
 */
export function splice(a: Duplex, b: Duplex, done?: (cut: boolean) => void): void {
  let open = 2;
  let cut = false;
  const join = (from: Duplex, to: Duplex): void => {
    from.pipe(to);
    // 'close' tells all that matters; the reason is the other side's to log.
    from.on('error', () => undefined);
    from.once('close', () => {
      if (!from.readableEnded || !from.writableFinished) {
        cut = true;
        cutOff(to);
      }
      open -= 1;
      if (open === 0) done?.(cut);
    });
  };
  join(a, b);
  join(b, a);
}

/**
 * Cuts a connection so that its peer cannot take it for an end: TCP by a reset, TLS by leaving without a close_notify
 * (RFC 8446 §6.1), a stream of a lane by its own cut.
 */
export function cutOff(stream: Duplex): void {
  if (stream.destroyed) return;
  if (stream instanceof Socket && !(stream instanceof TLSSocket)) stream.resetAndDestroy();
  else stream.destroy();
}
