import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { Duplex, duplexPair } from 'node:stream';
import t from 'tap';
import type { Test } from 'tap';
import { cutOff, splice } from '../../../shared/splice.ts';

/** Both ends of a TCP connection on loopback. */
async function pair(t: Test): Promise<{ near: Socket; far: Socket }> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const far = connect({ port: (server.address() as AddressInfo).port, allowHalfOpen: true });
  const [near] = (await once(server, 'connection')) as [Socket];
  server.close();
  for (const socket of [near, far]) socket.on('error', () => undefined);
  t.teardown(() => far.destroy());
  return { near, far };
}

t.test('a connection is cut by a reset', async (t) => {
  const { near, far } = await pair(t);
  const reset = once(far, 'error');
  near.write('some');
  far.resume();
  cutOff(near);
  await once(near, 'close');
  t.match(await reset, [{ code: 'ECONNRESET' }]);
});

t.test('a connection that is cut while it sends its own end is closed all the same', async (t) => {
  const { near, far } = await pair(t);
  const closed = once(near, 'close');
  const ended = once(far, 'end');
  far.resume();
  near.resume();
  near.end('last words');
  await new Promise((resolve) => process.nextTick(resolve));
  cutOff(near);
  cutOff(near);
  await closed;
  await ended;
  far.destroy();
  await once(far, 'close');
  t.notOk(process.getActiveResourcesInfo().includes('TCPSocketWrap'), 'no descriptor is left behind');
});

t.test('a splice that is cut right behind an end on one side comes to its end', async (t) => {
  const { near, far } = await pair(t);
  far.resume();
  const [stream, lane] = duplexPair();
  lane.resume();
  const over = new Promise<boolean>((resolve) => splice(near, stream, resolve));
  lane.end('the last answer');
  await new Promise((resolve) => stream.once('end', () => resolve(undefined)));
  stream.destroy();
  t.equal(await over, true);
});

/** A connection whose writes can be counted: how many bytes each took. */
function counted(): { stream: Duplex; writes: number[] } {
  const writes: number[] = [];
  const stream = new Duplex({
    read: () => undefined,
    writev(chunks, done) {
      writes.push(chunks.reduce((sum, { chunk }) => sum + (chunk as Buffer).length, 0));
      done();
    },
    writableHighWaterMark: 1_048_576,
  });
  return { stream, writes };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const PIECE = Buffer.alloc(16_384);

t.test('big pieces that come turn after turn leave together, and none waits once no more come', async (t) => {
  const { stream, writes } = counted();
  const [near, far] = duplexPair({ readableHighWaterMark: 1_048_576, writableHighWaterMark: 1_048_576 });
  splice(near, stream);
  await turn();
  for (let n = 0; n < 6; n++) {
    far.write(PIECE);
    await turn();
  }
  for (let n = 0; n < 4; n++) await turn();
  t.equal(
    writes.reduce((sum, bytes) => sum + bytes, 0),
    6 * PIECE.length,
    'all have left within a few turns',
  );
  t.ok(writes.length <= 2, `by ${writes.length} writes`);

  writes.length = 0;
  for (let n = 0; n < 32; n++) {
    far.write(PIECE);
    await turn();
  }
  t.ok(Math.max(...writes) <= 131_072 + 2 * PIECE.length, 'a stream without end is not held for its end');
  far.end('small');
  for (let n = 0; n < 4; n++) await turn();
  t.equal(
    writes.reduce((sum, bytes) => sum + bytes, 0),
    32 * PIECE.length + 5,
  );
  t.ok(stream.writableEnded, 'and its end comes behind it');
  stream.destroy();
});
