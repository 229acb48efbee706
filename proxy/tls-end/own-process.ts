import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { endOfChain } from '../../shared/certificates.ts';
import type { Clock, Milliseconds, Timer } from '../../shared/clock.ts';
import { describeError, SallyportError } from '../../shared/errors.ts';
import { laneOverPipe } from '../../shared/lane-pipe.ts';
import type { Log } from '../../shared/log.ts';
import { createMux } from '../../shared/mux.ts';
import type { Mux } from '../../shared/mux.ts';
import { MUX_MESSAGE_BYTES } from '../../shared/mux-frames.ts';
import type { MuxStream } from '../../shared/mux-stream.ts';
import { cutOff, splice } from '../../shared/splice.ts';
import { workerUrl } from '../../shared/worker-url.ts';
import type { DoorTls } from '../config.ts';
import { CLEAR, CONTROL, NUMBER_BYTES, PIPE_FD, SEALED } from './process-words.ts';
import type { Setup } from './process-words.ts';
import { readTlsMaterial } from './tls-end.ts';
import type { TlsEnd } from './tls-end.ts';

export interface ProcessTlsEndOptions {
  /** Phones at once. */
  most: number;
  handshakeMs: Milliseconds;
  clock: Clock;
  log: Log;
}

/** A process that died is started again after so long. */
const RESTART_MS: Milliseconds = 1_000;
/** How long a process may take to be ready. */
const START_MS: Milliseconds = 30_000;
/** How long a phone that has ended TLS has to end its connection too. */
const GOODBYE_MS: Milliseconds = 2_000;
/** Characters of what a dying process says that are logged. */
const LAST_WORDS = 1_000;

/** The folder of all our modules: all that the process may read. */
const CODE = fileURLToPath(new URL('../..', import.meta.url));

/** Hardest that Node can do for a process that only computes: no files, no processes, no threads, no addons. */
export const CONFINEMENT = [
  '--permission',
  `--allow-fs-read=${CODE}`,
  '--disallow-code-generation-from-strings',
  '--disable-proto=delete',
];

interface Running {
  child: ChildProcess;
  mux: Mux;
  control: MuxStream;
}

/**
 * Ends TLS in a process of its own, so that a hole in it, at a door for old phones, opens the way to this door's key
 * only: the keys of links and of other doors are not in that process's memory. It is started again should it die.
 *
 * @throws SallyportError FILE_UNREADABLE, KEY_INVALID; CONFIG_INVALID where the process cannot be started as `runAs` says
 */
export async function createProcessTlsEnd(tls: DoorTls, options: ProcessTlsEndOptions): Promise<TlsEnd> {
  const { clock, log } = options;
  let material = readTlsMaterial(tls);
  let newest = 0;
  let running: Running | null = null;
  let restart: Timer | null = null;
  let closed = false;
  /** Phones at their handshake, by number. */
  const waiting = new Map<number, () => void>();

  function sendSetup(control: MuxStream): void {
    const setup: Setup = {
      context: material,
      clientCertificates: tls.clientCa !== null,
      handshakeMs: options.handshakeMs,
      goodbyeMs: GOODBYE_MS,
    };
    control.write(`${JSON.stringify(setup)}\n`);
  }

  /** Resolves once the process shows the certificate. */
  async function start(): Promise<void> {
    const script = fileURLToPath(workerUrl(import.meta.url, './tls-process'));
    const child = spawn(process.execPath, [...CONFINEMENT, script], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      cwd: '/',
      env: {},
      ...tls.runAs,
    });
    let lastWords = '';
    child.stderr?.on(
      'data',
      (chunk: Buffer) => (lastWords = `${lastWords}${chunk.toString()}`.slice(-LAST_WORDS)),
    );
    const ready = Promise.withResolvers<void>();
    const late = clock.after(START_MS, () => {
      ready.reject(notStarted(`it was not ready within ${START_MS} ms`));
      child.kill('SIGKILL');
    });
    child.once('error', (error) => ready.reject(notStarted(describeError(error))));
    child.once('exit', (code, signal) => {
      ready.reject(notStarted(`it ended with ${signal ?? code}: ${lastWords}`));
      if (running?.child !== child) return;
      running = null;
      if (closed) return;
      log.error('the TLS process of a door died and is started again', { code, signal, said: lastWords });
      again();
    });
    const pipe = child.stdio[PIPE_FD] as Duplex;
    const lane = laneOverPipe(pipe, MUX_MESSAGE_BYTES, {
      frame: (frame) => mux.receive(frame as Buffer),
      drained: () => mux.drained(),
      closed(_code, reason) {
        mux.closed(new SallyportError('STREAM_CUT', `the TLS process of a door is gone: ${reason}`));
        // Whatever closed the pipe, with what came over it not understood nothing more is to be expected.
        child.kill('SIGKILL');
      },
    });
    const mux = createMux({ lane, clock, side: 'proxy', maxStreams: 2 * options.most + 1 });
    try {
      const control = mux.open({ service: CONTROL, door: '0', address: '0.0.0.0', port: 0, tls: 'proxy' });
      control.on(
        'data',
        hearNumbers((number) => (number === 0 ? ready.resolve() : established(number))),
      );
      sendSetup(control);
      running = { child, mux, control };
      await ready.promise;
    } catch (error) {
      child.kill('SIGKILL');
      if (running?.child === child) running = null;
      throw error;
    } finally {
      late.cancel();
    }
  }

  function established(number: number): void {
    const phone = waiting.get(number);
    waiting.delete(number);
    // A process that names phones which it was not given is not itself any more.
    if (phone === undefined && number > newest) running?.child.kill('SIGKILL');
    else phone?.();
  }

  function again(): void {
    restart = clock.after(RESTART_MS, () => {
      start().catch((error: unknown) => {
        if (closed) return;
        log.error('the TLS process of a door cannot be started', { why: describeError(error) });
        again();
      });
    });
  }

  await start();
  return {
    accept(socket, established) {
      if (running === null) return cutOff(socket);
      // Its end may come before we hear of its handshake; one that ends earlier is cut by the process.
      socket.allowHalfOpen = true;
      const number = ++newest;
      const open = (service: string): MuxStream =>
        running!.mux.open({ service, door: String(number), address: '0.0.0.0', port: 0, tls: 'proxy' });
      try {
        const sealed = open(SEALED);
        const clear = open(CLEAR);
        waiting.set(number, () => established(clear));
        socket.once('close', () => {
          if (waiting.delete(number)) clear.destroy();
        });
        splice(socket, sealed);
      } catch (error) {
        log.debug('phone handshake not begun', { why: describeError(error) });
        cutOff(socket);
      }
    },
    notAfter: () => endOfChain(material.cert),
    reload() {
      material = readTlsMaterial(tls);
      if (running !== null) sendSetup(running.control);
    },
    close() {
      closed = true;
      restart?.cancel();
      running?.child.kill('SIGKILL');
    },
  };
}

/** Reads four bytes after four bytes. */
function hearNumbers(hear: (number: number) => void): (chunk: Buffer) => void {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (; rest.length >= NUMBER_BYTES; rest = rest.subarray(NUMBER_BYTES)) hear(rest.readUInt32BE(0));
  };
}

function notStarted(why: string): SallyportError {
  return new SallyportError('CONFIG_INVALID', `the TLS process of a legacy door cannot be started: ${why}`);
}
