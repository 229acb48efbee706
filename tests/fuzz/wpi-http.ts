import { once } from 'node:events';
import { createServer, connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { createWpiService } from '../../relay-client/services/wpi.ts';
import { passiveObserver } from '../../relay-client/services/passive-observer.ts';
import { systemClock } from '../../shared/clock.ts';
import { silentLog } from '../../shared/log.ts';
import { openPhoneDoor } from '../fixtures/phone-door.ts';
import { mutate, pick } from './mutate.ts';
import type { Random } from './mutate.ts';
import { readRequests } from './reference.ts';
import type { ReferenceRequest } from './reference.ts';

/** What a run found: what was sent, and what is wrong with what came of it. */
export interface Finding {
  sent: string;
  wrong: string;
}

/** What became of a text: `passed` = all requests that it means reached upstream, `partly` = the first of them. */
export type Outcome = 'passed' | 'partly' | 'refused';

const MARK = 'x-fuzz-end';
/** Sent behind each text, so that what belongs to one request and what to the next is seen. */
const LAST = `GET /${MARK} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
/** Well beyond every limit of the service below, on a machine that does other things too. */
const STAYS_OPEN_MS = 60_000;
/** A phone that got nothing for as long has sent what is not complete, and ends its side. */
const SILENT_MS = 100;
const BODIES = ['', 'x', 'a=1&b=2', 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n', '0\r\n\r\n', '\r\n'];
const PIECES = [
  '\r\n',
  '\n',
  '\r',
  ' ',
  '\t',
  '\0',
  ':',
  ';',
  ',',
  '0',
  '\x0b',
  '\xff',
  '%2e%2e/',
  '\\',
  'chunked',
  'Content-Length: 5\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Host: b\r\n',
  'Connection: close\r\n',
  'Expect: 100-continue\r\n',
  'HTTP/1.0',
  'http://b',
  '\r\n\r\n',
  '1;a=b\r\n',
];

/** A request that means one thing, and then up to three small changes of it. */
export function mutated(random: Random): string {
  const body = pick(random, BODIES);
  const framing =
    random() < 0.5
      ? `Content-Length: ${body.length}\r\n\r\n${body}`
      : `Transfer-Encoding: chunked\r\n\r\n${body === '' ? '' : `${body.length.toString(16)}\r\n${body}\r\n`}0\r\n\r\n`;
  let text = `${pick(random, ['GET', 'POST', 'PUT', 'HEAD'])} ${pick(random, ['/', '/a/b?c=d', '/%2e%2e/x', '//b/x'])} HTTP/1.1\r\nHost: a\r\n${pick(random, ['', 'Cookie: a=b; path=/\r\n', 'X: 1\r\n'])}${framing}`;
  if (random() < 0.2) {
    const line = pick(random, text.split('\r\n'));
    text = text.replace(line, `${line}\r\n${line}`);
  }
  return mutate(random, text, PIECES, 3);
}

/** A `wpi` service before an upstream that writes down what it gets, to be sent requests that mean ill. */
export async function openWpiFuzz(): Promise<{
  /** Sends one text on a connection of its own, and tells what became of it; `finding` = what is wrong, or null. */
  attempt(text: string): Promise<{ outcome: Outcome; finding: Finding | null }>;
  close(): Promise<void>;
}> {
  // Each attempt has an upstream of its own kind: what comes until its connections end is what the phone caused.
  let got: string[] = [];
  const taken = new Set<Socket>();
  const upstream = createServer((socket) => {
    const index = got.length;
    let text = '';
    let answered = 0;
    taken.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => taken.delete(socket));
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      got[index] = text;
      const requests = readRequests(text);
      for (; requests !== null && answered < requests.length; answered++) {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      }
    });
  });
  upstream.listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const service = createWpiService(
    {
      name: 'wpi',
      kind: 'wpi',
      tls: null,
      upstream: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`,
      upstreamTls: {},
      forwarded: 'none',
      rewriteContactMe: false,
      limits: { probeMs: 3_600_000, lingerMs: 20, halfCloseMs: 200 },
    },
    {
      observer: passiveObserver,
      addresses: null,
      clock: systemClock,
      log: silentLog,
      metrics: { count: () => undefined },
    },
  );
  const door = await openPhoneDoor('proxy', (stream, origin) => service.accept(stream, origin));

  /** Sends it with a last request behind it, and resolves to all answers once the connection is over; `open` = it isn't. */
  const send = (text: string): Promise<string> =>
    new Promise((resolve) => {
      const socket = connect({ host: '127.0.0.1', port: door.port });
      const stays = setTimeout(() => resolve('open'), STAYS_OPEN_MS);
      let answers = '';
      // A phone that has ended its side is answered once more and no further, so it ends where nothing comes any more.
      const silent = setTimeout(() => socket.end(), SILENT_MS);
      socket.on('data', (chunk) => {
        answers += chunk.toString('latin1');
        silent.refresh();
      });
      socket.on('error', () => undefined);
      socket.on('close', () => {
        clearTimeout(stays);
        clearTimeout(silent);
        resolve(answers);
      });
      socket.write(text + LAST, 'latin1');
    });

  return {
    async attempt(text) {
      got = [];
      const answers = await send(text);
      const came = got.join('');
      // A phone that goes away in the middle of its message cuts it at upstream, too.
      const each = got.map((one) => readRequests(one, true));
      const received = each.some((one) => one === null) ? null : each.flatMap((one) => one ?? []);
      const fault = (wrong: string): { outcome: Outcome; finding: Finding } => ({
        outcome: 'refused',
        finding: {
          sent: text,
          wrong: `${wrong}; upstream got ${JSON.stringify(came)}; answers ${JSON.stringify(answers.slice(0, 200))}`,
        },
      });
      if (answers === 'open') return fault('the connection stays open');
      if (received === null) return fault('upstream got what is no plain request');
      const meant = readRequests(text + LAST);
      const passed = received.filter(({ target }) => target !== `/${MARK}`);
      if (meant === null) {
        // What is ambiguous as a whole may begin with requests that are not; those alone may pass.
        return isBeginning(passed, text + LAST)
          ? { outcome: passed.length === 0 ? 'refused' : 'partly', finding: null }
          : fault('what is not plain was passed on');
      }
      if (!received.every((one, i) => same(one, meant[i])))
        return fault(`meant was ${JSON.stringify(meant)}`);
      const outcome =
        received.length === meant.length ? 'passed' : received.length === 0 ? 'refused' : 'partly';
      return { outcome, finding: null };
    },
    async close() {
      await service.close();
      await door.close();
      for (const socket of taken) socket.destroy();
      upstream.close();
    },
  };
}

const same = (one: ReferenceRequest, other: ReferenceRequest | undefined): boolean =>
  other !== undefined &&
  one.method === other.method &&
  one.target === other.target &&
  one.host === other.host &&
  one.body === other.body;

/** Whether the requests are those that the longest plain beginning of the text means. */
function isBeginning(passed: ReferenceRequest[], text: string): boolean {
  if (passed.length === 0) return true;
  for (let length = text.length; length > 0; length--) {
    const meant = readRequests(text.slice(0, length));
    if (meant !== null && meant.length >= passed.length) return passed.every((one, i) => same(one, meant[i]));
  }
  return false;
}
