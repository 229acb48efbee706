import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { ByteBudget } from './limits.ts';

export type BodyResult =
  /** The whole body; its bytes are taken from the budget. */
  | { kind: 'whole'; body: Buffer }
  /** Over the reading limit; what has come so far is taken from the budget, the rest waits in the request. */
  | { kind: 'large'; held: Buffer[]; bytes: number }
  /** The budget is used up; nothing is taken. */
  | { kind: 'full' };

/** Reads a body up to `limit` bytes. A body that is cut off never calls `done`. */
export function readBody(
  request: IncomingMessage,
  limit: number,
  budget: ByteBudget,
  progress: () => void,
  done: (result: BodyResult) => void,
): void {
  const held: Buffer[] = [];
  let bytes = 0;
  const finish = (result: BodyResult): void => {
    request.off('data', onData);
    request.off('end', onEnd);
    done(result);
  };
  const onData = (chunk: Buffer): void => {
    if (!budget.take(chunk.length)) {
      budget.give(bytes);
      request.pause();
      return finish({ kind: 'full' });
    }
    held.push(chunk);
    bytes += chunk.length;
    if (bytes > limit) {
      request.pause();
      return finish({ kind: 'large', held, bytes });
    }
    progress();
  };
  const onEnd = (): void => {
    if (!request.complete) return;
    finish({ kind: 'whole', body: held.length === 1 ? held[0]! : Buffer.concat(held) });
  };
  request.on('data', onData);
  request.on('end', onEnd);
}

/**
 * The body as a stream for upstream: what is held already, then the rest as it comes, no faster than upstream takes it.
 * Beyond `limit` bytes it stops and calls `over`. Destroying it leaves the phone's request alone.
 */
export function streamBody(
  request: IncomingMessage,
  held: Buffer[],
  limit: number,
  progress: () => void,
  over: () => void,
): Readable {
  let bytes = 0;
  const stream = new Readable({ highWaterMark: 65_536, read: () => void request.resume() });
  const push = (chunk: Buffer): void => {
    if (stream.destroyed) return;
    bytes += chunk.length;
    if (bytes > limit) {
      request.off('data', push);
      request.pause();
      return over();
    }
    progress();
    if (!stream.push(chunk)) request.pause();
  };
  for (const chunk of held) push(chunk);
  request.on('data', push);
  request.on('end', () => {
    if (request.complete && bytes <= limit) stream.push(null);
  });
  stream.once('close', () => request.off('data', push));
  return stream;
}
