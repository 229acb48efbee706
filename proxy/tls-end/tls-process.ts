import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { systemClock } from '../../shared/clock.ts';
import { laneOverPipe } from '../../shared/lane-pipe.ts';
import { createMux } from '../../shared/mux.ts';
import { MUX_MESSAGE_BYTES } from '../../shared/mux-frames.ts';
import type { MuxStream } from '../../shared/mux-stream.ts';
import { splice } from '../../shared/splice.ts';
import { createStreamTls } from '../../shared/stream-tls.ts';
import type { StreamTls } from '../../shared/stream-tls.ts';
import { CLEAR, CONTROL, NUMBER_BYTES, PIPE_FD, SEALED, SETUP_BYTES } from './process-words.ts';
import type { Setup } from './process-words.ts';

/*
 * The process that ends the TLS of one legacy door. It has the door's certificate and key, which it is told, and a pipe
 * to the proxy; it opens no file and no connection. It lives as long as the pipe.
 */

// Whoever stops the proxy may signal all its processes, and phones are given time to finish.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined);

const pipe = new Socket({ fd: PIPE_FD, readable: true, writable: true });
let tls: StreamTls | null = null;
let control: Duplex | null = null;
let setup = '';
/** What came first of a phone's pair. */
const halves = new Map<string, { use: string; stream: MuxStream }>();

/** Phones that came before the setup was read, which is on its way then. */
let early: ((end: StreamTls) => void)[] = [];

const lane = laneOverPipe(pipe, MUX_MESSAGE_BYTES, {
  frame: (frame) => mux.receive(frame as Buffer),
  drained: () => mux.drained(),
  closed: () => process.exit(0),
});
const mux = createMux({
  lane,
  clock: systemClock,
  side: 'relay',
  maxStreams: Infinity,
  onStream(stream, { service: use, door: phone }) {
    if (use === CONTROL) {
      control = stream;
      stream.on('data', hear);
      return null;
    }
    const other = halves.get(phone);
    if (other === undefined) {
      halves.set(phone, { use, stream });
      stream.once('close', () => halves.delete(phone));
      return null;
    }
    halves.delete(phone);
    const [sealed, clear] =
      use === SEALED && other.use === CLEAR ? [stream, other.stream] : [other.stream, stream];
    const begin = (end: StreamTls): void =>
      end.accept(
        sealed,
        (socket) => {
          socket.allowHalfOpen = true;
          tell(Number(phone));
          splice(socket, clear);
        },
        () => clear.destroy(),
      );
    if (tls === null) early.push(begin);
    else begin(tls);
    return null;
  },
});

function hear(chunk: Buffer): void {
  setup += chunk.toString('latin1');
  if (setup.length > SETUP_BYTES) process.exit(1);
  for (let end = setup.indexOf('\n'); end !== -1; end = setup.indexOf('\n')) {
    const { context, ...options } = JSON.parse(
      Buffer.from(setup.slice(0, end), 'latin1').toString(),
    ) as Setup;
    setup = setup.slice(end + 1);
    if (tls === null) tls = createStreamTls(context, { ...options, clock: systemClock });
    else tls.setContext(context);
    for (const begin of early) begin(tls);
    early = [];
    tell(0);
  }
}

function tell(number: number): void {
  const bytes = Buffer.allocUnsafe(NUMBER_BYTES);
  bytes.writeUInt32BE(number);
  control?.write(bytes);
}
