/** What a `wpi` service grants to phones and waits for upstream. Bytes and milliseconds. */
export interface WpiLimits {
  /** Phone connections at once; further ones are refused. Default 1 000. */
  connections: number;
  /** Requests on one connection; the last one is answered with `Connection: close`. 0 = any number. Default 10 000. */
  requests: number;
  /** Requests of one connection that wait for their turn; more cuts the connection. Default 16. */
  pipelined: number;
  /** Request line and headers of a phone, and headers of upstream, in bytes; more is a 431 or 502. Default 16 KiB. */
  headerBytes: number;
  /** Header lines; more is a 431. Default 100. */
  headerLines: number;
  /** A POST up to this is read whole and shown to the observer; a bigger one passes unread. Default 1 MiB. */
  messageBytes: number;
  /** Body of any request; more is a 413. Default 16 MiB. */
  requestBytes: number;
  /** An answer is held whole up to this: to show it, or to give it a length. Without a length, more is a 502. Default 1 MiB. */
  answerBytes: number;
  /** Bodies held by the whole service; more is a 503. Default 64 MiB. */
  bufferedBytes: number;
  /** TLS handshake with the phone. Default 10 000. */
  handshakeMs: number;
  /** From the connection's start to a complete request head. Default 20 000. */
  headersMs: number;
  /** From the end of an answer to the next complete request head. Phones want at least 30 s. Default 45 000. */
  keepAliveMs: number;
  /** Between two pieces of a request's body. Default 30 000. */
  bodyIdleMs: number;
  /** Connecting to upstream, its TLS handshake included. Default 10 000. */
  connectMs: number;
  /** From the request's last byte to the answer's head. Default 60 000. */
  answerMs: number;
  /** Between two pieces of an answer's body. Default 60 000. */
  answerIdleMs: number;
  /** How long the phone may take no byte of an answer. Default 60 000. */
  phoneIdleMs: number;
  /** How long an exchange goes on after the phone has ended its side. Default 2 000. */
  halfCloseMs: number;
  /** How long the phone has to close after us, taking what is still on its way. Default 15 000. */
  lingerMs: number;
  /**
   * An idle upstream connection is closed after this where upstream names no time itself. Short on purpose: a request
   * that meets upstream's own close halfway is lost, and may not be repeated. Default 4 000.
   */
  upstreamIdleMs: number;
  /** Between two tries whether upstream can be reached. Default 5 000. */
  probeMs: number;
  /** How long a whole TLS handshake vouches for upstream's certificate: until then tries are bare TCP connections. Default 60 000. */
  provenMs: number;
}

export const WPI_LIMITS: WpiLimits = {
  connections: 1_000,
  requests: 10_000,
  pipelined: 16,
  headerBytes: 16_384,
  headerLines: 100,
  messageBytes: 1_048_576,
  requestBytes: 16_777_216,
  answerBytes: 1_048_576,
  bufferedBytes: 67_108_864,
  handshakeMs: 10_000,
  headersMs: 20_000,
  keepAliveMs: 45_000,
  bodyIdleMs: 30_000,
  connectMs: 10_000,
  answerMs: 60_000,
  answerIdleMs: 60_000,
  phoneIdleMs: 60_000,
  halfCloseMs: 2_000,
  lingerMs: 15_000,
  upstreamIdleMs: 4_000,
  probeMs: 5_000,
  provenMs: 60_000,
};

/** Bytes that may be held at once. */
export interface ByteBudget {
  /** Takes `bytes`, or none of them and returns false when they are more than what is left. */
  take(bytes: number): boolean;
  give(bytes: number): void;
  /** Bytes taken now. */
  taken(): number;
}

export function createByteBudget(limit: number): ByteBudget {
  let taken = 0;
  return {
    take(bytes) {
      if (taken + bytes > limit) return false;
      taken += bytes;
      return true;
    },
    give(bytes) {
      taken -= bytes;
    },
    taken: () => taken,
  };
}
