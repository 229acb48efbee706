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

/** Slows one direction down. */
export interface Flow {
  /** Bytes were passed on. @returns whether the next may come at once; else `resume` is called when they may */
  passed(bytes: number, resume: () => void): boolean;
  /** There will be no more. */
  over(): void;
}

/**
 * Joins two connections byte for byte, each direction with its own end and backpressure. When one is cut, so is the
 * other: an end is only ever passed on where there was one, so a cut transfer cannot look finished.
 *
 * @param done - called once when both are over; `cut` tells whether by a cut
 * @param flows - what slows the bytes of each down; left out = nothing
 */
export function splice(
  a: Duplex,
  b: Duplex,
  done?: (cut: boolean) => void,
  flows?: { a: Flow; b: Flow },
): void {
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
      if (open > 0) return;
      flows?.a.over();
      flows?.b.over();
      done?.(cut);
    });
  };
  watch(a, sideA, b);
  watch(b, sideB, a);
  if (flows === undefined) {
    lead(sideA, sideB, plainWay(sideB), () => sideB.release());
    lead(sideB, sideA, plainWay(sideA), () => sideA.release());
    return;
  }
  const [fromA, fromB] = [slowWay(sideA, sideB, flows.a), slowWay(sideB, sideA, flows.b)];
  lead(sideA, sideB, fromA, fromB.room);
  lead(sideB, sideA, fromB, fromA.room);
}

/** How the bytes of one direction go. */
interface Way {
  data(bytes: Buffer): boolean;
}

/** @param room - the other direction may go on, as far as `from` is concerned, which takes its bytes */
const lead = (from: Side, to: Side, way: Way, room: () => void): void =>
  from.leadTo({ copies: to.copies, data: way.data, end: () => to.finish(), room });

const plainWay = (to: Side): Way => ({ data: (bytes) => to.send(bytes) });

/** Goes on only when both the taker has room and the flow lets it. */
function slowWay(from: Side, to: Side, flow: Flow): Way & { room: () => void } {
  let full = false;
  let held = false;
  const resume = (): void => {
    held = false;
    if (!full) from.release();
  };
  return {
    data(bytes) {
      if (!to.send(bytes)) full = true;
      if (!flow.passed(bytes.length, resume)) held = true;
      return !full && !held;
    },
    room() {
      full = false;
      if (!held) from.release();
    },
  };
}

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
