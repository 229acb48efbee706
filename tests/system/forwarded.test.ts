import { connect as connectTcp } from 'node:net';
import type { Socket } from 'node:net';
import { once } from 'node:events';
import { connect as connectTls } from 'node:tls';
import t from 'tap';
import { encodeProxyHeader } from '../../relay-client/services/proxy-header.ts';
import { startGate } from '../fixtures/gate.ts';
import type { Gate } from '../fixtures/gate.ts';
import { untilGood } from '../fixtures/until.ts';

/** Where the liar says that he comes from, and whom he names as having forwarded him. */
const LIE = '203.0.113.66';
const PHONE = '203.0.113.9';

const headerFrom = (host: string): Buffer =>
  encodeProxyHeader({ host, port: 4711 }, { host: '127.0.0.1', port: 18443 });

async function dial(address: string): Promise<Socket> {
  const [host = '', port = ''] = address.split(':');
  const socket = connectTcp({ host, port: Number(port) });
  await once(socket, 'connect');
  return socket;
}

/** Resolves when the connection is over, however. */
const closed = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    socket.on('error', () => undefined);
    socket.once('close', () => resolve());
  });

/** Sends a start-up to a session door, after `first`; resolves to the answer's text, empty where there is none. */
async function startUp(address: string, first: Buffer | null): Promise<string> {
  const raw = await dial(address);
  if (first !== null) raw.write(first);
  const phone = connectTls({ socket: raw, rejectUnauthorized: false });
  const body =
    '<WorkpointMessage xmlns="http://www.siemens.com/DLS"><Message nonce="AA"><ReasonForContact>start-up' +
    '</ReasonForContact><ItemList><Item name="mac-addr">00:1A:E8:78:00:01</Item></ItemList></Message></WorkpointMessage>';
  phone.write(
    `POST /DeploymentService/LoginService HTTP/1.1\r\nHost: dls\r\nContent-Length: ${body.length}\r\n` +
      `X-Forwarded-For: ${LIE}\r\nForwarded: for=${LIE}\r\nX-Real-IP: ${LIE}\r\nConnection: close\r\n\r\n${body}`,
  );
  let text = '';
  phone.setEncoding('latin1').on('data', (piece: string) => (text += piece));
  await closed(phone);
  return text;
}

/** What the service was told of addresses by the last request. */
function toldOf({ service }: Gate): string[] {
  const { headers } = service.requests.at(-1)!;
  return headers.filter(([name]) => /forwarded/i.test(name)).map(([name, value]) => `${name}: ${value}`);
}

for (const [forwarded, line] of [
  ['x-forwarded-for', (address: string) => `X-Forwarded-For: ${address}`],
  ['forwarded', (address: string) => `Forwarded: for=${address}`],
] as const) {
  t.test(`forwarded: ${forwarded} tells what the proxy saw, and nothing that a phone says`, async (t) => {
    const gate = await startGate(t, {
      proxy: {
        poll: [{ listen: '127.0.0.1:0' }, { listen: '127.0.0.1:0', proxy_protocol: true }],
        doors: [
          { name: 'wpi', service: 'wpi', listen: '127.0.0.1:0' },
          { name: 'balanced', service: 'wpi', listen: '127.0.0.1:0', proxy_protocol: true },
        ],
      },
      wpi: { forwarded },
    });
    const { wpi = '', balanced = '' } = gate.doors;
    t.match(await startUp(wpi, null), /^HTTP\/1\.1 200 /);
    t.strictSame(toldOf(gate), [line('127.0.0.1')]);

    t.match(await startUp(balanced, headerFrom(PHONE)), /^HTTP\/1\.1 200 /);
    t.strictSame(toldOf(gate), [line(PHONE)], 'a balancer is believed at its own door');

    const before = gate.service.requests.length;
    t.equal(await startUp(wpi, headerFrom(LIE)), '', 'at any other door its header is no beginning of TLS');
    t.equal(await startUp(balanced, null), '', 'and at its own door nobody comes in without one');
    t.equal(gate.service.requests.length, before);

    const [plainPoll = '', balancedPoll = ''] = gate.proxy.ready['poll'] as string[];
    const poll = async (address: string, first: Buffer | null, id: string): Promise<string> => {
      const socket = await dial(address);
      let text = '';
      socket.setEncoding('latin1').on('data', (piece: string) => (text += piece));
      // In one piece: a second one, to a door that has refused the first, can cost its answer.
      socket.end(
        Buffer.concat([
          first ?? Buffer.of(),
          Buffer.from(
            `GET /dcmp/contact-me?device-id=${id} HTTP/1.1\r\nHost: p\r\nX-Forwarded-For: ${LIE}\r\n\r\n`,
          ),
        ]),
      );
      await closed(socket);
      return text.split('\r\n')[0] ?? '';
    };
    t.equal(await poll(plainPoll, headerFrom(LIE), 'liar'), 'HTTP/1.1 400 Bad Request');
    t.equal(await poll(balancedPoll, null, 'direct'), '', 'cut without an answer');
    t.match(await poll(balancedPoll, headerFrom(PHONE), 'balanced'), / 200 /);
    t.match(await poll(plainPoll, null, 'plain'), / 200 /);
    for (const [device, address] of [
      ['balanced', PHONE],
      ['plain', '127.0.0.1'],
    ]) {
      // Polls are told to the relay within a second.
      const look = async (): Promise<{ address: string }[]> =>
        (await gate.call('GET', `/v1/devices?unknown=true&q=${device}`)).body['unknown'] as {
          address: string;
        }[];
      const [seen] = await untilGood(`${device} is told`, look, ({ length }) => length > 0);
      t.equal(seen?.address, address, `${device} is told as coming from ${address}`);
    }
  });
}
