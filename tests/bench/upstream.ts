/**
 * The service that all contenders of the tunnel benchmark lead to, as a process of its own: raw sockets that answer each
 * POST with one small message and each GET with bytes without end. `node upstream.ts '{"cert": PEM, "key": PEM}'`
 * listens with and without TLS.
 */
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { messageSize } from './http-bytes.ts';

const ANSWER =
  '<?xml version="1.0" encoding="UTF-8"?>\n<DLSMessage xmlns="http://www.siemens.com/DLS"><Message ' +
  'nonce="00112233445566778899AABBCCDDEEFF"><Action>ReadItems</Action><ItemList><Item name="e164"/>' +
  '</ItemList></Message></DLSMessage>';
const SMALL = Buffer.from(
  `HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: ${ANSWER.length}\r\n\r\n${ANSWER}`,
  'latin1',
);
/** Never reached in a measurement; a length is what makes it pass without being held. */
const LONG_HEAD = Buffer.from(
  'HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000000000\r\n\r\n',
);
const PIECE = Buffer.alloc(65_536, 0x5a);
const GET = 0x47;

function serve(socket: Socket): void {
  let held: Buffer | null = null;
  socket.setNoDelay(true);
  socket.on('error', () => undefined);
  socket.on('data', (chunk) => {
    held = held === null ? chunk : Buffer.concat([held, chunk]);
    for (;;) {
      const size = messageSize(held);
      if (size === null || held.length < size) return;
      if (held[0] === GET) return pour(socket);
      socket.write(SMALL);
      if (held.length === size) break;
      held = held.subarray(size);
    }
    held = null;
  });
}

function pour(socket: Socket): void {
  const more = (): void => {
    while (!socket.destroyed && socket.write(PIECE));
  };
  socket.on('drain', more);
  socket.write(LONG_HEAD);
  more();
}

const listen = (server: Server): Promise<number> =>
  new Promise((resolve) => {
    server.listen({ host: '127.0.0.1', port: 0, backlog: 1024 }, () =>
      resolve((server.address() as AddressInfo).port),
    );
  });

const { cert, key } = JSON.parse(process.argv[2] ?? '{}') as { cert: string; key: string };
const ports = {
  plain: await listen(createServer(serve)),
  tls: await listen(createTlsServer({ cert, key, minVersion: 'TLSv1.3' }, serve)),
};
process.once('SIGTERM', () => process.exit(0));
process.stdout.write(`${JSON.stringify({ msg: 'ready', ...ports })}\n`);
