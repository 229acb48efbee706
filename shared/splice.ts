import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';

/** Bytes from which on it pays to wait for more that may come in this turn of the event loop, or the next. */
const BIG_BYTES = 8_192;
/** Bytes for which no more turns are waited. */
const GATHERED_BYTES = 131_072;

/** What bytes are led to. */
export interface Taker {
  /** Whether the bytes are the giver's again as soon as `data` returns. */
  readonly copies: boolean;
  /** Takes bytes; false = it has them, but wants no more until it {@link Side.release}s. */
  data(bytes: Buffer): boolean;
  /** There are no more. */
  end(): void;
  /** Those who were told to wait may send again. */
  room(): void;
}

/** One end of a splice: a connection that bytes come from and go to, each direction with its own end. */
export interface Side {
  /** Whether what `send` is given is the giver's again as soon as it returns. */
  readonly copies: boolean;
  /** Leads all that comes to `taker`, from what has come already on. */
  leadTo(taker: Taker): void;
  /** Sends bytes; false = they are on their way, but wait for `room` with the next. */
  send(bytes: Buffer): boolean;
  /** Ends this direction, after what was sent. */
  finish(): void;
  /** The taker has passed on all it was given. */
  release(): void;
  /** Whether both directions have ended in order. */
  readonly whole: boolean;
}

/**
 * Joins two connections byte for byte, each direction with its own end and backpressure. When one is cut, so is the
 * other: an end is only ever passed on where there was one, so a cut transfer cannot look finished.
 *
 * @param done - called once when both are over; `cut` tells whether by a cut
 */
export function splice(a: Duplex, b: Duplex, done?: (cut: boolean) => void): void {
  const [sideA, sideB] = [sideOf(a), sideOf(b)];
  let open = 2;
  let cut = false;
  const watch = (from: Duplex, side: Side, to: Duplex): void => {
    // 'close' tells all that matters; the reason is the other side's to log.
    from.on('error', () => undefined);
    from.once('close', () => {
      if (!side.whole) {
        cut = true;
        cutOff(to);
      }
      open -= 1;
      if (open === 0) done?.(cut);
    });
  };
  watch(a, sideA, b);
  watch(b, sideB, a);
  lead(sideA, sideB);
  lead(sideB, sideA);
}

const lead = (from: Side, to: Side): void =>
  from.leadTo({
    copies: to.copies,
    data: (bytes) => to.send(bytes),
    end: () => to.finish(),
    room: () => to.release(),
  });

function sideOf(stream: Duplex): Side {
  return isSide(stream) ? stream : sideOfDuplex(stream);
}

const isSide = (stream: Duplex): stream is Duplex & Side => 'leadTo' in stream && 'release' in stream;

function sideOfDuplex(stream: Duplex): Side {
  let gathering = false;
  /** Bytes sent since the gathering began. */
  let gathered = 0;
  /**
   * Big pieces, such as one TLS record each, leave by one write: those of one turn of the event loop, and of the next as
   * long as each brings more. A single download would else come and go record by record, at half as much again the cost.
   */
  const gather = (seen: number): void =>
    void setImmediate(() => {
      if (gathered > seen && gathered < GATHERED_BYTES) return gather(gathered);
      gathering = false;
      stream.uncork();
    });
  return {
    copies: false,
    leadTo(taker) {
      stream.on('data', (bytes: Buffer) => {
        if (!taker.data(bytes)) stream.pause();
      });
      stream.on('end', () => taker.end());
      stream.on('drain', () => taker.room());
      stream.resume();
    },
    send(bytes) {
      if (bytes.length >= BIG_BYTES && !gathering) {
        gathering = true;
        gathered = 0;
        stream.cork();
        gather(0);
      }
      gathered += bytes.length;
      return stream.write(bytes);
    },
    finish: () => void stream.end(),
    release: () => void stream.resume(),
    get whole() {
      return stream.readableEnded && stream.writableFinished;
    },
  };
}

/**
 * Cuts a connection so that its peer cannot take it for an end: TCP by a reset, TLS by leaving without a close_notify
 * (RFC 8446 §6.1), a stream of a lane by its own cut.
 */
export function cutOff(stream: Duplex): void {
  if (stream.destroyed) return;
  if (!(stream instanceof Socket) || stream instanceof TLSSocket) return void stream.destroy();
  // While its own end is just being sent, libuv refuses a reset, and Node would then never close the socket at all:
  // neither its descriptor nor its place among the door's connections would ever come back.
  const ending = stream.writableEnded && stream.writableLength === 0 && !stream.writableFinished;
  if (ending) stream.once('finish', () => stream.resetAndDestroy());
  else stream.resetAndDestroy();
}
