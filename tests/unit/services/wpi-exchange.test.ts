import t from 'tap';
import { answering, ok, post, startRawUpstream, startWpi } from './harness.ts';

t.test('a message and its answer pass unchanged and are shown whole', async (t) => {
  const upstream = await startRawUpstream(
    t,
    answering(ok('<DLSMessage/>', 'Set-Cookie: a=1; Path=/x; Secure\r\n')),
  );
  const wpi = await startWpi(t, { upstream: upstream.url });
  const phone = await wpi.phone();
  phone.send(
    post('<WorkpointMessage/>\r\n ', 'Content-Type: text/xml\r\nCookie: JSESSIONID=30de; path=/; secure\r\n'),
  );
  const answer = await phone.answer();
  t.equal(answer.body, '<DLSMessage/>');
  t.match(answer.head, /^HTTP\/1\.1 200 OK\r\n/);
  t.comment(answer.head);
  t.comment(upstream.connections[0]!.received());
  await wpi.observer.until('delivered');
  t.strictSame(wpi.observer.calls(), ['connection', 'message', 'answered', 'delivered']);
});

t.test('a sealed door is opened here', async (t) => {
  const upstream = await startRawUpstream(t, answering(ok('<DLSMessage/>')));
  const wpi = await startWpi(t, { upstream: upstream.url, tls: {} });
  const phone = await wpi.phone({ servername: 'wpi.test' });
  phone.send(post('<WorkpointMessage/>'));
  t.equal((await phone.answer()).body, '<DLSMessage/>');
  phone.send(post('<WorkpointMessage/>', 'Connection: close\r\n'));
  t.equal((await phone.answer()).body, '<DLSMessage/>');
  t.equal(await phone.over, 'ended');
  await wpi.observer.until('closed');
  t.strictSame(wpi.observer.calls(), [
    'connection',
    'message',
    'answered',
    'delivered',
    'message',
    'answered',
    'delivered',
    'closed',
  ]);
});
