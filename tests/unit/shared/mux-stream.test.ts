import { once } from 'node:events';
import t from 'tap';
import { STREAM_WINDOW_BYTES } from '../../../shared/mux-frames.ts';
import { MuxStream } from '../../../shared/mux-stream.ts';
import type { MuxPort } from '../../../shared/mux-stream.ts';

/** Two ends of one stream, joined without frames. */
function joined(): { a: MuxStream; b: MuxStream } {
  const portTo = (peer: () => MuxStream): MuxPort => ({
    sendData(_stream, chunk, budget) {
      const length = Math.min(chunk.length, budget);
      const copy = Buffer.from(chunk.subarray(0, length));
      setImmediate(() => peer().receiveData(copy));
      return length;
    },
    sendEnd: () => void setImmediate(() => peer().receiveEnd()),
    sendCredit: (_stream, bytes) => void setImmediate(() => peer().receiveCredit(bytes)),
    widen: () => 0,
    narrow: () => undefined,
    awaitRoom: () => {
      throw new Error('there is always room here');
    },
    released: () => undefined,
  });
  const a: MuxStream = new MuxStream(
    1,
    portTo(() => b),
  );
  const b: MuxStream = new MuxStream(
    1,
    portTo(() => a),
  );
  return { a, b };
}

t.test('a reader that fell a whole window behind gets everything once it reads on', async (t) => {
  const { a, b } = joined();
  const total = STREAM_WINDOW_BYTES * 3;
  a.end(Buffer.alloc(total));
  while (b.readableLength < STREAM_WINDOW_BYTES) await once(b, 'readable');
  let received = 0;
  // Each turn of the event loop a little, as a slow phone does.
  const read = (): void => {
    const chunk = b.read(16_384) as Buffer | null;
    received += (chunk ?? (b.read() as Buffer | null))?.length ?? 0;
    if (received < total) setImmediate(read);
    else b.read(0);
  };
  read();
  await once(b, 'end');
  t.equal(received, total);
});

t.test('an empty write is done at once', async (t) => {
  const { a, b } = joined();
  await new Promise<void>((resolve) => a.write('', () => resolve()));
  a.end('after');
  const [chunk] = (await once(b, 'data')) as [Buffer];
  t.equal(chunk.toString(), 'after');
});
