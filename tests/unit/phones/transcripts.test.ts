import { connect } from 'node:net';
import t from 'tap';
import {
  differences,
  loadTranscript,
  loadTranscripts,
  replayAsPhone,
  stubServiceFor,
} from '../../fixtures/transcripts/index.ts';
import { createAnswerReader, HttpFault } from '../../phones/http-reader.ts';
import { itemValue, readServiceMessage } from '../../phones/message.ts';
import { readPhoneMessage } from '../../fixtures/services/message.ts';
import { splitMessage } from '../../fixtures/transcripts/http-text.ts';

for (const transcript of loadTranscripts()) {
  const { name, sessions, device } = transcript;
  t.test(`transcript ${name} is well-formed and tells what its index says`, async (t) => {
    for (const session of sessions) {
      const [first] = session.exchanges;
      if (!first) return t.fail('a session without exchanges');
      const opening = readPhoneMessage(splitMessage(first.phone).body);
      t.equal(opening.reason, session.reason);
      t.equal(opening.items.find((item) => item.name === 'mac-addr')?.value, device);
      for (const { phone, service, cut } of session.exchanges) {
        const { headers, body } = splitMessage(phone);
        const length = headers.find(([header]) => header.toLowerCase() === 'content-length')?.[1];
        t.equal(Number(length), body.length, 'the request is as long as it says');
        const reader = createAnswerReader({ acceptChunked: true });
        const whole = (): boolean => (service.length > 0 && reader.push(service)) || reader.end();
        if (cut) t.throws(whole, HttpFault);
        else t.ok(whole());
      }
      const last = session.exchanges.at(-1);
      if (!last || last.cut) return t.equal(session.outcome, 'cut');
      const reader = createAnswerReader({ acceptChunked: true });
      if (!reader.push(last.service)) reader.end();
      const { body } = reader.answer();
      if (body.length === 0) continue;
      const order = readServiceMessage(body);
      t.equal(order.action, 'CleanUp');
      const asked = itemValue(order.items, 'send-solicited') === 'true';
      const why = itemValue(order.items, 'cleanup-reason');
      const busy = readPhoneMessage(splitMessage(last.phone).body).status === 'busy';
      const shown = busy
        ? 'busy'
        : asked
          ? 'more'
          : why === 'overload'
            ? 'overload'
            : why !== undefined || order.nonce === ''
              ? 'not-completed'
              : 'completed';
      t.equal(session.outcome, shown);
    }
  });

  t.test(`transcript ${name} replays unchanged over a plain connection`, async (t) => {
    const stub = await stubServiceFor(transcript);
    t.teardown(() => stub.close());
    const replayed = await replayAsPhone(() => connect(stub.port, stub.host), transcript);
    t.strictSame(differences(replayed), []);
    t.strictSame(stub.mismatches, []);
    t.equal(stub.finished, true);
  });
}

t.test('a changed header, body or status on the way is found', async (t) => {
  const transcript = loadTranscript('gemeinschaft-solicited');
  const other = loadTranscript('gemeinschaft-solicited');
  const edit = (from: string, to: string): void => {
    const exchange = other.sessions[0]?.exchanges[0];
    if (!exchange) return;
    exchange.service = Buffer.from(exchange.service.toString('latin1').replace(from, to), 'latin1');
    exchange.phone = Buffer.from(exchange.phone.toString('latin1').replace(from, to), 'latin1');
  };
  edit('realm', 'Realm');
  edit('; secure', '; Secure');
  edit('mac-addr', 'MAC-addr');
  edit('Content-Type: text/xml', 'Content-Type: text/plain');
  edit('200 OK', '202 OK');
  const stub = await stubServiceFor(other);
  t.teardown(() => stub.close());
  const replayed = await replayAsPhone(() => connect(stub.port, stub.host), transcript);
  t.match(
    differences(replayed).join('\n'),
    /status 200 became 202[^]*content-type[^]*set-cookie[^]*body changed/,
  );
  t.match(stub.mismatches.join('\n'), /content-type[^]*body changed/);
});

t.test('a phone may echo a cookie that the recording does not have', async (t) => {
  const transcript = loadTranscript('dlsir-solicited');
  const stub = await stubServiceFor(transcript);
  t.teardown(() => stub.close());
  const first = transcript.sessions[0]?.exchanges[0];
  if (first)
    first.service = Buffer.from(
      first.service.toString().replace('\r\n', '\r\nSet-Cookie: own=1; Path=/\r\n'),
    );
  await replayAsPhone(() => connect(stub.port, stub.host), transcript, { cookies: 'echo' });
  t.equal(stub.seen[1]?.header('cookie'), 'own=1; Path=/');
});
