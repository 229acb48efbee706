import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { duplexPair } from 'node:stream';
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
