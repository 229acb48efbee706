import type { Duplex } from 'node:stream';
import type { Lane, LaneEvents } from './lane.ts';
import { CLOSE } from './protocol.ts';

const LENGTH_BYTES = 4;

/**
 * Makes a {@link Lane} of a pipe to another process of ours: each frame behind its length (4 bytes, network order).
 * There are no words of goodbye; whoever closes destroys the pipe.
 *
 * @param maxBytes - of a frame; a longer one closes the lane
 */
export function laneOverPipe(pipe: Duplex, maxBytes: number, events: LaneEvents): Lane {
  let own: { code: number; reason: string } | null = null;
  let error: Error | null = null;
  let rest: Buffer = Buffer.alloc(0);

  function close(code: number, reason: string): void {
    own ??= { code, reason };
    pipe.destroy();
  }

  pipe.on('data', (chunk: Buffer) => {
    let bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (own === null && bytes.length >= LENGTH_BYTES) {
      const length = bytes.readUInt32BE(0);
      if (length > maxBytes) return close(CLOSE.violation, `a frame of ${length} bytes`);
      if (bytes.length < LENGTH_BYTES + length) break;
      events.frame(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length));
      bytes = bytes.subarray(LENGTH_BYTES + length);
    }
    rest = bytes;
  });
  pipe.on('drain', () => events.drained());
  pipe.on('end', () => pipe.destroy());
  pipe.on('error', (cause) => (error = cause));
  pipe.once('close', () => {
    const { code, reason } = own ?? { code: 1006, reason: error?.message ?? 'the pipe was closed' };
    events.closed(code, reason);
  });

  return {
    send(frame, sent) {
      if (pipe.destroyed) return;
      const bytes = typeof frame === 'string' ? Buffer.from(frame) : frame;
      const length = Buffer.allocUnsafe(LENGTH_BYTES);
      length.writeUInt32BE(bytes.length);
      pipe.cork();
      pipe.write(length);
      pipe.write(bytes, () => sent?.());
      process.nextTick(() => pipe.uncork());
    },
    backlog: () => pipe.writableLength,
    close,
    cut: () => close(1006, 'cut'),
  };
}
