import type { SecureContextOptions } from 'node:tls';
import type { Milliseconds } from '../../shared/clock.ts';

/*
 * What the proxy and the process that ends a legacy door's TLS say to each other, over a pipe that carries the streams of
 * a multiplexer, which the proxy alone opens:
 *
 * - `control`, the first: down come {@link Setup}s, each a line of JSON; up go numbers of phones, four bytes each (network
 *   order), once their handshake is done. Number 0 says that a setup is in force.
 * - `sealed` and `clear`, a pair for each phone, under its number: its connection as it is, and what is inside.
 */

/** The file descriptor of the pipe in the process. */
export const PIPE_FD = 3;

export const CONTROL = 'control';
export const SEALED = 'sealed';
export const CLEAR = 'clear';

/** Bytes of one phone's number. */
export const NUMBER_BYTES = 4;

/** Bytes of a setup: two certificate chains and a key, generously. */
export const SETUP_BYTES = 1_048_576;

export interface Setup {
  context: SecureContextOptions;
  clientCertificates: boolean;
  handshakeMs: Milliseconds;
  goodbyeMs: Milliseconds;
}
