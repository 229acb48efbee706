import type { Lane } from '../../shared/lane.ts';
import { createMux } from '../../shared/mux.ts';
import { readProxyFrame, readRelayFrame } from '../../shared/protocol-read.ts';
import { systemClock } from '../../shared/clock.ts';
import { frameBytes } from '../fixtures/hostile-proxy.ts';
import { mutate, pick } from './mutate.ts';
import type { Random } from './mutate.ts';

const FRAMES = [
  '{"type":"hello","relay":"a","site":"b","incarnation":"c","seq":1,"software":"d","services":["e"],"blind":false}',
  '{"type":"snapshot","incarnation":"a","seq":1,"first":true,"last":true,"entries":[{"id":"m","device":"00:1a:e8:00:00:01","kind":"contact-me","generation":1,"dueIn":0,"expiresIn":9}]}',
  '{"type":"changes","seq":2,"changes":[{"op":"end","id":"m","device":"a","generation":1}]}',
  '{"type":"polls","polls":[{"device":"a","agoMs":1,"status":202}],"unknown":[{"device":"b","agoMs":1,"address":"192.0.2.1"}]}',
  '{"type":"metrics","samples":[{"name":"sallyport_x","kind":"gauge","labels":{"a":"b"},"value":1}]}',
  '{"type":"welcome","link":"a","software":"b","site":"c","doors":[{"name":"d","service":"e","tls":"relay"}],"holds":null}',
];
const PIECES = [
  'null',
  '[]',
  '{}',
  '1e999',
  '-1',
  '"__proto__":1,',
  '\\u0000',
  '"',
  ',',
  '[[[[',
  'true',
  '\u0085',
  '"type":"drain",',
];

/** Nothing is thrown; a control frame is read, skipped or wrong; a stream lane goes on or is closed with a reason. */
export function linkFrames(random: Random): string | null {
  const text = mutate(random, pick(random, FRAMES), PIECES);
  const message = Buffer.concat(
    Array.from({ length: 1 + Math.floor(random() * 6) }, () => {
      const opening = mutate(
        random,
        '{"service":"a","door":"b","address":"192.0.2.1","port":1,"tls":"relay"}',
        PIECES,
        1,
      );
      const payload = pick(random, [
        opening,
        '',
        'x',
        '\x00\x00\x00\x01',
        '\xff\xff\xff\xff',
        'x'.repeat(70_000),
      ]);
      const frame = frameBytes(
        pick(random, [1, 1, 1, 2, 3, 4, 5, 6, 7]),
        Math.floor(random() * 4),
        Buffer.from(payload, 'latin1'),
      );
      return random() < 0.1 ? frame.subarray(0, Math.floor(random() * frame.length)) : frame;
    }),
  );
  let closed = '';
  const lane: Lane = {
    send: () => undefined,
    backlog: () => 0,
    close: (_, why) => void (closed = why),
    cut: () => undefined,
  };
  const mux = createMux({ lane, clock: systemClock, side: 'relay', maxStreams: 8, onStream: () => null });
  try {
    readRelayFrame(text);
    const read = readProxyFrame(text);
    if (!('frame' in read) && !('skipped' in read) && read.wrong === '')
      return `no reason: ${JSON.stringify(text)}`;
    mux.receive(message);
    if (closed === '' && mux.streams() > 8) return `too many streams: ${message.toString('hex')}`;
  } catch (error) {
    return `thrown ${String(error)}: ${JSON.stringify(text)} ${message.toString('hex').slice(0, 500)}`;
  } finally {
    mux.closed(new Error('the attempt is over'));
  }
  return Object.keys(Object.prototype).length > 0
    ? `a prototype has fields now: ${JSON.stringify(text)}`
    : null;
}
